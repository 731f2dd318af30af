"""From units, rules, pools and the ledger to the next ledger. Pure and deterministic.

A unit gets one block per routing domain, so that one route per unit and domain is announced, and its purposes'
prefixes inside the block. What the ledger holds stays where it is; what nobody needs is released and rests for the
quarantine time; what is new takes space that was never used, and released space only when there is no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import NoReturn

from infra.address.ledger import WIDTH, Block, Ledger, Pair, Slot, network, prefix
from infra.address.space import Full, Prefix, Space
from infra.errors import RefusedError, TinhError
from infra.model.network import Kind, Purpose
from infra.model.province import Province
from infra.model.unit import Level, Unit

Key = tuple[str, str]
FAMILIES = ("ipv4", "ipv6")


def compile_ledger(province: Province, before: Ledger | None = None) -> Ledger:
    """Return the ledger of a province at its epoch.

    Args:
        province: units and rules.
        before: the recorded ledger; none: nothing was ever given out.

    Raises:
        RefusedError: a unit that stays or returns would be renumbered; it is named.
        TinhError: a pool is too small; by how much and which rule is named.
    """
    return _Compiler(province, before or Ledger()).run()


@dataclass(frozen=True)
class _Layout:
    """Block size and places of the purposes in it for one level and domain, as (offset, bits)."""

    block: tuple[int, int]
    slots: Mapping[str, Pair]

    def at(self, pair: Pair) -> dict[str, Slot]:
        (v4, _), (v6, _) = pair.ipv4, pair.ipv6
        return {
            name: Slot(
                Pair((v4 + slot.ipv4[0], slot.ipv4[1]), (v6 + slot.ipv6[0], slot.ipv6[1])),
            )
            for name, slot in self.slots.items()
        }


class _Compiler:
    def __init__(self, province: Province, before: Ledger) -> None:
        self.province, self.net, self.before = province, province.network, before
        # A way back to an earlier epoch happens after what is recorded, so the ledger's time never goes back.
        self.day = max(before.day, province.day)
        self.pools = {
            name: tuple([prefix(net) for net in nets] for nets in self.net.spaces(name))
            for name in self.net.domains
        }
        self.home = {
            (unit, purpose): domain
            for (unit, domain), block in before.blocks.items()
            if not block.released
            for purpose, slot in block.slots.items()
            if not slot.released
        }
        self.layouts: dict[tuple[Level, str], _Layout] = {}

    def run(self) -> Ledger:
        after = Ledger(self.province.epoch, self.day)
        blocks: dict[Key, Block] = {}
        new: dict[str, list[Unit]] = {name: [] for name in self.net.domains}
        for unit in sorted(self.province.units, key=lambda unit: unit.code):
            for domain in self.net.domains:
                purposes = self.net.of_domain(domain, unit.level)
                if not purposes:
                    continue
                self._refuse_moved(unit, domain, purposes)
                key = (unit.code, domain)
                if key in self.before.blocks:
                    blocks[key] = self._stay(unit, domain, purposes, self.before.blocks[key])
                else:
                    new[domain].append(unit)
        for key, block in self.before.blocks.items():
            if key not in blocks:
                blocks[key] = after.released(block)
        for domain, units in new.items():
            if units:
                self._place(domain, units, blocks)
        return replace(after, blocks=blocks)

    def _stay(self, unit: Unit, domain: str, purposes: Mapping[str, Purpose], block: Block) -> Block:
        """Return the block of a unit that stays or returns, with its prefixes for today's purposes."""
        for family, pools, mine in zip(
            FAMILIES, self.pools[domain], (block.pair.ipv4, block.pair.ipv6), strict=True
        ):
            if not any(_inside(mine, pool) for pool in pools):
                self._renumber(
                    unit,
                    "pools",
                    f"its block {network(family, mine)} is outside the pools of domain {domain!r}",
                )
        slots: dict[str, Slot] = {}
        fresh: list[str] = []
        for name, purpose in purposes.items():
            slot = block.slots.get(name)
            if slot is None:
                fresh.append(name)
                continue
            v4, v6 = _bits(purpose, unit.level)
            have = slot.pair.ipv4[1], slot.pair.ipv6[1]
            if have != (v4, v6) and (purpose.kind is not Kind.LAN or have[0] < v4 or have[1] != v6):
                self._renumber(
                    unit,
                    f"purposes.{name}.hosts.{unit.level}",
                    f"{purpose.hosts[unit.level]} hosts for {name!r} do not fit {network('ipv4', slot.pair.ipv4)}",
                )
            slots[name] = replace(slot, released=None)
        slots |= {n: self._rest(s) for n, s in block.slots.items() if n not in purposes}
        if fresh:
            slots = self._grow(unit, domain, {name: purposes[name] for name in fresh}, block.pair, slots)
        return Block(block.pair, slots)

    def _grow(
        self, unit: Unit, domain: str, purposes: Mapping[str, Purpose], pair: Pair, slots: dict[str, Slot]
    ) -> dict[str, Slot]:
        """Add purposes to a block that is there."""
        unexpired = {n: s for n, s in slots.items() if not self._expired(s.released)}
        for kept in (slots, unexpired):
            try:
                return kept | {
                    n: Slot(p)
                    for n, p in _fill(pair, purposes, unit.level, [s.pair for s in kept.values()]).items()
                }
            except Full:
                continue
        names = ", ".join(purposes)
        self._renumber(
            unit,
            f"purposes.{names}.domain",
            f"its block {network('ipv4', pair.ipv4)} in domain {domain!r} has no room for {names}",
            fix="give the new purpose a domain and a pool of its own",
        )

    def _place(self, domain: str, units: list[Unit], blocks: dict[Key, Block]) -> None:
        """Give blocks to units that are new in a domain."""
        layouts = {unit.level: self._layout(domain, unit.level) for unit in units}
        units = sorted(units, key=lambda unit: (-layouts[unit.level].block[0], unit.code))
        # By place, not by name: a pool may have belonged to another domain before.
        mine = {key: block for key, block in blocks.items() if self._touches(block, domain)}
        expired = [key for key, block in mine.items() if self._expired(block.released)]
        for reuse in (False, True):
            if reuse:
                for key in expired:
                    del blocks[key], mine[key]
            spaces = [
                Space(pools, [getattr(block.pair, family) for block in mine.values()])
                for family, pools in zip(FAMILIES, self.pools[domain], strict=True)
            ]
            found: dict[Key, Block] = {}
            for number, unit in enumerate(units):
                layout = layouts[unit.level]
                pair = []
                for family, space, bits in zip(FAMILIES, spaces, layout.block, strict=True):
                    try:
                        pair.append(space.take(bits))
                    except Full:
                        if reuse or not expired:
                            self._too_small(domain, family, units[number:], layouts, space)
                        break
                if len(pair) < 2:
                    break
                both = Pair(*pair)
                found[unit.code, domain] = Block(both, layout.at(both))
            else:
                blocks |= found
                return

    def _touches(self, block: Block, domain: str) -> bool:
        v4, v6 = self.pools[domain]
        return any(_inside(block.pair.ipv4, pool) for pool in v4) or any(
            _inside(block.pair.ipv6, pool) for pool in v6
        )

    def _layout(self, domain: str, level: Level) -> _Layout:
        if (level, domain) not in self.layouts:
            purposes = self.net.of_domain(domain, level)
            total = sum(1 << _bits(purpose, level)[0] for purpose in purposes.values())
            size = (total - 1).bit_length(), 128 - self.net.domains[domain].ipv6_block
            try:
                slots = _fill(Pair((0, size[0]), (0, size[1])), purposes, level, [])
            except Full:
                raise TinhError(
                    f"a block /{128 - size[1]} does not hold {len(purposes)} prefixes for level {level}",
                    where=self.province.where(f"domains.{domain}.ipv6_block"),
                    fix="write a smaller number",
                ) from None
            self.layouts[level, domain] = _Layout(size, slots)
        return self.layouts[level, domain]

    def _too_small(
        self, domain: str, family: str, units: list[Unit], layouts: Mapping[Level, _Layout], space: Space
    ) -> NoReturn:
        index = FAMILIES.index(family)
        level = units[0].level
        bits = layouts[level].block[index]
        length = WIDTH[family] - bits
        needed, free = sum(1 << layouts[unit.level].block[index] for unit in units), space.free
        if family == "ipv4":
            what = f"addresses in blocks of /{length}"
            rules = [
                f"purposes.{name}.hosts.{level}: {purpose.hosts[level]}"
                for name, purpose in self.net.of_domain(domain, level).items()
            ]
        else:
            what = f"blocks of /{length}"
            needed, free = needed >> bits, free >> bits
            rules = [f"domains.{domain}.ipv6_block: {length}"]
        short = f"{needed - free} are missing" if needed > free else "the free ones are in pieces too small"
        names = [name for name, pool in self.net.pools.items() if pool.domain == domain]
        raise TinhError(
            f"the {family} pool of domain {domain!r} is too small: {len(units)} unit(s) from {units[0].code!r} on need "
            f"{needed} {what}, {free} are free, {short} (rules {', '.join(rules)})",
            where=self.province.where(f"pools.{', '.join(names)}.prefix.{family}"),
            fix="add a second pool for the domain (the first stays), or lower a rule",
        )

    def _refuse_moved(self, unit: Unit, domain: str, purposes: Iterable[str]) -> None:
        for name in purposes:
            home = self.home.get((unit.code, name), domain)
            if home != domain:
                self._renumber(
                    unit, f"purposes.{name}.domain", f"{name!r} moves from domain {home!r} to {domain!r}"
                )

    def _renumber(self, unit: Unit, path: str, why: str, fix: str = "") -> NoReturn:
        raise RefusedError(
            f"unit {unit.code!r} ({unit.name}) would be renumbered: {why}",
            where=self.province.where(path),
            fix=fix or "take the change back; new needs get a purpose, or a pool, of their own",
        )

    def _rest(self, slot: Slot) -> Slot:
        return slot if slot.released else replace(slot, released=self.day)

    def _expired(self, released: date | None) -> bool:
        return released is not None and released + timedelta(days=self.net.quarantine_days) <= self.day


