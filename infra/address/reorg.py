"""A reorganisation: what it changes for units, addresses, names, routes and policies, and what it does not.

Reversible: the plan from the second epoch to the first gives every unit back what it had, as long as the space has
not been given to others, which happens only after the quarantine and only when no other space is left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from typing import Any

from infra.address.ledger import Ledger
from infra.address.plan import Plan, plan_at
from infra.model.province import Record
from infra.model.unit import Unit


@dataclass(frozen=True)
class UnitChange:
    """What becomes of one unit.

    Args:
        kind: `merged` (into one other), `split` (into several), `left` (into another province), `abolished`, `renamed`,
            `moved` (another parent), `new` (from units of this province) or `joined` (from elsewhere, or from nothing).
        code: the unit's code.
        before: its row before; None for a new unit.
        after: its row afterwards; None when it ended.
        others: codes that it goes into, or comes from.
    """

    kind: str
    code: str
    before: Unit | None
    after: Unit | None
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reorganisation:
    """Two plans of one province, the second made from the first's ledger."""

    record: Record
    old: Plan
    new: Plan
    zone: str

    @cached_property
    def day(self) -> date:
        """The day of the change; a way back happens after what it takes back."""
        return max(self.old.province.day, self.new.province.day)

    @cached_property
    def units(self) -> tuple[UnitChange, ...]:
        """Every unit that changes, by code; one that is both renamed and moved is there twice."""
        return tuple(self._units())

    @cached_property
    def staying(self) -> tuple[str, ...]:
        """Codes that are in both epochs."""
        return tuple(sorted(set(self.old.province.by_code) & set(self.new.province.by_code)))

    def renumbered(self) -> list[str]:
        """Return the units that stay and lose or change a prefix; the compiler makes sure that there is none."""
        return [
            code
            for code in self.staying
            for purpose in self.old.purposes(code)
            if purpose not in self.new.purposes(code)
            or self.old.of(code, purpose) != self.new.of(code, purpose)
        ]

    def document(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {
            "site": self.old.province.site,
            "from": self.old.province.epoch,
            "to": self.new.province.epoch,
            "day": self.day.isoformat(),
            "units": self._unit_data(),
            "addresses": self._addresses(),
            "dns": self._dns(),
            "routes": self._routes(),
            "policies": self._policies(),
            "routers": self._routers(),
        }

    def _units(self) -> Iterator[UnitChange]:
        old, new = self.old.province, self.new.province
        follow = self.record.register.successors
        for code in sorted(set(old.by_code) | set(new.by_code)):
            before, after = old.by_code.get(code), new.by_code.get(code)
            if before and after:
                if before.name != after.name:
                    yield UnitChange("renamed", code, before, after)
                if before.parent != after.parent:
                    yield UnitChange("moved", code, before, after)
            elif before:
                into = follow(code, old.day, new.day)
                here = tuple(each for each in into if each in new.by_code)
                kind = (
                    "abolished"
                    if not into
                    else "left"
                    if not here
                    else "merged"
                    if len(here) == 1
                    else "split"
                )
                yield UnitChange(kind, code, before, None, into)
            elif after:
                came = tuple(each for each in follow(code, new.day, old.day) if each in old.by_code)
                kind, others = ("new", came) if came else ("joined", self.record.register.predecessors(after))
                yield UnitChange(kind, code, None, after, others)

    def _unit_data(self) -> dict[str, Any]:
        changed = {change.code for change in self.units}
        names = {row.code: row.name for row in self.record.register.rows}
        return {
            "staying": len(self.staying),
            "unchanged": sum(code not in changed for code in self.staying),
            "count": dict(sorted(Counter(change.kind for change in self.units).items())),
            "changes": [
                {
                    "kind": c.kind,
                    "unit": c.code,
                    "before": c.before.name if c.before else None,
                    "after": c.after.name if c.after else None,
                    "parent_before": c.before.parent if c.before else None,
                    "parent_after": c.after.parent if c.after else None,
                    "others": [{"unit": o, "name": self._name(o, names)} for o in c.others],
                }
                for c in self.units
            ],
        }

    def _name(self, code: str, names: dict[str, str]) -> str:
        unit = self.new.province.by_code.get(code) or self.old.province.by_code.get(code)
        return unit.name if unit else names[code]

    def _addresses(self) -> dict[str, Any]:
        old = {(a.unit, a.purpose, a.family): str(a.prefix) for a in self.old.allocations}
        new = {(a.unit, a.purpose, a.family): str(a.prefix) for a in self.new.allocations}
        keys = ("unit", "purpose", "family")
        until = self.day + timedelta(days=self.new.province.network.quarantine_days)
        return {
            "kept": sum(old[key] == new.get(key) for key in old),
            "renumbered": self.renumbered(),
            "given": [
                dict(zip(keys, k, strict=True)) | {"prefix": p} for k, p in new.items() if k not in old
            ],
            "released": [
                dict(zip(keys, k, strict=True)) | {"prefix": p} for k, p in old.items() if k not in new
            ],
            "quarantine_until": until.isoformat(),
        }

    def _dns(self) -> dict[str, Any]:
        """Old names stay as aliases of the successor; with several successors they stay at their old address."""
        until = self.day + timedelta(days=self.new.province.network.names_kept_days)
        old = {u.code: f"{u.label}.{self.zone}" for u in self.old.province.units}
        new = {u.code: f"{u.label}.{self.zone}" for u in self.new.province.units}
        aliases = []
        for code, name in old.items():
            if name == new.get(code):
                continue
            into = self.record.register.successors(code, self.old.province.day, self.new.province.day)
            targets = [new[each] for each in ([code] if code in new else into) if each in new]
            aliases.append({"name": name, "targets": targets, "until": until.isoformat()})
        return {
            "kept": sum(new.get(code) == name for code, name in old.items()),
            "added": [name for code, name in new.items() if old.get(code) != name],
            "old_names": aliases,
        }

    def _routes(self) -> dict[str, Any]:
        old, new = dict(self._blocks(self.old)), dict(self._blocks(self.new))
        keys = ("unit", "domain", "ipv6", "ipv4")
        return {
            "kept": sum(old[key] == new.get(key) for key in old),
            "announced": [dict(zip(keys, (*k, *v), strict=True)) for k, v in new.items() if k not in old],
            "withdrawn": [dict(zip(keys, (*k, *v), strict=True)) for k, v in old.items() if k not in new],
        }

    def _policies(self) -> dict[str, Any]:
        """Rules speak of zones, so only the prefixes in a zone's set change."""
        zones = {
            name: purpose.zone for name, purpose in self.new.province.network.purposes.items() if purpose.zone
        }
        sets = []
        for plan in (self.old, self.new):
            found: dict[str, set[str]] = {zone: set() for zone in zones.values()}
            for a in plan.allocations:
                if a.purpose in zones:
                    found[zones[a.purpose]].add(str(a.prefix))
            sets.append(found)
        return {
            "rules_changed": 0,
            "sets": {
                zone: {
                    "kept": len(sets[0][zone] & sets[1][zone]),
                    "added": len(sets[1][zone] - sets[0][zone]),
                    "removed": len(sets[0][zone] - sets[1][zone]),
                }
                for zone in sorted(set(zones.values()))
            },
        }

    def _routers(self) -> dict[str, Any]:
        old, new = ({router.name for router in plan.province.routers()} for plan in (self.old, self.new))
        return {"kept": len(old & new), "added": sorted(new - old), "retired": sorted(old - new)}

    @staticmethod
    def _blocks(plan: Plan) -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
        for unit, domain in plan.ledger.blocks:
            if block := plan.block(unit, domain):
                yield (unit, domain), block.pair()


def reorganise(
    record: Record, source: str, target: str, zone: str, before: Ledger | None = None
) -> Reorganisation:
    """Return the reorganisation from one epoch to another.

    Args:
        record: the site's province.
        source: epoch that it starts from.
        target: epoch that it ends in; may be the earlier one.
        zone: DNS zone of the units' names.
        before: the recorded ledger.

    Raises:
        TinhError: see `plan_at`.
    """
    old = plan_at(record, source, before)
    return Reorganisation(record, old, plan_at(record, target, old.ledger), zone)
