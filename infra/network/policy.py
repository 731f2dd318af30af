"""Which flows are allowed: the zone matrix between units' LANs and the data centre, and mesh domains; nothing else.

A flow from a LAN of one purpose to a LAN of another unit or purpose is allowed when
(a) the target is at the site or the province, a rule of the zone matrix lists the service between their zones, their
    routing domains are the same or one of them leaks to the other, and the source is at the site or the province too
    if the rule asks for that (`hub`); or
(b) both have one purpose in a domain that is a mesh: any service.
So communes are separate from communes and agencies from agencies in all but voice and video (circular 06/2026 Đ8.3).

LANs that lie on one segment of the site (the front door and the servers) have no router between them: nothing is said
about what passes from one to the other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from infra.model.net import DualPrefix
from infra.model.network import Network
from infra.model.zone import Rule, Service

ANY = "any"
FAMILIES = 2


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A LAN: a unit's hosts of one purpose.

    Args:
        hub: it is at the site or the province.
        without: parts of the prefix that are LANs of their own.
        segment: of the site, that it lies on; empty: a LAN by itself.
    """

    unit: str
    purpose: str
    zone: str
    domain: str
    prefix: DualPrefix
    hub: bool
    without: tuple[DualPrefix, ...] = ()
    segment: str = ""

    def beside(self, other: Endpoint) -> bool:
        """Return whether it lies on one segment with another, or is it: no router is between them."""
        return self == other or (self.segment != "" and self.place == other.place)

    @property
    def place(self) -> tuple[str, str]:
        """Unit and segment."""
        return self.unit, self.segment


@dataclass(frozen=True, slots=True)
class Permit:
    """Flows of one service from every LAN of a purpose to the data centre's of a purpose, allowed or refused by name.

    Args:
        service: name in the zone plan.
        hub: only from LANs of the site and the province.
    """

    source: str
    target: str
    service: str
    allow: bool
    hub: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Idle:
    """A rule of the zone matrix that allows what never comes to pass.

    Args:
        number: of the rule in the data, from 0.
        reason: why.
        fix: what to do.
    """

    number: int
    rule: Rule
    reason: str
    fix: str


@dataclass(frozen=True, slots=True)
class FlowClass:
    """Pairs of LANs for which the same is allowed.

    Args:
        relation: `same unit`, `same hub` (within the site or the province), `hub` (to it from units), `other hub` (from
            the site to the province or back) or `unit` (to any other unit).
        services: names, or `any`; empty: nothing passes.
        pairs: ordered pairs of LANs.
    """

    source: str
    target: str
    relation: str
    services: tuple[str, ...]
    pairs: int


