"""Administrative units over time: official codes, parents, and what became of a unit that ended.

Codes are those of the General Statistics Office (province 2, district 3, commune 5 digits); agencies and sites have
short codes of the province's own. A code that goes on under another name or parent is one unit with several rows.
Sources: Decision 124/2004/QD-TTg (list and codes of administrative units), Law 72/2025/QH15 (two levels).
"""

from __future__ import annotations

import csv
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from enum import StrEnum
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError, model_validator

from infra.errors import TinhError
from infra.model.base import Model


class Level(StrEnum):
    """Level of a unit; sizing rules are given per level."""

    PROVINCE = "province"
    DISTRICT = "district"
    COMMUNE = "commune"
    AGENCY = "agency"
    SITE = "site"  # a place with machines: data centre, relay station


class Unit(Model):
    """One row: a unit as it was during one period."""

    code: str = Field(pattern=r"^([0-9]{2,5}|[a-z][a-z0-9-]{0,15})$")
    name: str = Field(min_length=1, description="Vietnamese name with its type, as published")
    level: Level
    type: str = Field(min_length=1, description="Vietnamese type: tỉnh, huyện, xã, phường, ...")
    parent: str = Field(default="", description="code of the parent; empty for a province")
    valid_from: date | None = Field(default=None, description="first day; none: before the records begin")
    valid_to: date | None = Field(
        default=None, description="first day on which it is no more; none: it goes on"
    )
    successors: tuple[str, ...] | None = Field(
        default=None,
        description="codes from valid_to on; none: not ended; empty: abolished without successor",
    )
    source: str = Field(min_length=1, description="keys of the record's sources, blank-separated")

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if (self.valid_to is None) != (self.successors is None):
            raise ValueError("valid_to and successors belong together: give both or neither ('-': abolished)")
        if self.valid_from and self.valid_to and self.valid_from >= self.valid_to:
            raise ValueError(f"valid_from {self.valid_from} is not before valid_to {self.valid_to}")
        return self

    def on(self, day: date) -> bool:
        """Return whether the row is valid on a day."""
        return (self.valid_from is None or self.valid_from <= day) and (
            self.valid_to is None or day < self.valid_to
        )

    @property
    def label(self) -> str:
        """DNS label: the name without its type in plain letters, and the code, which makes it unique (RFC 1123)."""
        name = self.name
        if name.casefold().startswith(f"{self.type} ".casefold()):
            name = name[len(self.type) + 1 :]
        return f"{plain(name)[: 62 - len(self.code)].strip('-')}-{self.code}"


def plain(text: str) -> str:
    """Return a Vietnamese text in lower-case ASCII letters, digits and single dashes."""
    folded = unicodedata.normalize("NFD", text.casefold().replace("đ", "d"))
    kept = "".join(c if c.isascii() and c.isalnum() else " " for c in folded if not unicodedata.combining(c))
    return "-".join(kept.split())


