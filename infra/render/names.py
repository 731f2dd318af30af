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
from infra.model.network import Kind
from infra.render.zone import SERVER, TTL

Network = IPv4Network | IPv6Network


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
    lines = [_address(name, address) for name, address in sorted(names.items())]
    for alias in sorted(old, key=lambda alias: alias.name):
        if alias.name not in names and (today is None or today < alias.until):
            lines += _old(alias, names, zone)
    return _zone(zone, SERVER, serial, lines)


def render_reverse(plan: Plan, zone: str, serial: int) -> dict[str, str]:
    """Return reverse zone -> zone file, for all registered space.

    Args:
        plan: the address plan.
        zone: the forward zone.
        serial: of the SOAs.
    """
    found: dict[str, list[str]] = {}
    for entry in plan.province.network.registered:
        for net in (entry.prefix.ipv6, entry.prefix.ipv4):
            found |= {_pointer(part): [] for part in _parts(net)}
    lengths = {name.count(".") for name in found}
    for name, address in unit_names(plan).items():
        for each in (address.ipv6, address.ipv4):
            pointer = each.reverse_pointer
            owner = next((o for n in lengths if (o := ".".join(pointer.split(".")[-n - 1 :])) in found), None)
            if owner:
                found[owner].append(f"{pointer.removesuffix('.' + owner)} IN PTR {name}.{zone}.")
    return {name: _zone(name, f"{SERVER}.{zone}.", serial, sorted(lines)) for name, lines in found.items()}


def _old(alias: Alias, names: Mapping[str, DualAddress], zone: str) -> Iterator[str]:
    targets = [target for target in alias.targets if target in names]
    if not targets:
        raise TinhError(
            f"old name {alias.name!r} leads to {', '.join(alias.targets) or 'nothing'}, which is no name of the zone",
            where=f"zone {zone}",
            fix="render the zone from the plan of the later epoch, or leave the old name out",
        )
    if len(targets) > 1:  # an alias has one target (RFC 2181 10.1)
        yield from (_address(alias.name, names[target]) for target in targets)
        return
    for name in names:
        if name == targets[0] or name.endswith(f".{targets[0]}"):
            yield f"{name.removesuffix(targets[0])}{alias.name} IN CNAME {name}"


def _address(name: str, address: DualAddress) -> str:
    return f"{name} IN AAAA {address.ipv6}\n{name} IN A {address.ipv4}"


def _zone(name: str, server: str, serial: int, lines: Iterable[str]) -> str:
    # refresh, retry, expire, negative TTL: RIPE-203.
    soa = f"@ IN SOA {server} hostmaster {serial} 86400 7200 3600000 {TTL}"
    return "\n".join([f"$ORIGIN {name}.", f"$TTL {TTL}", soa, f"@ IN NS {server}", *lines]) + "\n"


def _parts(net: Network) -> Iterator[Network]:
    """Return the prefixes on the boundary of a label that a prefix consists of."""
    step = 8 if net.version == 4 else 4
    yield from net.subnets(new_prefix=-(-net.prefixlen // step) * step)  # type: ignore[misc]


def _pointer(net: Network) -> str:
    step, labels = (8, 4) if net.version == 4 else (4, 32)
    return ".".join(net.network_address.reverse_pointer.split(".")[labels - net.prefixlen // step :])
