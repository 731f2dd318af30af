"""The bench as a whole: what fails does not keep the rest from being measured, and is said."""

import json

import pytest
from click.testing import CliRunner

from tests.bench import __main__ as bench
from tests.bench.__main__ import Section, measure_all
from tests.bench.figures import Row, at_most
from tests.bench.measure import MeasureError


def good():
    return {"a": 1}, [Row(section="s", what="w", unit="s", values=(1.0,), goal=at_most(2))]


def failing(error):
    def measure():
        raise error

    return measure


SECTIONS = [
    Section("first", good),
    Section("bad", failing(MeasureError("why it failed"))),
    Section("broken", failing(KeyError("a defect"))),
    Section("needs", good, lab=True),
    Section("last", good),
]


def test_a_section_that_fails_does_not_stop_the_next_ones():
    said = []
    found = measure_all(SECTIONS, False, said.append)
    assert list(found.data) == ["first", "last"]
    assert len(found.rows) == 2
    assert found.skipped == {"needs": "the lab is not up"}
    assert found.failed["bad"] == "why it failed"
    assert "a defect" in found.failed["broken"]
    assert any("why it failed" in line for line in said)


def test_ctrl_c_keeps_what_was_measured():
    sections = [Section("first", good), Section("long", failing(KeyboardInterrupt())), Section("last", good)]
    found = measure_all(sections, True, lambda line: None)
    assert list(found.data) == ["first"]
    assert list(found.failed) == ["long"]


@pytest.mark.parametrize(("sections", "code"), [(SECTIONS, 1), ([SECTIONS[0], SECTIONS[3]], 0)])
def test_the_exit_code_and_the_report_say_what_failed_and_what_was_left_out(
    monkeypatch, tmp_path, sections, code
):
    monkeypatch.setattr(bench, "sections", lambda *_: sections)
    monkeypatch.setattr(bench, "lab_runs", lambda: False)
    file = tmp_path / "report.json"
    result = CliRunner().invoke(bench.main, ["--json", str(file)])
    assert result.exit_code == code, result.output
    assert "not measured: needs: the lab is not up" in result.output
    report = json.loads(file.read_text())
    assert report["skipped"] == {"needs": "the lab is not up"}
    assert bool(report["failed"]) == bool(code)
    assert report["rows"][0]["met"] is True


def test_an_unknown_section_is_named_with_those_that_there_are():
    result = CliRunner().invoke(bench.main, ["--only", "nonsense"])
    assert result.exit_code == 2
    assert "nonsense" in result.output
    assert "failover" in result.output