def _bits(purpose: Purpose, level: Level) -> tuple[int, int]:
    v4, v6 = purpose.lengths(level)
    return 32 - v4, 128 - v6


def _inside(inner: Prefix, outer: Prefix) -> bool:
    return outer[0] <= inner[0] and inner[0] + (1 << inner[1]) <= outer[0] + (1 << outer[1])


def _fill(
    block: Pair, purposes: Mapping[str, Purpose], level: Level, occupied: Iterable[Pair]
) -> dict[str, Pair]:
    """Return places for purposes in a block, the largest first, so that a new block is filled without gaps.

    Raises:
        Full: they do not fit.
    """
    taken = list(occupied)
    v4 = Space([block.ipv4], [pair.ipv4 for pair in taken])
    lan = any(purpose.kind is Kind.LAN for purpose in purposes.values())
    # RFC 6164 section 5.1: not the subnet-router anycast address, the first of a /64.
    anycast: list[Prefix] = [] if lan else [(block.ipv6[0], 1)]
    v6 = Space([block.ipv6], [*(pair.ipv6 for pair in taken), *anycast])
    sizes: Iterator[tuple[str, tuple[int, int]]] = (
        (name, _bits(purpose, level)) for name, purpose in purposes.items()
    )
    ordered = sorted(sizes, key=lambda item: (-item[1][0], -item[1][1]))
    return {name: Pair(v4.take(bits[0]), v6.take(bits[1])) for name, bits in ordered}
