import csv
import io
import json
import shutil

import pytest
from click.exceptions import FileError
from click.testing import CliRunner

from cli.main import group
from infra import paths
from infra.errors import RefusedError, TinhError


@pytest.fixture
def sites(tmp_path, monkeypatch, state):
    """A copy of the sites: what is written does not get into the repository."""
    shutil.copytree(paths.SITES, tmp_path / "sites")
    monkeypatch.setattr(paths, "SITES", tmp_path / "sites")
    (tmp_path / "sites" / "lab" / "plan.json").unlink(missing_ok=True)
    return tmp_path / "sites"


def _tinh(*arguments):
    return CliRunner().invoke(group, arguments, standalone_mode=False)


def _ok(*arguments):
    result = _tinh(*arguments)
    assert result.exception is None, result.exception
    return result.stdout


def test_plan_as_json_has_the_promised_fields(sites):
    plan = json.loads(_ok("net", "plan", "--epoch", "2023", "--format", "json"))
    first = plan["allocations"][0]
    assert set(first) == {
        "unit", "unit_name", "unit_level", "purpose", "domain", "family", "prefix", "gateway", "vlan",
    }  # fmt: skip
    assert {"name", "domain", "family", "prefix"} == set(plan["pools"][0])
    assert {a["unit_level"] for a in plan["allocations"]} == {
        "province",
        "district",
        "commune",
        "agency",
        "site",
    }
    assert {a["family"] for a in plan["allocations"]} == {"ipv4", "ipv6"}


def test_the_formats_say_the_same(sites):
    plan = json.loads(_ok("net", "plan", "--format", "json"))
    rows = list(csv.DictReader(io.StringIO(_ok("net", "plan", "--format", "csv"))))
    assert rows == [
        {k: "" if v is None else str(v) for k, v in allocation.items()} for allocation in plan["allocations"]
    ]
    table, page = _ok("net", "plan"), _ok("net", "plan", "--format", "html")
    for allocation in plan["allocations"]:
        assert allocation["prefix"] in table
        assert f">{allocation['prefix']}<" in page
    assert page.startswith("<!doctype html>") and "Xã Đông" in page


def test_nothing_is_written_unless_asked_and_then_the_ledger_rules(sites):
    _ok("net", "plan")
    file = sites / "lab" / "plan.json"
    assert not file.exists()
    before = _ok("net", "plan", "--format", "csv", "--write")
    written = file.read_bytes()
    assert _ok("net", "plan", "--format", "csv", "--write") == before
    assert file.read_bytes() == written  # again: nothing changes

    units = sites / "lab" / "units.csv"
    units.write_text(units.read_text("utf-8") + "99800,Xã Mới,commune,Xã,98,,,,invented\n", "utf-8")
    after = _ok("net", "plan", "--format", "csv")
    assert set(before.splitlines()) < set(after.splitlines())

    network = sites / "lab" / "network.yaml"
    network.write_text(
        network.read_text("utf-8").replace("commune: 13, agency: 13}", "commune: 30, agency: 13}")
    )
    result = _tinh("net", "plan", "--write")
    assert isinstance(result.exception, RefusedError)
    assert "unit '99801' (Xã Đông) would be renumbered" in result.exception.what
    assert file.read_bytes() == written


def test_check_proves_every_epoch_and_files(sites, tmp_path):
    out = _ok("net", "check", "--site", "quang-binh")
    assert [line.split(":")[0] for line in out.splitlines()] == [
        f"quang-binh, {y}" for y in (2023, 2024, 2025)
    ]
    assert len(_ok("net", "check", "--epoch", "2024").splitlines()) == 1
    plan = json.loads(_ok("net", "plan", "--format", "json"))
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(plan))
    assert "no overlap" in _ok("net", "check", str(file))
    plan["allocations"][0]["prefix"] = plan["allocations"][2]["prefix"]
    file.write_text(json.dumps(plan))
    result = _tinh("net", "check", str(file))
    assert isinstance(result.exception, TinhError)
    assert "overlaps" in result.exception.what and result.exception.where == str(file)


