"""The resolver and the translation in the network: what must hold between a site's `names` and its network's data."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

from infra.errors import TinhError
from infra.model.dns import Names
from infra.model.net import DualPrefix
from infra.model.province import Province
from infra.model.zone import Zone

#: Device of the translation on the core routers.
NAT64 = "nat64"
#: Zones of hosts that are the public's: they ask the authoritative server, or their own provider.
PUBLIC = (Zone.BORDER, Zone.WIRELESS)


def check(names: Names, province: Province) -> None:
    """Compare a site's `names` with the province's network.

    Raises:
        TinhError: an address is not registered or in a pool of the address plan, or a zone is unknown or public.
    """
    network, where = province.network, str(province.folder / "site.yaml")
    for block in names.blocks:
        for family in ("ipv6", "ipv4"):
            mine = getattr(block, family)
            if not any(mine.subnet_of(getattr(entry.prefix, family)) for entry in network.registered):
                raise TinhError(
                    f"{mine} is outside the registered space: no unit would have a route to it",
                    where=f"{where}: names",
                    fix="take it from a registered prefix of network.yaml, beside its pools",
                )
            for name, pool in network.pools.items():
                if mine.overlaps(theirs := getattr(pool.prefix, family)):
                    raise TinhError(
                        f"{mine} overlaps pools.{name} {theirs}, from which units get addresses",
                        where=f"{where}: names",
                        fix="take it from registered space beside the pools",
                    )
    for zone in names.resolver.zones:
        if zone not in network.zoning.zones:
            raise TinhError(
                f"unknown zone {zone!r}",
                where=f"{where}: names.resolver.zones",
                fix=f"use some of {', '.join(network.zoning.zones)}",
            )
        if zone in PUBLIC:
            raise TinhError(
                f"hosts in zone {zone!r} are the public's",
                where=f"{where}: names.resolver.zones",
                fix="leave it out: the public asks the authoritative server (front_door.dns)",
            )


def translated(prefix: IPv4Network, nat64: IPv6Network) -> IPv6Network:
    """Return the IPv6 prefix that stands for an IPv4 prefix (RFC 6052 2.2, prefix length 96)."""
    first = int(nat64.network_address) + int(prefix.network_address)
    return IPv6Network((first, nat64.prefixlen + prefix.prefixlen))


def stands_for(prefix: DualPrefix, nat64: IPv6Network) -> DualPrefix:
    """Return a prefix with its IPv6 part replaced by what stands for its IPv4 part."""
    return DualPrefix(ipv6=translated(prefix.ipv4, nat64), ipv4=prefix.ipv4)
