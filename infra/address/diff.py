"""What differs between two plans, given as documents (epochs, or files written earlier)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Change:
    """One difference.

    Args:
        kind: `added`, `removed`, `renumbered` (another prefix) or `changed` (name, VLAN or another field).
    """

    kind: str
    unit: str
    unit_name: str
    purpose: str
    family: str
    before: str
    after: str


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Return the differences by unit, purpose and family."""
    return list(_changes(_by_key(before), _by_key(after)))


def _by_key(document: Mapping[str, Any]) -> dict[tuple[str, str, str], Mapping[str, Any]]:
    return {(a["unit"], a["purpose"], a["family"]): a for a in document["allocations"]}


def _changes(
    old: Mapping[tuple[str, str, str], Any], new: Mapping[tuple[str, str, str], Any]
) -> Iterator[Change]:
    for key in sorted(set(old) | set(new)):
        unit, purpose, family = key
        a, b = old.get(key), new.get(key)
        if b is None:
            a = old[key]
            yield Change("removed", unit, a["unit_name"], purpose, family, a["prefix"], "")
        elif a is None:
            yield Change("added", unit, b["unit_name"], purpose, family, "", b["prefix"])
        elif a["prefix"] != b["prefix"]:
            yield Change("renumbered", unit, b["unit_name"], purpose, family, a["prefix"], b["prefix"])
        elif a != b:
            fields = [name for name in a if a[name] != b.get(name)]
            was, now = (", ".join(f"{n}={x.get(n)}" for n in fields) for x in (a, b))
            yield Change("changed", unit, b["unit_name"], purpose, family, was, now)
