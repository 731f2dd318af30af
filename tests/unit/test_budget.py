"""The time for all tests."""

import pytest

from tests.budget import too_long


@pytest.mark.parametrize(
    ("minutes", "until", "fits"), [(5, None, True), (5, "400", True), (5, "399", False), (1, "50", False)]
)
def test_a_long_test_runs_only_where_it_ends_in_time(minutes: float, until: str | None, fits: bool) -> None:
    why = too_long(minutes, now=100, until=until)
    assert (not why) is fits
    if why:
        assert "5 min" in why or "0 min are left" in why
