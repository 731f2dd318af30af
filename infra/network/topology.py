"""Who is joined with whom: routers and their names, links, autonomous systems, LANs, blocks.

Every unit has one autonomous system, the carrier's planes together one. Links are numbered by the plan: the carrier's
router (or a unit's first one) has the first address, the other end the second.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

from infra.address.plan import Plan
from infra.errors import TinhError
from infra.model.dns import Names
from infra.model.net import DualAddress, DualPrefix
from infra.model.network import HUBS, Kind, RouterRole
from infra.model.province import Province, Router
from infra.model.site import Role, Site
from infra.model.zone import Zone
from infra.network.mapping import router_name
from infra.network.names import check
from infra.network.policy import Endpoint, Policy

ASN_BASE = 4_200_000_000  # RFC 6996: private 4-byte numbers
ASN_BITS = 26  # what fits above the base
FRONT_DOOR = "front-door"  # the front door's LAN, by which policy and files name it


@dataclass(frozen=True)
class Part:
    """A part of a segment in a zone of its own; no router is between it and the rest of the segment."""

    name: str
    zone: str
    prefix: DualPrefix


@dataclass(frozen=True)
class SegmentLan:
    """A segment of the site's machines (site.yaml); it takes the place of the site's purpose of the same name.

    Args:
        name: of the segment, which is its interface's.
        zone: zone of the circular.
        prefix: of the segment.
        gateway: the routers' virtual address.
        routers: own address of each core router, in their order.
        parts: of the segment, that are in other zones.
    """

    name: str
    zone: str
    prefix: DualPrefix
    gateway: DualAddress
    routers: tuple[DualAddress, ...]
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Link:
    """A link between two routers: `upper` has the first address."""

    purpose: str
    unit: str
    upper: str
    lower: str
    capacity_mbps: int | None


def asn(loopback: DualAddress) -> int:
    """Return a unit's private ASN: the low 26 bits of its first IPv4 loopback above 4200000000.

    It depends on nothing but this address, which the ledger keeps, so units that come and go change nobody's number.
    Within RFC 1918 and RFC 6598 space it is unique: these ranges differ in their low 26 bits.
    """
    return ASN_BASE + int(loopback.ipv4) % 2**ASN_BITS


def segment_lans(site: Site) -> tuple[SegmentLan, ...]:
    """Return the segments that the site's routers lead out of; what is out of band is not behind them."""
    routers = site.by_role(Role.ROUTER)
    door = Part(FRONT_DOOR, site.front_door.zone, site.front_door.pool)
    return tuple(
        SegmentLan(
            name,
            segment.zone,
            segment.prefix,
            virtual,
            tuple(m.addresses[name] for m in routers),
            (door,) if name == site.front_segment else (),
        )
        for name, segment in site.segments.items()
        if routers and (virtual := segment.virtual) and all(name in m.addresses for m in routers)
    )