class Policy:
    """The policy of a province.

    Args:
        network: zones, purposes, domains.
        endpoints: every LAN.
    """

    def __init__(self, network: Network, endpoints: tuple[Endpoint, ...]) -> None:
        self.network, self.endpoints = network, endpoints

    @cached_property
    def by_purpose(self) -> dict[str, tuple[Endpoint, ...]]:
        """LANs by purpose."""
        found: dict[str, list[Endpoint]] = defaultdict(list)
        for each in self.endpoints:
            found[each.purpose].append(each)
        return {name: tuple(items) for name, items in found.items()}

    @cached_property
    def hubs(self) -> dict[str, tuple[Endpoint, ...]]:
        """LANs of the site and the province by purpose."""
        return {
            name: hubs
            for name, items in self.by_purpose.items()
            if (hubs := tuple(e for e in items if e.hub))
        }

    @cached_property
    def by_unit(self) -> dict[str, dict[str, Endpoint]]:
        """LANs by unit and purpose."""
        found: dict[str, dict[str, Endpoint]] = defaultdict(dict)
        for each in self.endpoints:
            found[each.unit][each.purpose] = each
        return found

    @cached_property
    def meshes(self) -> tuple[str, ...]:
        """Purposes whose LANs talk to each other."""
        domains = self.network.domains
        return tuple(name for name, items in self.by_purpose.items() if domains[items[0].domain].mesh)

    @cached_property
    def permits(self) -> tuple[Permit, ...]:
        """What the matrix says, by purposes: what it refuses by name first, then what it allows."""
        return tuple(sorted(self._permits(), key=lambda permit: permit.allow))

    def joined(self, one: str, other: str) -> bool:
        """Return whether two routing domains are the same or exchange routes."""
        domains = self.network.domains
        return one == other or other in domains[one].leaks or one in domains[other].leaks

    def service(self, permit: Permit) -> Service:
        """Return the ports of a permit."""
        return self.network.zoning.services[permit.service]

    def services(self, source: Endpoint, target: Endpoint) -> tuple[str, ...]:
        """Return the services that routers let pass from a LAN to another; `any` alone stands for all.

        There is none between LANs without a router between them: see `Endpoint.beside`.
        """
        if source.beside(target):
            return ()
        return self._passing(source.purpose, target.purpose, source.hub, target.hub)

    def allowed(self, source: Endpoint, target: Endpoint, service: str) -> bool:
        """Return whether a service passes from a LAN to another."""
        return bool({service, ANY} & set(self.services(source, target)))

    def flows(self) -> Iterator[tuple[Endpoint, Endpoint, tuple[str, ...]]]:
        """Yield every ordered pair of LANs that a router is between, with what passes."""
        for source in self.endpoints:
            for target in self.endpoints:
                if not source.beside(target):
                    yield source, target, self.services(source, target)

    def classes(self) -> tuple[FlowClass, ...]:
        """Return the whole matrix, one entry for all pairs that are alike; `flows` in short."""
        groups: dict[tuple[str, bool], list[Endpoint]] = defaultdict(list)
        for each in self.endpoints:
            groups[each.purpose, each.hub].append(each)
        found = []
        for (a, a_hub), sources in groups.items():
            for (b, b_hub), targets in groups.items():
                # A unit has at most one LAN of a purpose; the same LAN twice is no pair.
                same = len({e.unit for e in sources} & {e.unit for e in targets})
                near = 0 if a == b else same - _beside(sources, targets)
                far = len(sources) * len(targets) - same
                within = "same hub" if b_hub else "same unit"
                across = ("other hub" if a_hub else "hub") if b_hub else "unit"
                passes = self._passing(a, b, a_hub, b_hub)
                found += [
                    FlowClass(a, b, relation, passes, pairs)
                    for relation, pairs in ((within, near), (across, far))
                    if pairs
                ]
        return tuple(found)

    def count(self) -> dict[str, int]:
        """Return how many probes prove the policy: pairs x services x families, by `allowed` and `forbidden`."""
        services = len(self.network.zoning.services)
        total = {"allowed": 0, "forbidden": 0}
        for each in self.classes():
            passing = services if each.services == (ANY,) else len(each.services)
            total["allowed"] += each.pairs * passing * FAMILIES
            total["forbidden"] += each.pairs * (services - passing) * FAMILIES
        return total

    def idle_rules(self) -> tuple[Idle, ...]:
        """Return the rules that allow what never comes to pass, with the reason, in the order of the data."""
        return tuple(
            Idle(number, rule, *self._why_idle(rule))
            for number, rule in enumerate(self.network.zoning.rules)
            if rule.allow and not any(self._joined(*pair) for pair in self._pairs(rule))
        )

    def _why_idle(self, rule: Rule) -> tuple[str, str]:
        """Return why a rule lets nothing pass, and what to do."""
        hubs = " of the site or the province"
        ends = ((rule.source, self._sources(rule), hubs if rule.hub else ""), (rule.target, self.hubs, hubs))
        for zone, lans, whose in ends:
            if not any(items[0].zone == zone for items in lans.values()):
                return f"no LAN{whose} is in zone {zone!r}", "give a purpose that zone, or remove the rule"
        domains = {(self._domain(a), self._domain(b)) for a, b in self._pairs(rule)}
        if not domains:
            return "no router is between the LANs of these zones", "remove the rule"
        apart = ", ".join(f"{a!r} and {b!r}" for a, b in sorted(domains))
        fix = "let one of them leak to the other (domains.NAME.leaks), or remove the rule"
        return f"the routing domains {apart} exchange nothing", fix

    def _passing(self, a: str, b: str, a_hub: bool, b_hub: bool) -> tuple[str, ...]:
        """Return the services that pass from LANs of a purpose to other LANs of a purpose."""
        if a == b and a in self.meshes:
            return (ANY,)
        return self._allowed.get((a, b, a_hub), ()) if b_hub else ()

    @cached_property
    def _allowed(self) -> dict[tuple[str, str, bool], tuple[str, ...]]:
        """Services by the purposes of source and target, and whether the source is at a hub."""
        found: dict[tuple[str, str, bool], list[str]] = defaultdict(list)
        for permit in self.permits:
            for hub in (True,) if permit.hub else (True, False):
                if permit.allow:
                    found[permit.source, permit.target, hub].append(permit.service)
        return {key: tuple(names) for key, names in found.items()}

    def _permits(self) -> Iterator[Permit]:
        for rule in self.network.zoning.rules:
            for a, b in self._pairs(rule):
                # What is refused by name is refused in every domain.
                if not rule.allow or self._joined(a, b):
                    yield Permit(a, b, rule.service, rule.allow, rule.hub, f"{rule.label}: {rule.reason}")

    def _sources(self, rule: Rule) -> dict[str, tuple[Endpoint, ...]]:
        """Return the LANs that a rule may be from, by purpose."""
        return self.hubs if rule.hub else self.by_purpose

    def _pairs(self, rule: Rule) -> Iterator[tuple[str, str]]:
        """Yield the purposes that a rule is from and to, if a router is between any of their LANs."""
        for a, sources in self._sources(rule).items():
            for b, targets in self.hubs.items():
                zones = sources[0].zone, targets[0].zone
                if zones == (rule.source, rule.target) and not all(
                    source.beside(target) for source in sources for target in targets
                ):
                    yield a, b

    def _domain(self, purpose: str) -> str:
        return self.by_purpose[purpose][0].domain

    def _joined(self, a: str, b: str) -> bool:
        return self.joined(self._domain(a), self._domain(b))


def _beside(sources: Iterable[Endpoint], targets: Iterable[Endpoint]) -> int:
    """Return how many pairs of LANs of two purposes lie on one segment."""
    return len({e.place for e in sources if e.segment} & {e.place for e in targets})
