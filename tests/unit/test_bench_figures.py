"""The bench's arithmetic: percentiles, rows, goals, and what a writing client has seen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tests.bench.figures import (
    Row,
    at_most,
    number,
    percentile,
    percentile_at_most,
    ratio_at_least,
    spread,
    table,
)
from tests.bench.measure import MeasureError
from tests.bench.writes import Ack, lost, outage, parse


def row(*values, **more):
    return Row(section="s", what="w", unit="s", values=values, **more)


def test_p95_of_five_is_the_worst_and_p50_the_middle():
    assert percentile([3, 1, 2, 5, 4], 95) == 5
    assert percentile([3, 1, 2, 5, 4], 50) == 3
    assert percentile([7], 95) == 7
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 95)


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 100))
def test_a_percentile_was_measured_and_as_many_values_are_not_above_it(values, percent):
    found = percentile(values, percent)
    assert found in values
    assert sum(value <= found for value in values) >= percent / 100 * len(values) - 1e-6


def test_goals_are_met_and_fallen_short_of():
    assert row(1, 2, 30, goal=at_most(2)).met is True
    assert row(1, 2, 30, goal=percentile_at_most(20)).met is False
    assert row(80, instead=(100,), goal=ratio_at_least(0.8)).met is True
    assert row(79, instead=(100,), goal=ratio_at_least(0.8)).met is False
    assert row(79, goal=ratio_at_least(0.8)).met is False, "nothing to compare with"
    assert row(1).met is None


def test_a_rows_data_has_values_ratio_percentile_and_goal():
    data = row(1, 2, 3, instead=(4,), way="plain", percent=95, goal=percentile_at_most(2)).data()
    assert data["median"] == 2
    assert data["p95"] == 3
    assert (data["ratio"], data["way"], data["instead"]) == (0.5, "plain", [4])
    assert (data["goal"], data["met"]) == ("p95 <= 2 s", False)
    assert row(1).data().keys() == {"section", "what", "unit", "values", "median"}


def test_people_read_median_and_spread():
    assert spread([1.234, 12.34, 1234.5]) == "12.3 (1.23-1234)"
    assert spread([2]) == "2.00"
    assert number(99.96) == "100.0"


def test_the_table_says_met_and_falls_short():
    console = Console(width=200)
    with console.capture() as shown:
        console.print(table([row(1, goal=at_most(2)), row(3, goal=at_most(2)), row(3)]))
    text = shown.get()
    assert text.count("met") == 1
    assert text.count("falls short") == 1


def acks(*times):
    return [Ack(number, at) for number, at in enumerate(times, start=1)]


def test_the_outage_is_the_longest_gap_without_the_clients_own_pause():
    assert outage(acks(0.0, 0.05, 4.1, 4.15), 0.05) == pytest.approx(4.0)
    assert outage(acks(0.0, 0.04), 0.05) == 0
    with pytest.raises(MeasureError, match=r"1 row"):
        outage(acks(0.0), 0.05)


def test_rows_that_were_acknowledged_and_are_gone_are_lost_and_others_are_not():
    assert lost([Ack(1, 0.0), Ack(3, 0.1)], [1, 2, 3]) == []
    assert lost([Ack(1, 0.0), Ack(3, 0.1)], [1, 2]) == [3]


def test_the_clients_output_is_read_and_its_failure_named():
    assert parse(["[1, 0.5]", "", "[3, 0.75]"]) == [Ack(1, 0.5), Ack(3, 0.75)]
    with pytest.raises(MeasureError, match="ModuleNotFoundError"):
        parse(["[1, 0.5]", "ModuleNotFoundError: No module named 'psycopg2'"])
