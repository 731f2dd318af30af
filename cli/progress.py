"""Shows a run as it goes, on standard error: live on a terminal, one line per step elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from cli.pulumi_events import UNCHANGED, Event, Failed, Finished, Message, Started, Tally

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from cli.runner import Outcome

#: Operation -> sign, as in Pulumi's own output.
SIGNS = {
    "create": "+",
    "update": "~",
    "delete": "-",
    "replace": "+-",
    "create-replacement": "++",
    "delete-replaced": "--",
}
#: Running operations shown at once.
SHOWN = 8


def sign(op: str) -> str:
    """Return the sign of an operation, or its name when it has none."""
    return SIGNS.get(op, op)


class Plain:
    """One line per step that changes something, and per warning or error.

    Args:
        title: what is being done with the stack, for example `up`.
    """

    def __init__(self, title: str) -> None:
        self.title, self.stack = title, ""
        self._begun: dict[str, float] = {}
        self._warned: set[str] = set()

    @contextmanager
    def showing(self, stack: str) -> Generator[None, None, None]:
        """Show the run on one stack."""
        self.stack = stack
        self._begun.clear()
        self.note(f"{self.title} {stack}")
        yield

    def done(self, outcome: Outcome) -> None:
        """Show how the run on a stack ended."""
        self.note(f"{self.stack}: {outcome.tally.text()} ({outcome.seconds:.1f} s)")

    def note(self, text: str) -> None:
        """Show a sentence."""
        click.echo(text, err=True)

    def tick(self) -> None:
        """Nothing moves in plain output."""

    def event(self, event: Event, tally: Tally) -> None:
        """Show an event."""
        del tally
        match event:
            case Started(resource=resource):
                self._begun[resource.urn] = time.monotonic()
            case Finished(op, resource) if op not in UNCHANGED and not resource.is_stack:
                self.note(f"{self.stack}  {sign(op)} {resource}{self._seconds(resource.urn)}")
            case Failed(op, resource):
                self.note(f"{self.stack}  failed: {op} {resource}{self._seconds(resource.urn)}")
            case Message("warning", text, resource) if text not in self._warned:
                self._warned.add(text)
                self.note(f"{self.stack}  warning: {f'{resource}: ' if resource else ''}{text}")

    def _seconds(self, urn: str) -> str:
        begun = self._begun.pop(urn, None)
        return f" ({time.monotonic() - begun:.1f} s)" if begun else ""


class Live(Plain):
    """A table that moves: what is being done now, for how long, and what it waits for.

    Args:
        title: what is being done with the stack, for example `up`.
        console: the terminal.
    """

    def __init__(self, title: str, console: Console) -> None:
        super().__init__(title)
        self.console = console
        self._status: dict[str, str] = {}
        self._tally = Tally()
        self._start = 0.0

    @contextmanager
    def showing(self, stack: str) -> Generator[None, None, None]:
        """Show the run on one stack."""
        from rich.live import Live as Display

        self.stack, self._tally, self._start = stack, Tally(), time.monotonic()
        self._begun.clear()
        self._status.clear()
        # Redrawn on demand: rich calls `_table` at its own pace, and once more on exit.
        with Display(get_renderable=self._table, console=self.console, transient=True, refresh_per_second=8):
            yield

    def note(self, text: str) -> None:
        """Show a sentence above the table."""
        self.console.print(text, highlight=False, markup=False)

    def event(self, event: Event, tally: Tally) -> None:
        """Take note of an event; finished steps vanish, warnings and failures stay."""
        self._tally = tally
        match event:
            case Started(resource=resource):
                self._begun[resource.urn] = time.monotonic()
            case Message("status", text, resource) if resource:
                self._status[resource.urn] = text.splitlines()[-1]
            case Failed() | Message("warning"):
                super().event(event, tally)

    def _table(self) -> RenderableType:
        from rich.spinner import Spinner
        from rich.table import Table

        now = time.monotonic()
        grid = Table.grid(padding=(0, 1))
        grid.add_row(
            Spinner("dots"), f"{self.title} {self.stack}", f"{now - self._start:.0f} s", self._tally.text()
        )
        running = sorted(
            self._tally.running.values(), key=lambda item: self._begun.get(item.resource.urn, now)
        )
        for item in running[:SHOWN]:
            urn = item.resource.urn
            elapsed = f"{now - self._begun.get(urn, now):.0f} s"
            grid.add_row("", f"  {sign(item.op)} {item.resource}", elapsed, self._status.get(urn, ""))
        if len(running) > SHOWN:
            grid.add_row("", f"  and {len(running) - SHOWN} more", "", "")
        return grid


def watcher(title: str) -> Plain:
    """Return what fits standard error: live on a terminal, plain lines elsewhere."""
    if not sys.stderr.isatty():
        return Plain(title)
    from rich.console import Console

    return Live(title, Console(stderr=True))
