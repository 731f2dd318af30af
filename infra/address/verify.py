"""Proof of a plan: checks the document that `tinh net plan --format json` prints, sharing no code with the compiler.

Claims: both families for every unit and purpose that the rules ask for; every prefix inside a pool of its domain and
every pool inside the registered space; large enough; no address twice - between any two domains, which is more than
the declared leaks need (circular 06/2026 Đ7.2); nothing in quarantine is in use; VLANs of a unit are distinct.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any

LENGTHS = {"loopback": {"ipv4": 32, "ipv6": 128}, "link": {"ipv4": 31, "ipv6": 127}, "lan": {"ipv6": 64}}
FAMILIES = {32: "ipv4", 128: "ipv6"}
Range = tuple[str, int, int, str]


def verify(document: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a plan; an empty list is the proof."""
    problems: list[str] = []
    outer = {
        family: [_bounds(entry["prefix"][family])[:2] for entry in document["registered"]]
        for family in ("ipv4", "ipv6")
    }
    inside: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for pool in document["pools"]:
        first, last, _ = _bounds(pool["prefix"])
        if not any(low <= first and last <= high for low, high in outer[pool["family"]]):
            problems.append(f"pool {pool['name']} {pool['prefix']} is outside the registered allocation")
        inside.setdefault((pool["domain"], pool["family"]), []).append((first, last))
    ranges: list[Range] = []
    for item in document["allocations"]:
        problems += _one(item, document, inside, ranges)
    for item in document["held"]:
        ranges.append(
            (item["family"], *_bounds(item["prefix"])[:2], f"{item['unit']} {item['domain']} (quarantine)")
        )
    problems += _complete(document)
    problems += _overlaps(ranges)
    return problems


def _bounds(prefix: str) -> tuple[int, int, int]:
    """Return first and last address of a prefix and their width in bits; `ipaddress` takes too long for a country's.

    Raises:
        ValueError: it is no prefix, or has bits beyond its length.
    """
    head, _, length = prefix.partition("/")
    first, width = _number(head)
    if not length.isdecimal() or int(length) > width:
        raise ValueError(f"{prefix!r} is no prefix")
    rest = (1 << (width - int(length))) - 1
    if first & rest:
        raise ValueError(f"{prefix!r} has host bits set")
    return first, first + rest, width


def _number(address: str) -> tuple[int, int]:
    """Return an address as a number, and its width in bits."""
    family, width = (AF_INET6, 128) if ":" in address else (AF_INET, 32)
    try:
        return int.from_bytes(inet_pton(family, address), "big"), width
    except OSError:
        raise ValueError(f"{address!r} is no address") from None


def _one(
    item: Mapping[str, Any],
    document: Mapping[str, Any],
    inside: Mapping[tuple[str, str], list[tuple[int, int]]],
    ranges: list[Range],
) -> Iterator[str]:
    """Check one allocation by itself, and note its range."""
    name = f"{item['unit']} {item['purpose']} {item['prefix']}"
    purpose, unit = document["purposes"].get(item["purpose"]), document["units"].get(item["unit"])
    if purpose is None or unit is None:
        yield f"{name}: unknown unit or purpose"
        return
    try:
        first, last, width = _bounds(item["prefix"])
        gateway, _ = _number(item["gateway"])
    except ValueError as error:
        yield f"{name}: {error}"
        return
    size = last - first + 1
    ranges.append((FAMILIES[width], first, last, name))
    if item["family"] != FAMILIES[width]:
        yield f"{name}: is not of family {item['family']}"
        return
    for field in ("domain", "vlan"):
        if item[field] != purpose[field]:
            yield f"{name}: {field} {item[field]!r} is not the rule's {purpose[field]!r}"
    if (item["unit_name"], item["unit_level"]) != (unit["name"], unit["level"]):
        yield f"{name}: name or level is not the unit's"
    pools = inside.get((item["domain"], item["family"]), ())
    if not any(low <= first and last <= high for low, high in pools):
        yield f"{name}: outside the pools of domain {item['domain']}"
    kind = purpose["kind"]
    expected = LENGTHS[kind].get(item["family"])
    hosts = purpose["hosts"].get(unit["level"], 0)
    if expected is not None and size != 1 << (width - expected):
        yield f"{name}: a {kind} is /{expected}"
    elif expected is None and size < hosts + 3:  # network, broadcast, gateway
        yield f"{name}: too small for {hosts} hosts by {hosts + 3 - size}"
    if gateway != first + (kind == "lan"):
        yield f"{name}: gateway {item['gateway']} is not the first address"
    if kind != "lan" and width == 128 and first % 2**64 == 0:
        yield f"{name}: holds the subnet-router anycast address (RFC 6164)"


def _complete(document: Mapping[str, Any]) -> Iterator[str]:
    """Check that what is there is exactly what the rules ask for, once, in both families; and the VLANs."""
    wanted = {
        (code, name, family)
        for code, unit in document["units"].items()
        for name, purpose in document["purposes"].items()
        if unit["level"] in purpose["hosts"]
        for family in ("ipv4", "ipv6")
    }
    found = Counter((item["unit"], item["purpose"], item["family"]) for item in document["allocations"])
    for unit, purpose, family in sorted(wanted - set(found)):
        yield f"{unit} {purpose}: has no {family}"
    for unit, purpose, family in sorted(set(found) - wanted):
        yield f"{unit} {purpose}: {family} that no rule asks for"
    for (unit, purpose, family), count in sorted(found.items()):
        if count > 1:
            yield f"{unit} {purpose}: {count} times {family}"
    vlans = Counter(
        (item["unit"], item["vlan"])
        for item in document["allocations"]
        if item["family"] == "ipv4" and item["vlan"] is not None
    )
    for (unit, vlan), count in sorted(vlans.items()):
        if count > 1:
            yield f"{unit}: VLAN {vlan} is used {count} times"


def _overlaps(ranges: Iterable[Range]) -> Iterator[str]:
    """Sort and sweep: each range must begin after the furthest end so far."""
    family, end, holder = "", -1, ""
    for kind, first, last, name in sorted(ranges):
        if kind == family and first <= end:
            yield f"{name} overlaps {holder}"
        if kind != family or last > end:
            family, end, holder = kind, last, name
