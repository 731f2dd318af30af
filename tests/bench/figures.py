"""What the bench reports: rows of one table, and the arithmetic behind them. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rich.table import Table


def percentile(values: Sequence[float], percent: float) -> float:
    """Return a percentile by nearest rank: a value that was measured; of five, p95 is the worst.

    Raises:
        ValueError: there is no value.
    """
    if not values:
        raise ValueError("a percentile of nothing")
    rank = math.ceil(percent / 100 * len(values))
    return sorted(values)[max(rank, 1) - 1]


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What a row is held against.

    Args:
        words: as people read it.
        met: tells it from the row.
    """

    words: str
    met: Callable[[Row], bool]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table.

    Args:
        section: of the bench.
        what: was measured.
        unit: of the values.
        values: one of each round.
        instead: the same of what one would use instead; empty: there is nothing to compare with.
        way: what that is.
        percent: also shown is this percentile; 0: none.
        goal: None: there is none.
    """

    section: str
    what: str
    unit: str
    values: tuple[float, ...]
    instead: tuple[float, ...] = ()
    way: str = ""
    percent: int = 0
    goal: Goal | None = field(default=None, compare=False)

    @property
    def median(self) -> float:
        """Return the median."""
        return statistics.median(self.values)

    @property
    def ratio(self) -> float | None:
        """Return ours divided by what one would use instead; None: nothing to compare with."""
        other = statistics.median(self.instead) if self.instead else 0
        return self.median / other if other else None

    @property
    def met(self) -> bool | None:
        """Return whether the goal is met; None: there is none."""
        return self.goal.met(self) if self.goal else None

    def data(self) -> dict[str, object]:
        """Return what goes into the report."""
        found: dict[str, object] = {
            "section": self.section,
            "what": self.what,
            "unit": self.unit,
            "values": [round(value, 3) for value in self.values],
            "median": round(self.median, 3),
        }
        if self.percent:
            found[f"p{self.percent}"] = round(percentile(self.values, self.percent), 3)
        if self.ratio is not None:
            found |= {"way": self.way, "instead": [round(value, 3) for value in self.instead]}
            found["ratio"] = round(self.ratio, 3)
        if self.goal:
            found |= {"goal": self.goal.words, "met": self.met}
        return found

    def cells(self) -> tuple[str, ...]:
        """Return it for people."""
        beside = f"{spread(self.instead)} {self.way}" if self.instead else ""
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        high = f"{number(percentile(self.values, self.percent))}" if self.percent else ""
        goal, word = ("", "") if not self.goal else (self.goal.words, verdict(bool(self.met)))
        return (self.section, self.what, self.unit, spread(self.values), high, beside, ratio, goal, word)


def verdict(met: bool) -> str:
    """Return the words for a goal."""
    return "[green]met[/]" if met else "[red]falls short[/]"


def number(value: float) -> str:
    """Return a number with three digits that count."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def spread(values: Sequence[float]) -> str:
    """Return median and spread."""
    middle = number(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({number(min(values))}-{number(max(values))})"


def at_most(limit: float, unit: str = "s") -> Goal:
    """Return the goal that the median stays within a limit."""
    return Goal(words=f"<= {limit:g} {unit}", met=lambda row: row.median <= limit)


def percentile_at_most(limit: float) -> Goal:
    """Return the goal that a row's percentile stays within a limit in seconds."""
    return Goal(words=f"p95 <= {limit:g} s", met=lambda row: percentile(row.values, 95) <= limit)


def ratio_at_least(share: float) -> Goal:
    """Return the goal that we reach a share of what one would use instead."""
    return Goal(words=f">= {share:.0%}", met=lambda row: (row.ratio or 0) >= share)


def table(rows: Sequence[Row]) -> Table:
    """Return all rows as one table."""
    columns = ("section", "what", "unit", "median (min-max)", "p95", "instead", "ratio", "goal", "")
    made = Table(*columns, title="median (min-max) of the rounds; ratio: ours to what one would use instead")
    before = ""
    for row in rows:
        if before and row.section != before:
            made.add_section()
        section, *cells = row.cells()
        made.add_row("" if section == before else section, *cells)
        before = row.section
    return made