class Topology:
    """What the routers are compiled from.

    Args:
        plan: province and addresses.
        segments: of the site's own machines; they are behind the core, and without one nowhere.
        names: resolver and translation of the core.

    Raises:
        TinhError: see `infra.network.names.check`.
    """

    def __init__(self, plan: Plan, segments: tuple[SegmentLan, ...] = (), names: Names | None = None) -> None:
        self.plan = plan
        self.province: Province = plan.province
        self.network = self.province.network
        self.segments = segments if self.site_unit else ()
        self.central = names if self.site_unit else None
        if self.central:
            check(self.central, self.province)

    @cached_property
    def policy(self) -> Policy:
        """What may pass."""
        return Policy(self.network, tuple(self._endpoints()))

    @cached_property
    def unserved(self) -> tuple[str, ...]:
        """Units that have LANs in the plan and no terminal device in the data."""
        served = {r.unit for r in self.routers if r.role is not RouterRole.TSLCD_GATEWAY}
        return tuple(u.code for u in self.province.units if u.code not in served and self.lans(u.code))

    @cached_property
    def transport(self) -> tuple[str, ...]:
        """Routing domains of the routers' own addresses."""
        purposes = self.network.purposes.values()
        return tuple(dict.fromkeys(p.domain for p in purposes if p.kind is not Kind.LAN))

    def blocks(self, router: Router) -> tuple[DualPrefix, ...]:
        """Return a router's own space: its unit's block in every domain, and what is behind the core or in it.

        The carrier's routers have no LANs: theirs is only the unit's block of routers' addresses.
        """
        carrier = router.role is RouterRole.TSLCD_GATEWAY
        names = self.transport if carrier else tuple(self.network.domains)
        found = [block for name in names if (block := self.plan.block(router.unit, name))]
        if router.role is RouterRole.CORE:
            found += [s.prefix for s in self.segments]
            found += self.central.blocks if self.central else ()
        return tuple(found)

    def announced(self, router: Router) -> tuple[DualPrefix, ...]:
        """Return what a router tells other units: its own space but what is outside, the segments in zone border."""
        outside = {s.prefix for s in self.segments if s.zone == Zone.BORDER}
        return tuple(prefix for prefix in self.blocks(router) if prefix not in outside)

    @cached_property
    def names(self) -> dict[str, str]:
        """Name in the data -> short name."""
        numbers: dict[tuple[str, RouterRole], list[str]] = defaultdict(list)
        for router in self.province.routers():
            numbers[router.unit, router.role].append(router.name)
        return {
            name: router_name(role, unit, number, len(names))
            for (unit, role), names in numbers.items()
            for number, name in enumerate(names, 1)
        }

    @cached_property
    def routers(self) -> tuple[Router, ...]:
        """Every router, as the data has it."""
        return tuple(self.province.routers())

    @cached_property
    def by_name(self) -> dict[str, Router]:
        """Routers by their name in the data."""
        return {router.name: router for router in self.routers}

    @cached_property
    def by_unit(self) -> dict[str, list[Router]]:
        """Routers by unit."""
        found: dict[str, list[Router]] = defaultdict(list)
        for router in self.routers:
            found[router.unit].append(router)
        return found

    @cached_property
    def planes(self) -> tuple[Router, ...]:
        """The carrier's routers: plane 1, plane 2, ..."""
        return tuple(r for r in self.routers if r.role is RouterRole.TSLCD_GATEWAY)

    @cached_property
    def site_unit(self) -> str:
        """Code of the unit with the core."""
        return next((r.unit for r in self.routers if r.role is RouterRole.CORE), "")

    def terminals(self, unit: str) -> list[Router]:
        """Return a unit's own routers."""
        return [r for r in self.by_unit.get(unit, ()) if r.role is not RouterRole.TSLCD_GATEWAY]

    def lans(self, unit: str) -> list[str]:
        """Return the purposes for which a unit has LANs."""
        purposes = self.network.purposes
        return [name for name in self.plan.purposes(unit) if purposes[name].kind is Kind.LAN]

    def _endpoints(self) -> list[Endpoint]:
        found = []
        for unit in self.province.units:
            hub = unit.level in HUBS
            replaced = {s.name for s in self.segments} if unit.code == self.site_unit else set()
            for name in self.lans(unit.code):
                if name not in replaced:
                    purpose = self.network.purposes[name]
                    prefix = self.plan.of(unit.code, name)
                    found.append(Endpoint(unit.code, name, purpose.zone, purpose.domain, prefix, hub))
        for s in self.segments:
            found.append(self._on(s, s, tuple(part.prefix for part in s.parts)))
            found += [self._on(s, part) for part in s.parts]
        return found

    def _on(
        self, segment: SegmentLan, lan: SegmentLan | Part, without: tuple[DualPrefix, ...] = ()
    ) -> Endpoint:
        domain = self.segment_domain(lan)
        return Endpoint(self.site_unit, lan.name, lan.zone, domain, lan.prefix, True, without, segment.name)

    def segment_domain(self, segment: SegmentLan | Part) -> str:
        """Return the routing domain of a segment or a part: that of the site's purpose in the same zone.

        Raises:
            TinhError: there is none.
        """
        for name in self.lans(self.site_unit):
            if self.network.purposes[name].zone == segment.zone:
                return self.network.purposes[name].domain
        raise TinhError(
            f"no purpose of unit {self.site_unit!r} is in zone {segment.zone!r} of segment {segment.name!r}",
            where=self.province.where("purposes"),
            fix="give the site a purpose in that zone; its routing domain is the segment's",
        )

    @cached_property
    def links(self) -> tuple[Link, ...]:
        """Circuits to the planes, in their order dealt out to the unit's routers; and links within units."""
        found: list[Link] = []
        dealt: dict[str, int] = defaultdict(int)
        for circuit in self.province.circuits():
            plane, mine = self.network.purposes[circuit.link].plane, self.terminals(circuit.unit)
            if not mine:
                continue  # named by `unserved`
            if plane is None or plane > len(self.planes):
                raise TinhError(
                    f"circuit {circuit.unit} {circuit.link} goes to plane {plane}, there are {len(self.planes)}",
                    where=self.province.where(f"purposes.{circuit.link}.plane"),
                    fix="number the carrier's routers (role tslcd_gateway) from 1, or add one",
                )
            lower = mine[dealt[circuit.unit] % len(mine)]
            dealt[circuit.unit] += 1
            upper = self.planes[plane - 1]
            found.append(Link(circuit.link, circuit.unit, upper.name, lower.name, circuit.capacity_mbps))
        for name, purpose in self.network.purposes.items():
            if purpose.kind is Kind.LINK and purpose.plane is None:
                for unit, routers in self.by_unit.items():
                    pair = self.group(routers[0])
                    if len(pair) > 1 and name in self.plan.purposes(unit):
                        found.append(Link(name, unit, pair[0].name, pair[1].name, None))
        return tuple(found)

    @cached_property
    def links_of(self) -> dict[str, list[Link]]:
        """Links by router."""
        found: dict[str, list[Link]] = defaultdict(list)
        for link in self.links:
            found[link.upper].append(link)
            found[link.lower].append(link)
        return found

    def group(self, router: Router) -> list[Router]:
        """Return the routers of a router's unit that are in the same hands: the carrier's, or the unit's own."""
        carrier = router.role is RouterRole.TSLCD_GATEWAY
        return [r for r in self.by_unit[router.unit] if (r.role is RouterRole.TSLCD_GATEWAY) == carrier]

    @cached_property
    def asns(self) -> dict[str, int]:
        """ASN by router: one for each group, by the first one's loopback.

        Raises:
            TinhError: two groups have the same.
        """
        found: dict[str, int] = {}
        seen: dict[int, str] = {}
        for router in self.routers:
            first = self.group(router)[0]
            number = found[router.name] = asn(self.loopback(first))
            if seen.setdefault(number, first.name) != first.name:
                raise TinhError(
                    f"{seen[number]!r} and {first.name!r} have the same ASN {number}",
                    where=self.province.where("pools"),
                    fix="take loopbacks from RFC 1918 or RFC 6598 space, where their low 26 bits differ",
                )
        return found

    def loopbacks(self, unit: str) -> list[str]:
        """Return the purposes for which a unit has loopbacks."""
        return [n for n in self.plan.purposes(unit) if self.network.purposes[n].kind is Kind.LOOPBACK]

    def loopback(self, router: Router) -> DualAddress:
        """Return a router's loopback.

        Raises:
            TinhError: its unit has not enough.
        """
        mine, index = self.loopbacks(router.unit), self.by_unit[router.unit].index(router)
        if index >= len(mine):
            raise TinhError(
                f"unit {router.unit!r} has more routers than loopbacks ({len(mine)})",
                where=self.province.where("purposes"),
                fix="give its level one purpose of kind loopback for each router",
            )
        return self.plan.gateway(router.unit, mine[index])

    @cached_property
    def registered(self) -> tuple[DualPrefix, ...]:
        """Space that the province may use."""
        return tuple(entry.prefix for entry in self.network.registered)
