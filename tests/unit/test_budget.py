"""The time for all tests."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.budget import VARIABLE, in_turn, too_long

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("minutes", "until", "fits"), [(5, None, True), (5, "400", True), (5, "399", False), (1, "50", False)]
)
def test_a_long_test_runs_only_where_it_ends_in_time(minutes: float, until: str | None, fits: bool) -> None:
    why = too_long(minutes, now=100, until=until)
    assert (not why) is fits
    if why:
        assert "5 min" in why or "0 min are left" in why


def test_every_module_begins_on_one_of_the_days() -> None:
    days = [in_turn("abc", day) for day in range(6)]
    assert days[:3] == [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"]] == days[3:]
    assert in_turn([], 4) == []


def said_of(folder: Path, until: str | None) -> str:
    """Return what pytest says of a folder's tests, which pass, with a time for all of them or without."""
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    words = [
        sys.executable,
        "-m",
        "pytest",
        "-vv",
        "-p",
        "tests.budget",
        "--rootdir",
        str(folder),
        str(folder),
    ]
    more = {VARIABLE: until} if until else {}
    return subprocess.run(
        words, capture_output=True, text=True, check=True, env=environment | more, cwd=ROOT
    ).stdout


@pytest.mark.parametrize("until", ["0", None])
def test_long_tests_run_last_where_time_is_short_and_are_left_out(tmp_path: Path, until: str | None) -> None:
    for name in ("test_a.py", "test_b.py"):
        tests = "@pytest.mark.long(minutes=1)\ndef test_long(): pass\n\n\ndef test_short(): pass\n"
        (tmp_path / name).write_text(f"import pytest\n\n\n{tests}")
    said = said_of(tmp_path, until)
    ran = [line.split()[0].split("::")[1] for line in said.splitlines() if "::" in line]
    if until:
        assert ran == ["test_short", "test_short", "test_long", "test_long"]
        assert said.count("SKIPPED") == 2
    else:
        assert ran == ["test_long", "test_short"] * 2
        assert "4 passed" in said


def test_a_marked_module_is_decided_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "test_c.py").write_text(
        "import os\nimport pytest\n\npytestmark = pytest.mark.long(minutes=1)\n\n\n"
        f"def test_first(): os.environ['{VARIABLE}'] = '0'\n\n\ndef test_second(): pass\n"
    )
    assert "2 passed" in said_of(tmp_path, "99999999999")
