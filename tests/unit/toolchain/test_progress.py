"""Progress: what it says without a terminal, and how it estimates."""

import io

import pytest
from rich.console import Console

from lab.toolchain.progress import Board, Row, duration, time_left


def board(*, terminal: bool = False, **rows: float) -> tuple[Board, io.StringIO]:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=100, height=12)
    return Board(
        {name: ("1.0", seconds) for name, seconds in rows.items()}, enabled=True, console=console
    ), stream


def test_lines_without_a_terminal():
    found, stream = board(a=60, b=90)
    with found.showing():
        found.state("a", "building")
        found.state("a", "done")
        found.state("b", "built by another process")
        found.state("b", "cached")
    lines = stream.getvalue().splitlines()
    assert lines[0] == "a 1.0: building (expected 1 min 00 s)"
    assert lines[1].startswith("a 1.0: done after 0 s (1 of 2, about ")
    assert lines[2:] == ["b 1.0: built by another process", "b 1.0: cached"]


def test_table_on_a_terminal_fits_and_shows_what_runs_first():
    found, stream = board(terminal=True, **{f"t{number:02}": 60.0 for number in range(30)})
    with found.showing():
        found.state("t29", "building")
        found.state("t00", "done")
    text = stream.getvalue()
    assert "toolchain: 1 of 30" in text
    last = text[text.rindex("toolchain:") :]
    assert "t29" in last
    assert "and 22 more" in last


def test_quiet_says_nothing():
    stream = io.StringIO()
    found = Board({"a": ("1", 1.0)}, enabled=False, console=Console(file=stream))
    with found.showing():
        found.state("a", "failed")
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("rows", "now", "expected"),
    [
        # Nothing known yet: the sum of what is expected.
        ([Row("a", "1", 300), Row("b", "1", 300)], 0, 600),
        # As fast as expected: the rest.
        ([Row("a", "1", 300, "done"), Row("b", "1", 300)], 300, 300),
        # Twice as slow: more than the rest; the prior of two minutes dampens it.
        ([Row("a", "1", 300, "done"), Row("b", "1", 300)], 600, 300 * 720 / 420),
        # Two thirds of a running job are done.
        ([Row("a", "1", 300, "building", since=0)], 200, 100),
        # A running job that takes too long still has a rest.
        ([Row("a", "1", 100, "building", since=0)], 1000, 10 * 1120 / 210),
        # What another process made costs nothing.
        ([Row("a", "1", 300, "cached")], 10, 0),
    ],
)
def test_time_left(rows, now, expected):
    assert time_left(rows, now, 0) == pytest.approx(expected)


def test_duration():
    assert [duration(seconds) for seconds in (0.4, 59, 60, 185)] == [
        "0 s",
        "59 s",
        "1 min 00 s",
        "3 min 05 s",
    ]
