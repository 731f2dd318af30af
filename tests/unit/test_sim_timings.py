"""Recorded durations."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from infra import timings


@pytest.fixture(autouse=True)
def _state(tmp_path, monkeypatch):
    monkeypatch.setenv("TINH_STATE", str(tmp_path))


def test_nothing_recorded():
    assert timings.read("demo") == []


def test_records_keep_order_and_sites_apart():
    timings.record("demo", "one", 1.23456, cold=True)
    timings.record("demo", "two", 2, cold=False)
    timings.record("other", "three", 3, cold=False)
    rows = timings.read("demo")
    assert [(row.phase, row.seconds, row.cold) for row in rows] == [("one", 1.235, True), ("two", 2, False)]
    assert rows[0].at <= rows[1].at


def test_parallel_records_are_all_kept(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: timings.record("demo", str(n), n, cold=False), range(40)))
    assert sorted(int(row.phase) for row in timings.read("demo")) == list(range(40))
    assert not list(tmp_path.rglob(".timings-*"))


def test_old_records_are_dropped(monkeypatch):
    monkeypatch.setattr(timings, "KEEP", 2)
    for number in range(3):
        timings.record("demo", str(number), 0, cold=False)
    assert [row.phase for row in timings.read("demo")] == ["1", "2"]
