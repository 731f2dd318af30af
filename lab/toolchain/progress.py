"""Shows what is building, done and cached, and the time left: a live table, or lines without a terminal."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

#: States in which a job is not under way.
_IDLE = ("waits", "done", "cached", "failed")
_STYLE = {"done": "green", "cached": "green", "failed": "red", "building": "cyan", "downloading": "cyan"}


@dataclass
class Row:
    """One tool of this run."""

    name: str
    version: str
    expected: float
    state: str = "waits"
    since: float = 0.0
    took: float = 0.0


def time_left(rows: list[Row], now: float, begun: float) -> float:
    """Estimate the seconds until all rows are done.

    The expected times are of builds that had the machine for themselves, so their sum is the time of the
    whole run; what finished so far corrects it (another machine, warm caches).

    Args:
        rows: all tools of the run.
        now: clock in seconds.
        begun: when the run began.
    """
    worked = rest = 0.0
    for row in rows:
        if row.state in ("done", "failed"):
            worked += row.expected
        elif row.state == "waits":
            rest += row.expected
        elif row.state != "cached":
            # A job that takes longer than expected has an unknown rest; a tenth keeps the
            # estimate above zero.
            part = min(now - row.since, 0.9 * row.expected)
            worked += part
            rest += row.expected - part
    prior = 120.0
    return rest * (now - begun + prior) / (worked + prior)


class Board:
    """The state of all tools of a run; its methods may be called from any thread.

    Args:
        rows: name -> (version, expected seconds).
        enabled: print at all.
        console: where to.
    """

    def __init__(
        self, rows: Mapping[str, tuple[str, float]], *, enabled: bool, console: Console | None = None
    ) -> None:
        from rich.console import Console

        self.rows = {name: Row(name, version, expected) for name, (version, expected) in rows.items()}
        self.console = console or Console(file=sys.stderr)
        self.enabled = enabled and bool(rows)
        self.begun = time.monotonic()
        self._guard = threading.Lock()
        self._live: Live | None = None

    @contextmanager
    def showing(self) -> Generator[None]:
        """Show the table for as long as the block runs."""
        if not (self.enabled and self.console.is_terminal):
            yield
            return
        from rich.live import Live

        with Live(console=self.console, get_renderable=self._table, refresh_per_second=4) as self._live:
            yield

    def state(self, name: str, state: str) -> None:
        """Set a tool's state."""
        with self._guard:
            row, now = self.rows[name], time.monotonic()
            if row.state in _IDLE or state in ("building", "downloading"):
                row.since = now
            row.state = state
            row.took = now - row.since
            if state == "failed" and row.since == 0:
                row.took = 0.0
            line = self._line(row)
        if self.enabled and self._live is None:
            self.console.print(line, highlight=False, soft_wrap=True)

    def _line(self, row: Row) -> str:
        head = f"{row.name} {row.version}: {row.state}"
        if row.state in ("done", "failed"):
            return f"{head} after {duration(row.took)} ({self._summary()})"
        return (
            f"{head} (expected {duration(row.expected)})"
            if row.state in ("building", "downloading")
            else head
        )

    def _summary(self) -> str:
        rows = list(self.rows.values())
        ready = sum(row.state in ("done", "cached") for row in rows)
        left = time_left(rows, time.monotonic(), self.begun)
        return f"{ready} of {len(rows)}" + (f", about {duration(left)} left" if left >= 1 else "")

    def _table(self) -> Table:
        from rich.table import Table

        with self._guard:
            now = time.monotonic()
            table = Table(
                box=None, title=f"toolchain: {self._summary()}", title_justify="left", pad_edge=False
            )
            for title in ("tool", "version", "state", "time", "expected"):
                table.add_column(title, justify="right" if title in ("time", "expected") else "left")
            # The table must fit the screen: what runs and failed first, then what waits, then what is ready.
            order = {"failed": 0, "waits": 2, "done": 3, "cached": 4}
            rows = sorted(self.rows.values(), key=lambda row: order.get(row.state, 1))
            room = max(5, self.console.height - 4)
            for row in rows[:room]:
                spent = row.took if row.state in _IDLE else now - row.since
                table.add_row(
                    row.name,
                    row.version,
                    f"[{_STYLE.get(row.state, 'dim')}]{row.state}[/]",
                    duration(spent) if spent else "",
                    duration(row.expected),
                )
            if len(rows) > room:
                table.add_row(f"and {len(rows) - room} more")
            return table


def duration(seconds: float) -> str:
    """Return a time for people: `42 s`, `3 min 05 s`."""
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02d} s"
