"""The ledger: which block and which prefixes every unit has or had. Who is in it is never renumbered.

`stacks/sites/<site>/plan.json`, written by `tinh net plan --write` and committed; one block a line, so that a
review shows what a change gives and takes.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from infra.address.space import Prefix
from infra.errors import TinhError

FILE = "plan.json"
VERSION = 1
WIDTH = {"ipv4": 32, "ipv6": 128}


@dataclass(frozen=True, slots=True)
class Pair:
    """One prefix in both families."""

    ipv4: Prefix
    ipv6: Prefix


@dataclass(frozen=True, slots=True)
class Slot:
    """A unit's prefixes for one purpose."""

    pair: Pair
    released: date | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """A unit's block in a routing domain; its purposes' prefixes lie in it."""

    pair: Pair
    slots: Mapping[str, Slot]
    released: date | None = None


@dataclass(frozen=True)
class Ledger:
    """All blocks by (unit, domain), and the epoch that they are those of."""

    epoch: str = ""
    day: date = date.min
    blocks: Mapping[tuple[str, str], Block] = field(default_factory=dict)

    def released(self, block: Block) -> Block:
        """Return a block as released on this ledger's day, unless it already was."""
        return block if block.released else replace(block, released=self.day)


def network(family: str, prefix: Prefix) -> IPv4Network | IPv6Network:
    """Return a prefix as an `ipaddress` object."""
    first, bits = prefix
    return IPv4Network((first, 32 - bits)) if family == "ipv4" else IPv6Network((first, 128 - bits))


def prefix(net: IPv4Network | IPv6Network) -> Prefix:
    """Return an `ipaddress` object as numbers."""
    return int(net.network_address), net.max_prefixlen - net.prefixlen


def write(file: Path, site: str, ledger: Ledger) -> None:
    """Write a ledger; the file is either the old one or the new one at any time."""
    lines = [
        json.dumps({"unit": unit, "domain": domain} | _block(block), ensure_ascii=False)
        for (unit, domain), block in sorted(ledger.blocks.items())
    ]
    head = {"version": VERSION, "site": site, "epoch": ledger.epoch, "date": ledger.day.isoformat()}
    text = json.dumps(head)[:-1] + ', "blocks": [\n' + ",\n".join(lines) + "\n]}\n"
    with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=f".{file.name}.", delete=False) as new:
        try:
            new.write(text)
            new.flush()
            os.fsync(new.fileno())
            Path(new.name).chmod(0o644)
            Path(new.name).replace(file)
        except BaseException:
            Path(new.name).unlink(missing_ok=True)
            raise


def read(file: Path, site: str) -> Ledger:
    """Read a ledger; without a file it is empty.

    Raises:
        TinhError: it is damaged or another site's.
    """
    try:
        text = file.read_text("utf-8")
    except FileNotFoundError:
        return Ledger()
    try:
        data = json.loads(text)
        if data["version"] != VERSION or data["site"] != site:
            raise ValueError(f"version {data['version']!r}, site {data['site']!r}")
        blocks = {(b["unit"], b["domain"]): _read_block(b) for b in data["blocks"]}
        if len(blocks) != len(data["blocks"]):
            raise ValueError("a unit has two blocks in one domain")
        return Ledger(data["epoch"], date.fromisoformat(data["date"]), blocks)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TinhError(
            f"the ledger cannot be read: {type(error).__name__}: {error}",
            where=str(file),
            fix="take the committed file (git checkout); it must not be edited or thrown away: addresses depend on it",
        ) from None


def _block(block: Block) -> dict[str, object]:
    return {
        **_pair(block.pair),
        "released": block.released.isoformat() if block.released else None,
        "prefixes": {
            name: _pair(slot.pair) | ({"released": slot.released.isoformat()} if slot.released else {})
            for name, slot in sorted(block.slots.items())
        },
    }


def _pair(pair: Pair) -> dict[str, str]:
    return {"ipv4": str(network("ipv4", pair.ipv4)), "ipv6": str(network("ipv6", pair.ipv6))}


def _read_pair(data: Mapping[str, str]) -> Pair:
    return Pair(prefix(ip_network(data["ipv4"])), prefix(ip_network(data["ipv6"])))


def _read_block(data: Mapping) -> Block:
    slots = {name: Slot(_read_pair(s), _day(s.get("released"))) for name, s in data["prefixes"].items()}
    return Block(_read_pair(data), slots, _day(data["released"]))


def _day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None
