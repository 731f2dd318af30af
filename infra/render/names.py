"""Names of the units: a forward zone and the reverse zones of the registered space (RFC 1035 5, RFC 3596).

`<unit>` is the unit's router, `<purpose>.<unit>` the gateway of its LAN. Old names of units that merged or were renamed
answer until a date.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from infra.address.plan import Plan
from infra.errors import TinhError
from infra.model.net import DualAddress
from infra.model.network import Kind, Network
from infra.render.zone import SERVER, addresses, zone_text

Prefix = IPv4Network | IPv6Network


@dataclass(frozen=True)
class Alias:
    """An old name.

    Args:
        name: without the zone.
        targets: names that it stands for, without the zone; several when the unit was split.
        until: first day on which it is no more.
    """

    name: str
    targets: tuple[str, ...]
    until: date


def aliases(document: Mapping[str, Any], zone: str) -> tuple[Alias, ...]:
    """Return the old names of a reorganisation.

    Args:
        document: `Reorganisation.document()`.
        zone: the zone that its names are in.
    """
    tail = f".{zone}"
    return tuple(
        Alias(
            item["name"].removesuffix(tail),
            tuple(target.removesuffix(tail) for target in item["targets"]),
            date.fromisoformat(item["until"]),
        )
        for item in document["dns"]["old_names"]
    )


def unit_names(plan: Plan) -> dict[str, DualAddress]:
    """Return every name of the zone with its address."""
    found: dict[str, DualAddress] = {}
    for unit in plan.province.units:
        for purpose in plan.purposes(unit.code):
            kind = plan.province.network.purposes[purpose].kind
            address = plan.gateway(unit.code, purpose)
            if kind is Kind.LOOPBACK:
                found.setdefault(unit.label, address)
            elif kind is Kind.LAN:
                found[f"{purpose}.{unit.label}"] = address
    return found


def render_units(
    plan: Plan,
    zone: str,
    server: DualAddress,
    serial: int,
    old: Iterable[Alias] = (),
    today: date | None = None,
) -> str:
    """Return the forward zone file.

    Args:
        plan: the address plan.
        zone: name without trailing dot.
        server: address of the name server.
        serial: of the SOA; it grows with every change (RFC 1982).
        old: old names; those that have become names of other units are left out.
        today: old names are there as long as their date is later; none: all.

    Raises:
        TinhError: an old name leads nowhere.
    """
    names = {SERVER: server} | unit_names(plan)
    lines = [line for name, address in sorted(names.items()) for line in addresses(name, address)]
    for alias in sorted(old, key=lambda alias: alias.name):
        if alias.name not in names and (today is None or today < alias.until):
            lines += _old(alias, names, zone)
    return zone_text(zone, SERVER, serial, lines)


def render_reverse(
    plan: Plan, zone: str, serial: int, below: Mapping[str, Iterable[str]] | None = None
) -> dict[str, str]:
    """Return reverse zone -> zone file, for all registered space.

    Args:
        plan: the address plan.
        zone: the forward zone.
        serial: of the SOAs.
        below: zone that is delegated -> what the records of its delegation say after its name.

    Raises:
        TinhError: a zone that is delegated has pointers of units in it.
    """
    below = below or {}
    found: dict[str, list[str]] = {name: [] for name in reverse_names(plan.province.network)}
    for name, address in unit_names(plan).items():
        for each in (address.ipv6, address.ipv4):
            pointer = each.reverse_pointer
            if taken := next((child for child in below if pointer.endswith(f".{child}")), None):
                raise TinhError(
                    f"{name} ({each}) lies in the reverse zone {taken} of the front door",
                    where=plan.province.where("pools"),
                    fix="take pools and front_door.pool from prefixes of different reverse zones",
                )
            if owner := parent(pointer, found):
                found[owner].append(f"{pointer.removesuffix('.' + owner)} IN PTR {name}.{zone}.")
    for child, rests in below.items():
        if owner := parent(child, found):
            found[owner] += [f"{child.removesuffix('.' + owner)} IN {rest}" for rest in rests]
    return {
        name: zone_text(name, f"{SERVER}.{zone}.", serial, sorted(lines)) for name, lines in found.items()
    }


def reverse_names(network: Network) -> list[str]:
    """Return the reverse zones of all registered space."""
    nets = [net for entry in network.registered for net in (entry.prefix.ipv6, entry.prefix.ipv4)]
    return [pointer_zone(part) for net in nets for part in _parts(net)]


def parent(name: str, zones: Iterable[str]) -> str | None:
    """Return the zone that a name is below, the nearest of several."""
    return max((zone for zone in zones if name.endswith(f".{zone}")), key=len, default=None)


def pointer_zone(net: Prefix) -> str:
    """Return the reverse zone of a prefix; the last boundary of a label above it counts."""
    step, labels = (8, 4) if net.version == 4 else (4, 32)
    return ".".join(net.network_address.reverse_pointer.split(".")[labels - net.prefixlen // step :])


def _old(alias: Alias, names: Mapping[str, DualAddress], zone: str) -> Iterator[str]:
    targets = [target for target in alias.targets if target in names]
    if not targets:
        raise TinhError(
            f"old name {alias.name!r} leads to {', '.join(alias.targets) or 'nothing'}, which is no name of the zone",
            where=f"zone {zone}",
            fix="render the zone from the plan of the later epoch, or leave the old name out",
        )
    if len(targets) > 1:  # an alias has one target (RFC 2181 10.1)
        yield from (line for target in targets for line in addresses(alias.name, names[target]))
        return
    for name in names:
        if name == targets[0] or name.endswith(f".{targets[0]}"):
            yield f"{name.removesuffix(targets[0])}{alias.name} IN CNAME {name}"


def _parts(net: Prefix) -> Iterator[Prefix]:
    """Return the prefixes on the boundary of a label that a prefix consists of."""
    step = 8 if net.version == 4 else 4
    yield from net.subnets(new_prefix=-(-net.prefixlen // step) * step)  # type: ignore[misc]