def test_check_warns_of_rules_that_let_nothing_pass(sites):
    assert _tinh("net", "check").stderr == ""
    file = sites / "lab" / "network.yaml"
    rule = "    - {from: wireless, to: border, service: https, reason: test}\n"
    text = file.read_text("utf-8")
    file.write_text(text.replace("roles: # circular", f"{rule}roles: # circular"), "utf-8")
    result = _tinh("net", "check")
    assert result.exception is None and result.return_value is None
    assert result.stderr.splitlines() == [
        "warning: rule wireless -> border https lets nothing pass: the routing domains 'wifi' and 'datacentre' "
        "exchange nothing; let one of them leak to the other (domains.NAME.leaks), or remove the rule "
        f"({file}: zoning.rules.{text.count('- {from:')})"
    ]
    assert len(result.stdout.splitlines()) == 3


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"allocations": []}', "1"])
def test_check_of_no_plan_is_refused(sites, tmp_path, text):
    file = tmp_path / "x.json"
    file.write_text(text)
    result = _tinh("net", "check", str(file))
    assert isinstance(result.exception, TinhError)
    assert result.exception.where == str(file)


def test_diff_of_epochs_and_files(sites, tmp_path):
    same = _tinh("net", "diff", "2023", "2023")
    assert (same.return_value, same.stdout) == (0, "")
    result = _tinh("net", "diff", "2023", "2024")
    assert result.return_value == 3
    kinds = {line.split()[0] for line in result.stdout.splitlines()}
    assert kinds == {"removed", "changed"}  # one commune went into another, which has a new name
    file = tmp_path / "old.json"
    file.write_text(_ok("net", "plan", "--epoch", "2023", "--format", "json"))
    changes = json.loads(_tinh("net", "diff", "--json", str(file), "2024").stdout)
    assert {c["unit"] for c in changes if c["kind"] == "removed"} == {"99802"}


def test_who(sites):
    plan = json.loads(_ok("net", "plan", "--format", "json"))
    item = next(a for a in plan["allocations"] if a["unit"] == "99801" and a["purpose"] == "wifi")
    assert _ok("net", "who", item["gateway"]) == (
        f"{item['gateway']}: allocated, {item['prefix']}, wifi, 99801, Xã Đông, wifi\n"
    )
    assert json.loads(_ok("net", "who", "--json", item["gateway"]))["unit_name"] == "Xã Đông"
    outside = _tinh("net", "who", "192.0.2.1")
    assert outside.return_value == 2 and "outside" in outside.stdout
    assert isinstance(_tinh("net", "who", "10.0").exception, TinhError)


def test_reorg_prints_and_has_a_way_back(sites):
    text = _ok("reorg", "plan", "--from", "2023", "--to", "2024")
    assert "merged    99802 Xã Tây -> 99803 Xã Tây Nam" in text
    assert "renumbered: no unit that stays" in text
    assert (
        "~ tay-99802.units.lab.tinh.test answers until 2025-12-31 as an alias of tay-nam-99803.units.lab.tinh.test"
        in text
    )
    back = json.loads(_ok("reorg", "plan", "--from", "2024", "--to", "2023", "--json"))
    assert back["units"]["count"] == {"new": 1, "renamed": 1}


def test_the_map_is_printed_or_written(sites, tmp_path):
    page = _ok("net", "map")
    assert page.startswith("<!doctype html>") and "Xã Đông" in page
    file = tmp_path / "map.html"
    assert _ok("net", "map", "--output", str(file)) == ""
    assert file.read_text("utf-8") == page
    drawing = _ok("net", "map", "--format", "svg")
    assert drawing.startswith("<svg ") and drawing.endswith("</svg>\n")
    assert "Huyện Một" not in _ok("net", "map", "--epoch", "2025")  # no districts any more
    assert "Huyện Lệ Thủy" in _ok("net", "map", "--site", "quang-binh", "--epoch", "2023")


def test_the_map_shows_states_and_refuses_what_is_wrong(sites, tmp_path):
    states = tmp_path / "state.json"
    states.write_text('{"d-998": {"state": "down", "text": "mất điện"}}', "utf-8")
    page = _ok("net", "map", "--state", str(states))
    assert 'class="router down"' in page and "mất điện" in page
    file = tmp_path / "map.html"
    states.write_text('{"d-999": "up"}')
    for arguments in (["--state", str(states)], ["--epoch", "1999"]):
        result = _tinh("net", "map", "--output", str(file), *arguments)
        assert isinstance(result.exception, TinhError)
        assert not file.exists()
    assert "unknown epoch '1999'" in result.exception.what
    assert isinstance(_tinh("net", "map", "--output", str(tmp_path / "no" / "x")).exception, FileError)


def test_a_site_without_province_is_refused(sites):
    for arguments in (["net", "check"], ["net", "map"], ["reorg", "plan", "--from", "a", "--to", "b"]):
        result = _tinh(*arguments, "--site", "sim")
        assert isinstance(result.exception, TinhError)
        assert "has no province" in result.exception.what
