"""A time for all tests: those marked `long` run last, and what does not fit is left out, and said.

Their modules take turns, a different one begins every day: so all of them run in the course of days, even on a machine
that has to build everything first. `.ci/run` sets `TINH_TEST_UNTIL`; without it everything runs, in the usual order.
"""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Sequence

import pytest

#: Seconds since the epoch at which all tests have to be over.
VARIABLE = "TINH_TEST_UNTIL"


def too_long(minutes: float, now: float, until: str | None) -> str:
    """Return why a test is left out; empty: it fits.

    Args:
        minutes: that it takes.
        now: seconds since the epoch.
        until: content of the variable.
    """
    if not until:
        return ""
    left = (float(until) - now) / 60
    if minutes <= left:
        return ""
    return (
        f"takes {minutes:g} min, of the time for all tests {max(left, 0):.0f} min are left (unset {VARIABLE})"
    )


def in_turn(modules: Sequence[str], day: int) -> list[str]:
    """Return modules, begun at the next one every day.

    Args:
        modules: names.
        day: number of the day.
    """
    first = day % len(modules) if modules else 0
    return [*modules[first:], *modules[:first]]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long tests last, modules in turn, where there is not time for all."""
    if VARIABLE not in os.environ:
        return
    long = {item: item.path.name for item in items if item.get_closest_marker("long")}
    modules = in_turn(list(dict.fromkeys(long.values())), datetime.datetime.now(datetime.UTC).toordinal())
    items.sort(key=lambda item: modules.index(long[item]) if item in long else -1)


#: What was decided: a marked test or module -> why it is left out.
_DECIDED = pytest.StashKey[dict[pytest.Item | pytest.Collector, str]]()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out what is marked `long` and would end too late: a marked module as a whole, or not at all."""
    marked = next(item.iter_markers_with_node("long"), None)
    if not marked:
        return
    node, mark = marked
    decided = item.session.stash.setdefault(_DECIDED, {})
    if node not in decided:
        decided[node] = too_long(mark.kwargs["minutes"], time.time(), os.environ.get(VARIABLE))
    if decided[node]:
        pytest.skip(decided[node])