class Register:
    """All rows of a province, checked; what the plan and a reorganisation are computed from.

    Args:
        rows: the rows in any order.
        where: row -> file and line, for messages.

    Raises:
        TinhError: a code twice on one day, an unknown parent, a cycle of parents, a missing successor.
    """

    def __init__(self, rows: Iterable[Unit], where: dict[int, str] | None = None) -> None:
        self.rows = tuple(rows)
        self._where = where or {}
        self._by_code: dict[str, list[Unit]] = defaultdict(list)
        for row in self.rows:
            self._by_code[row.code].append(row)
        self._check_codes()
        self._check_parents()
        self._check_successors()

    def at(self, day: date, root: str) -> tuple[Unit, ...]:
        """Return a province and all that is below it on a day, by code.

        Raises:
            TinhError: there is no such root on that day, or a unit hangs from one that is no more.
        """
        valid = {row.code: row for row in self.rows if row.on(day)}
        if root not in valid:
            raise TinhError(
                f"unknown unit code {root!r} on {day}", where="epochs: root", fix="name a province's code"
            )
        inside = {root: True}
        for start in valid:
            path, code = [], start
            while code not in inside:
                path.append(code)
                row = valid[code]
                if not row.parent:
                    inside[code] = False
                elif row.parent not in valid:
                    raise TinhError(
                        f"parent {row.parent!r} of unit {code!r} ({row.name}) does not exist on {day}",
                        where=self.where(row),
                        fix="correct the parent or the dates of either",
                    )
                code = row.parent or code
            for each in path:
                inside[each] = inside[code]
        return tuple(valid[code] for code in sorted(valid) if inside[code])

    def successors(self, code: str, start: date, end: date) -> tuple[str, ...]:
        """Return the codes that stand on `end` for a unit of `start`; start may be the later day: the way back."""
        if end < start:
            return tuple(sorted(c for c in self.codes(end) if code in self._forward(c, end, start)))
        return self._forward(code, start, end)

    def codes(self, day: date) -> set[str]:
        """Return the codes of all units of a day, in whichever province."""
        return {row.code for row in self.rows if row.on(day)}

    def predecessors(self, row: Unit) -> tuple[str, ...]:
        """Return the codes of the rows that a row directly comes from, in whichever province."""
        return tuple(
            sorted(
                {
                    r.code
                    for r in self.rows
                    if r.valid_to == row.valid_from and row.code in (r.successors or ())
                }
            )
        )

    def where(self, row: Unit) -> str:
        """Return file and line of a row."""
        return self._where.get(id(row), f"unit {row.code}")

    @cached_property
    def _changes(self) -> dict[str, list[Unit]]:
        return {
            code: sorted((r for r in rows if r.valid_to), key=lambda r: r.valid_to or date.max)
            for code, rows in self._by_code.items()
        }

    def _forward(self, code: str, start: date, end: date) -> tuple[str, ...]:
        found: set[str] = set()
        todo = [(code, start)]
        while todo:
            current, day = todo.pop()
            ended = next(
                (r for r in self._changes.get(current, ()) if r.on(day) and r.valid_to and r.valid_to <= end),
                None,
            )
            if ended is None:
                found.add(current)
            else:
                todo += [(each, ended.valid_to or end) for each in ended.successors or ()]
        return tuple(sorted(found))

    def _check_codes(self) -> None:
        for code, rows in self._by_code.items():
            ordered = sorted(rows, key=lambda r: r.valid_from or date.min)
            for first, second in pairwise(ordered):
                if first.valid_to is None or (second.valid_from or date.min) < first.valid_to:
                    raise TinhError(
                        f"unit code {code!r} is given twice for the same time: {first.name} and {second.name}",
                        where=f"{self.where(second)} (first: {self.where(first)})",
                        fix="correct the code, or end one row before the other begins",
                    )

    def _check_parents(self) -> None:
        for row in self.rows:
            if (row.level is Level.PROVINCE) != (row.parent == ""):
                raise TinhError(
                    f"unit {row.code!r} ({row.name}): parent {row.parent!r} does not fit level {row.level}",
                    where=self.where(row),
                    fix="a province has no parent, everything else has one",
                )
            if row.parent and row.parent not in self._by_code:
                raise TinhError(
                    f"unknown unit code {row.parent!r} as parent of {row.code!r} ({row.name})",
                    where=self.where(row),
                    fix="name the code of a unit in the file",
                )
        edges = {code: {r.parent for r in rows if r.parent} for code, rows in self._by_code.items()}
        done: set[str] = set()
        for start in sorted(edges):
            self._no_cycle(start, edges, done)

    def _no_cycle(self, start: str, edges: dict[str, set[str]], done: set[str]) -> None:
        path: list[str] = []
        todo = [(start, False)]
        while todo:
            code, leaving = todo.pop()
            if leaving:
                path.pop()
                done.add(code)
            elif code in path:
                cycle = [*path[path.index(code) :], code]
                raise TinhError(
                    f"parents go in a circle: {' -> '.join(cycle)}",
                    where=self.where(self._by_code[code][0]),
                    fix="give one of them a parent outside the circle",
                )
            elif code not in done:
                path.append(code)
                todo.append((code, True))
                todo += [(parent, False) for parent in sorted(edges[code])]

    def _check_successors(self) -> None:
        for row in self.rows:
            for code in row.successors or ():
                if not any(r.on(row.valid_to or date.max) for r in self._by_code.get(code, ())):
                    raise TinhError(
                        f"unit {row.code!r} ({row.name}) merges into {code!r}, which does not exist on {row.valid_to}",
                        where=f"{self.where(row)}: successors",
                        fix="name a unit that is valid from that day on, or add its row",
                    )


def read_units(file: Path) -> tuple[list[Unit], dict[int, str]]:
    """Read rows from CSV; `successors` is blank-separated, `-` means abolished, lines with `#` are comments.

    Raises:
        TinhError: missing file, wrong columns or a malformed row; line, column and value are named.
    """
    try:
        lines = file.read_text("utf-8").splitlines()
    except FileNotFoundError:
        raise TinhError(f"no such file: {file.name}", where=str(file), fix="check the name") from None
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line and not line.startswith("#")]
    table = csv.reader(line for _, line in numbered)
    header = next(table, [])
    if header != list(Unit.model_fields):
        raise TinhError(
            f"columns are {','.join(header)!r}", where=f"{file}:1", fix=f"write {','.join(Unit.model_fields)}"
        )
    rows, where = [], {}
    for (number, _), cells in zip(numbered[1:], table, strict=True):
        at = f"{file}:{number}"
        if len(cells) != len(header):
            raise TinhError(
                f"{len(cells)} cells for {len(header)} columns", where=at, fix="quote names that hold a comma"
            )
        data: dict[str, object] = {name: cell for name, cell in zip(header, cells, strict=True) if cell}
        if ended := data.get("successors"):
            data["successors"] = () if ended == "-" else tuple(str(ended).split())
        try:
            row = Unit.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            column = ".".join(map(str, first["loc"])) or "row"
            raise TinhError(
                f"{column}: {first['msg']} (value {data.get(column, cells)!r})",
                where=at,
                fix="correct the row",
            ) from None
        rows.append(row)
        where[id(row)] = at
    return rows, where
