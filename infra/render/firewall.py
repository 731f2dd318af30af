"""What all routers' `nftables.conf` have in common: sets of the policy, and the central servers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

from infra.model.net import DualAddress, DualPrefix
from infra.model.zone import Zone
from infra.network.device import Device
from infra.network.fabric import Fabric
from infra.network.names import stands_for
from infra.network.policy import Endpoint
from infra.render.nft import PrefixSet
from infra.render.options import Options

SYSLOG_TLS = 6514  # RFC 5425


@dataclass(frozen=True)
class Server:
    """A service of the data centre that routers use."""

    name: str
    address: DualAddress
    protocol: str
    port: int


def lan_set(lans: Collection[Endpoint]) -> PrefixSet:
    """Return the prefixes of LANs without the parts that are LANs of their own."""
    return PrefixSet((e.prefix for e in lans), (part for e in lans for part in e.without))


class Firewall:
    """What the routers of a fabric have in common, written once.

    Args:
        fabric: routers and policy.
        options: arguments.
    """

    def __init__(self, fabric: Fabric, options: Options) -> None:
        self.fabric, self.policy, self.options = fabric, fabric.policy, options

    @cached_property
    def management(self) -> tuple[DualPrefix, ...]:
        """From where routers are managed: the management zone of the site and the province, and the argument."""
        hubs = [e.prefix for items in self.policy.hubs.values() for e in items if e.zone == Zone.MANAGEMENT]
        return (*hubs, *self.options.management)

    @cached_property
    def everywhere(self) -> dict[str, PrefixSet]:
        """All LANs by purpose."""
        return {name: lan_set(items) for name, items in self.policy.by_purpose.items()}

    @cached_property
    def hubs(self) -> dict[str, PrefixSet]:
        """The site's and the province's LANs by purpose."""
        return {name: lan_set(items) for name, items in self.policy.hubs.items()}

    @cached_property
    def common(self) -> dict[str, PrefixSet]:
        """Sets that every router has."""
        pools = self.fabric.network.pools.values()
        meshes = {name for name, domain in self.fabric.network.domains.items() if domain.mesh}
        return {
            "management": PrefixSet(self.management),
            "registered": PrefixSet(self.fabric.topology.registered),
            "realtime": PrefixSet(pool.prefix for pool in pools if pool.domain in meshes),
            "routers": PrefixSet(self.fabric.transport),
        }

    @cached_property
    def translated(self) -> dict[str, str]:
        """What stands for the IPv4 addresses of LANs behind the core, by purpose, as elements of a set.

        Other IPv4 addresses are not reached through the translation: not units', not routers', none outside.
        """
        names, site = self.fabric.topology.central, self.fabric.topology.site_unit
        if names is None or names.nat64 is None:
            return {}
        found, prefix = {}, names.nat64.ipv6
        for purpose, lans in self.policy.hubs.items():
            behind = [lan for lan in lans if lan.unit == site]
            wholes = [stands_for(lan.prefix, prefix) for lan in behind]
            parts = [stands_for(part, prefix) for lan in behind for part in lan.without]
            if behind:
                found[purpose] = PrefixSet(wholes, parts).text[1]
        return found

    def asked_by(self, device: Device) -> tuple[Server, ...]:
        """Return what a core router's resolver asks."""
        if device.names is None or self.options.authority is None:
            return ()
        asked = (self.options.authority.server, *device.names.resolver.forwarders)
        return tuple(Server("resolver", each, proto, 53) for each in asked for proto in ("udp", "tcp"))

    @cached_property
    def servers(self) -> tuple[Server, ...]:
        """Central servers that routers speak to."""
        found = []
        if dns := self.options.dns:
            found += [Server("names", dns, "udp", 53), Server("names", dns, "tcp", 53)]
        if ntp := self.options.ntp:
            found.append(Server("time", ntp, "udp", 123))
        if syslog := self.options.syslog:
            found.append(Server("logs", syslog.server, "tcp", SYSLOG_TLS))
        return tuple(found)
