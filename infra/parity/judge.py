"""From what a client saw to a verdict for each thing that must be alike. Pure.

Source: RFC 8305: a client with both families takes the one that answers first, so that both must be right.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from infra.parity.agent import CLIENTS, FAMILIES

#: A family may take twice as long as the other one, and what is quick anyway is not compared: microseconds.
RATIO, QUICK = 2, 50_000
Look = Mapping[str, Any]


@dataclass(frozen=True)
class Check:
    """One thing that must hold.

    Args:
        subject: the published name, or `closed ports`.
        check: what is looked at.
        ok: whether it holds.
        found: what was seen, for people.
    """

    subject: str
    check: str
    ok: bool
    found: str

    def data(self) -> dict[str, object]:
        """Return what goes into the document."""
        return asdict(self)


def judge(seen: Mapping[str, Any], doors: Mapping[str, list[str]]) -> list[Check]:
    """Return every check.

    Args:
        seen: the agent's answer.
        doors: family -> addresses at which names are published.
    """
    found = [check for name, looks in seen["names"].items() for check in _name(name, looks, doors)]
    return [*found, *_closed(seen["open"])]


def _name(name: str, looks: Mapping[str, Look], doors: Mapping[str, list[str]]) -> Iterator[Check]:
    for client in CLIENTS:
        says = looks[f"{client}/ipv4"]["names"]
        ok = all(says[family] and set(says[family]) <= set(doors[family]) for family in FAMILIES)
        told = f"A {', '.join(says['ipv4']) or 'none'}; AAAA {', '.join(says['ipv6']) or 'none'}"
        yield Check(name, f"names, as the {client} client is told", ok, told)
        for family in FAMILIES:
            page = looks[f"{client}/{family}"]["page"]
            if client in (family, "dual"):
                yield Check(
                    name, f"page, {client} client over {family}", page["verified"] and page["status"] < 400,
                    f"{page['status']} from {page['address'] or 'nowhere'}"
                    + (f"; {page['error']}" if page["error"] else ""),
                )  # fmt: skip
            else:
                yield Check(
                    name,
                    f"no page, {client} client over {family}",
                    page["exit"] != 0,
                    page["error"] or "a page",
                )
    four, six = (looks[f"dual/{family}"] for family in FAMILIES)
    yield from _alike(name, four, six)


def _alike(name: str, four: Look, six: Look) -> Iterator[Check]:
    """Yield what must be the same in both families."""

    def same(check: str, a: object, b: object) -> Check:
        return Check(name, check, a == b, _short(a) if a == b else f"IPv4 {_short(a)}; IPv6 {_short(b)}")

    yield same("status", four["page"]["status"], six["page"]["status"])
    yield same("redirects", *([look["page"]["redirects"], look["page"]["end"]] for look in (four, six)))
    yield same("plain HTTP", *([look["plain"]["status"], look["plain"]["to"]] for look in (four, six)))
    yield same("headers", four["page"]["headers"], six["page"]["headers"])
    yield same("body", four["page"]["body"], six["page"]["body"])
    yield Check(
        name, "certificates", bool(four["chain"]) and four["chain"] == six["chain"],
        f"IPv4 {_short(four['chain'])}; IPv6 {_short(six['chain'])}",
    )  # fmt: skip
    a, b = four["microseconds"], six["microseconds"]
    slow, quick = max(a, b), min(a, b)
    ok = slow <= QUICK or slow <= RATIO * quick
    yield Check(name, "time", ok, f"IPv4 {a / 1000:.1f} ms; IPv6 {b / 1000:.1f} ms")


def _closed(opened: Mapping[str, list[int] | None]) -> Iterator[Check]:
    for place, ports in opened.items():
        text = (
            "not probed"
            if ports is None
            else f"open: {', '.join(map(str, ports))}"
            if ports
            else "all closed"
        )
        yield Check("closed ports", place, ports == [], text)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
