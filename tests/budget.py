"""A time for all tests: on a machine that has to build everything first, the longest ones are left out, and said.

`.ci/run` sets `TINH_TEST_UNTIL`; without it everything runs.
"""

from __future__ import annotations

import os
import time

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


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out a test marked `long` that would end too late."""
    mark = item.get_closest_marker("long")
    if mark and (why := too_long(mark.kwargs["minutes"], time.time(), os.environ.get(VARIABLE))):
        pytest.skip(why)
