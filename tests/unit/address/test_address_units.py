"""Units over time: what is refused, and the real data of the sites."""

from datetime import date
from itertools import pairwise

import pytest
from address_cases import unit

from infra import paths
from infra.errors import TinhError
from infra.model.province import load_record, provinces
from infra.model.unit import Level, Register, plain, read_units

HEAD = "code,name,level,type,parent,valid_from,valid_to,successors,source\n"
PROVINCE = "44,Tỉnh A,province,Tỉnh,,,,,s\n"


def _register(tmp_path, text):
    file = tmp_path / "units.csv"
    file.write_text(HEAD + PROVINCE + text, "utf-8")
    return Register(*read_units(file))


BAD = [
    ("45001,Xã B,commune,Xã,44,,,,s\n45001,Xã C,commune,Xã,44,,,,s\n", "'45001' is given twice", 4),
    (
        "45001,Xã B,commune,Xã,44,,2024-12-01,45001,s\n45001,Xã C,commune,Xã,44,2024-11-30,,,s\n",
        "'45001' is given twice",
        4,
    ),
    ("45001,Xã B,commune,Xã,450,,,,s\n", "unknown unit code '450' as parent of '45001'", 3),
    ("450,Huyện B,district,Huyện,451,,,,s\n451,Huyện C,district,Huyện,450,,,,s\n", "450 -> 451 -> 450", 3),
    ("450,Huyện B,district,Huyện,450,,,,s\n", "parents go in a circle: 450 -> 450", 3),
    (
        "45001,Xã B,commune,Xã,44,,2024-12-01,45002,s\n",
        "merges into '45002', which does not exist on 2024-12-01",
        3,
    ),
    (
        "45001,Xã B,commune,Xã,44,,2024-12-01,45002,s\n45002,Xã C,commune,Xã,44,2025-01-01,,,s\n",
        "merges into '45002', which does not exist on 2024-12-01",
        3,
    ),
    ("45001,Xã B,commune,Xã,,,,,s\n", "parent '' does not fit level commune", 3),
    ("4-5,Xã B,commune,Xã,44,,,,s\n", "code: String should match pattern", 3),
    ("45001,Xã B,hamlet,Xã,44,,,,s\n", "level: Input should be 'province'", 3),
    ("45001,Xã B,commune,Xã,44,yesterday,,,s\n", "valid_from", 3),
    ("45001,Xã B,commune,Xã,44,,2024-12-01,,s\n", "valid_to and successors belong together", 3),
    ("45001,Xã B,commune,Xã,44,2024-12-01,2024-12-01,-,s\n", "is not before", 3),
    ("45001,Xã B,commune,Xã,44,,,\n", "8 cells for 9 columns", 3),
    ("45001,Xã B,commune,Xã,44,,,,\n", "source", 3),
]


@pytest.mark.parametrize(("text", "named", "line"), BAD, ids=[named for _, named, _ in BAD])
def test_bad_units_are_refused_with_file_line_and_value(tmp_path, text, named, line):
    with pytest.raises(TinhError) as error:
        _register(tmp_path, text)
    assert named in error.value.what
    assert f"units.csv:{line}" in error.value.where
    assert error.value.fix


def test_wrong_columns_and_a_missing_file_are_refused(tmp_path):
    (tmp_path / "units.csv").write_text("code,name\n")
    with pytest.raises(TinhError, match="columns are 'code,name'"):
        read_units(tmp_path / "units.csv")
    with pytest.raises(TinhError, match="no such file"):
        read_units(tmp_path / "none.csv")


def test_a_unit_below_a_parent_that_has_ended_is_refused(tmp_path):
    register = _register(
        tmp_path, "450,Huyện B,district,Huyện,44,,2025-07-01,-,s\n45001,Xã C,commune,Xã,450,,,,s\n"
    )
    assert len(register.at(date(2025, 6, 30), "44")) == 3
    with pytest.raises(TinhError, match="parent '450' of unit '45001'") as error:
        register.at(date(2025, 7, 1), "44")
    assert error.value.where.endswith("units.csv:4")


def test_a_unit_has_one_state_a_day_and_successors_over_several_changes(tmp_path):
    register = _register(
        tmp_path,
        "45001,Xã A,commune,Xã,44,,2024-12-01,45002,s\n"
        "45002,Xã B,commune,Xã,44,,2025-07-01,45002 45003,s\n"
        "45002,Xã B mới,commune,Xã,44,2025-07-01,,,s\n"
        "45003,Xã C,commune,Xã,44,2025-07-01,,,s\n",
    )
    early, late = date(2023, 1, 1), date(2025, 7, 1)
    assert [u.name for u in register.at(date(2025, 6, 30), "44")] == ["Tỉnh A", "Xã B"]
    assert register.successors("45001", early, date(2024, 11, 30)) == ("45001",)
    assert register.successors("45001", early, date(2024, 12, 1)) == ("45002",)
    assert register.successors("45001", early, late) == ("45002", "45003")
    assert register.successors("45003", late, early) == ("45001", "45002")


@pytest.mark.parametrize(
    ("name", "kind", "label"),
    [
        ("Phường Bắc Lý", "Phường", "bac-ly-45001"),
        ("Thị trấn Nông trường Việt Trung", "Thị trấn", "nong-truong-viet-trung-45001"),
        ("Đặc khu Cồn Cỏ", "Đặc khu", "con-co-45001"),
        ("Phường 1", "Phường", "1-45001"),
        ("X" * 80, "Xã", "x" * 57 + "-45001"),
    ],
)
def test_labels_are_plain_and_short(name, kind, label):
    assert unit("45001", name=name, type=kind).label == label
    assert len(label) <= 63


def test_plain_text():
    assert plain("  Sở Lao động - Thương binh và Xã hội ") == "so-lao-dong-thuong-binh-va-xa-hoi"


#: What the published lists say; the only place where the reference province's numbers are written down.
REAL = {"2023": (8, 151), "2024": (8, 145), "2025": (0, 78)}


@pytest.mark.parametrize("epoch", REAL)
def test_the_reference_province_has_its_real_units(epoch):
    province = load_record("quang-binh").at(epoch)
    assert (len(province.at_level(Level.DISTRICT)), len(province.at_level(Level.COMMUNE))) == REAL[epoch]


def test_every_unit_of_the_reference_province_is_followed_to_one_successor():
    record = load_record("quang-binh")
    first, last = record.at("2023"), record.at("2025")
    reached = set()
    for commune in first.at_level(Level.COMMUNE):
        into = record.register.successors(commune.code, first.day, last.day)
        assert len(into) == 1, commune
        reached.update(into)
    came = {c.code for c in last.at_level(Level.COMMUNE)} - reached
    for code in came:  # from the other province
        old = record.register.predecessors(last.by_code[code])
        assert old and not set(old) & set(first.by_code)
    assert last.by_code["44"].name == "Tỉnh Quảng Trị"


def test_a_code_that_goes_on_is_its_own_successor():
    """Otherwise a unit that takes over the code of another would inherit its addresses."""
    record = load_record("quang-binh")
    days = [record.at(epoch).day for epoch in record.epochs]
    for first, second in pairwise(days):
        for code in record.register.codes(first) & record.register.codes(second):
            assert code in record.register.successors(code, first, second)


@pytest.mark.parametrize("site", provinces())
def test_every_site_with_a_province_is_a_site_and_all_its_epochs_are_sound(site, state):
    assert (paths.SITES / site / "site.yaml").exists()
    record = load_record(site)
    for epoch in record.epochs:
        assert record.at(epoch).units
