"""Which flows are allowed: the zone matrix between units' LANs and the data centre, and mesh domains; nothing else.

A flow from a LAN of one purpose to a LAN of another unit or purpose is allowed when
(a) the target is at the site or the province, a rule of the zone matrix lists the service between their zones, and
    their routing domains are the same or one of them leaks to the other; or
(b) both have one purpose in a domain that is a mesh: any service.
So communes are separate from communes and agencies from agencies in all but voice and video (circular 06/2026 Đ8.3).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from infra.model.net import DualPrefix
from infra.model.network import Network
from infra.model.unit import Level
from infra.model.zone import Service

HUBS = (Level.SITE, Level.PROVINCE)
ANY = "any"
FAMILIES = 2


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A LAN: a unit's hosts of one purpose."""

    unit: str
    purpose: str
    zone: str
    domain: str
    prefix: DualPrefix
    hub: bool


@dataclass(frozen=True, slots=True)
class Permit:
    """Flows of one service from every LAN of a purpose to the data centre's of a purpose, allowed or refused by name.

    Args:
        service: name in the zone plan.
    """

    source: str
    target: str
    service: str
    allow: bool
    reason: str


@dataclass(frozen=True, slots=True)
class FlowClass:
    """Pairs of LANs for which the same is allowed.

    Args:
        relation: `same unit`, `same hub` (within the site or the province), `hub` (to it from elsewhere) or `unit` (to
            any other unit).
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
        """Return the services that pass from a LAN to another; `any` alone stands for all."""
        if source == target:
            return ()
        if source.purpose == target.purpose and source.purpose in self.meshes:
            return (ANY,)
        if not target.hub:
            return ()
        return self._allowed.get((source.purpose, target.purpose), ())

    def allowed(self, source: Endpoint, target: Endpoint, service: str) -> bool:
        """Return whether a service passes from a LAN to another."""
        return bool({service, ANY} & set(self.services(source, target)))

    def flows(self) -> Iterator[tuple[Endpoint, Endpoint, tuple[str, ...]]]:
        """Yield every ordered pair of LANs with what passes; n * (n - 1) of them."""
        for source in self.endpoints:
            for target in self.endpoints:
                if source is not target:
                    yield source, target, self.services(source, target)

    def classes(self) -> tuple[FlowClass, ...]:
        """Return the whole matrix, one entry for all pairs that are alike; `flows` in short."""
        found = []
        for a, sources in self.by_purpose.items():
            units = {e.unit for e in sources}
            for b, targets in self.by_purpose.items():
                same = len(units & {e.unit for e in targets}) if a != b else 0
                hubs = sum(e.hub for e in targets)
                same_hub = sum(e.hub and e.unit in units for e in targets)
                own = same_hub if a != b else 0
                counts = {
                    ("same hub", True): own,
                    ("same unit", False): same - own,
                    ("hub", True): len(sources) * hubs - same_hub,
                    ("unit", False): len(sources) * (len(targets) - hubs)
                    - (len(units & {e.unit for e in targets}) - same_hub),
                }
                for (relation, hub), pairs in counts.items():
                    if pairs:
                        mesh = a == b and a in self.meshes
                        passes = (ANY,) if mesh else self._allowed.get((a, b), ()) if hub else ()
                        found.append(FlowClass(a, b, relation, passes, pairs))
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

    @cached_property
    def _allowed(self) -> dict[tuple[str, str], tuple[str, ...]]:
        found: dict[tuple[str, str], list[str]] = defaultdict(list)
        for permit in self.permits:
            if permit.allow:
                found[permit.source, permit.target].append(permit.service)
        return {key: tuple(names) for key, names in found.items()}

    def _permits(self) -> Iterator[Permit]:
        for rule in self.network.zoning.rules:
            for a, sources in self.by_purpose.items():
                for b, targets in self.hubs.items():
                    if (sources[0].zone, targets[0].zone) != (rule.source, rule.target):
                        continue
                    # What is refused by name is refused in every domain.
                    if not rule.allow or self.joined(sources[0].domain, targets[0].domain):
                        why = f"{rule.source} -> {rule.target} {rule.service}: {rule.reason}"
                        yield Permit(a, b, rule.service, rule.allow, why)
