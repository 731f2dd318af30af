"""The generator of units.csv, on data sets of two provinces."""

import io
import json
import zipfile

import pytest

from infra import paths
from infra.errors import IntegrityError, TinhError
from infra.model.base import read_yaml
from infra.model.unit import Register
from stacks.sites import generate_units

OLD = [
    {"code": 1, "name": "Tỉnh A", "districts": [
        {"code": 11, "name": "Huyện Một", "wards": [
            {"code": 101, "name": "Xã Đông"}, {"code": 102, "name": "Xã Tây"}, {"code": 103, "name": "Xã Nam"}]}]},
    {"code": 2, "name": "Tỉnh B", "districts": [
        {"code": 21, "name": "Thành Phố Hai", "wards": [{"code": 201, "name": "Thị trấn NT Bắc"}]}]},
]  # fmt: skip
MIDDLE = json.loads(json.dumps(OLD).replace(json.dumps("Xã Nam"), json.dumps("Xã Tây Nam")))
del MIDDLE[0]["districts"][0]["wards"][1]
NEW = [
    {
        "code": 1,
        "name": "B",
        "wards": [{"code": 101, "name": "Xã Đông"}, {"code": 201, "name": "Phường Bắc Nam"}],
    }
]
MAP = {
    "DICT_PROVINCE": {"tinhb": ["tinha", "tinhb"]},
    "DICT_PROVINCE_WARD_NO_DIVIDED": {"tinhb": {"xadong": ["tinha_huyenmot_xadong"]}},
    "DICT_PROVINCE_WARD_DIVIDED": {"tinhb": {
        "tinha_huyenmot_xataynam": [{"newWardKey": "xadong"}, {"newWardKey": "phuongbacnam"}],
        "tinhb_thanhphohai_thitrannongtruongbac": [{"newWardKey": "phuongbacnam"}]}},
}  # fmt: skip
RECIPE = {
    "data_sets": {name: {"package": name, "version": "1", "sha256": ""} for name in ("old", "middle", "new", "map")},
    "steps": [
        {"data": "old", "provinces": {"01": None}},
        {"data": "middle", "provinces": {"01": "2024-12-01", "02": "2025-01-01"}, "day": "2024-12-01",
         "source": "law", "merges": {"00102": "00103"}, "sources": {"00102": "law derived"}},
        {"data": "new", "provinces": {"01": "2025-07-01"}, "day": "2025-07-01", "source": "map", "mapping": "map"},
    ],
}  # fmt: skip


@pytest.fixture
def wheels(monkeypatch):
    def wheel(package, version, sha256):
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as made:
            if package == "map":
                made.writestr(generate_units.MAPPING, json.dumps(MAP))
            else:
                nested = {"old": OLD, "middle": MIDDLE, "new": NEW}[package]
                made.writestr(generate_units.NESTED, json.dumps(nested))
        return zipfile.ZipFile(data)

    monkeypatch.setattr(generate_units, "wheel", wheel)


def test_rows_begin_end_and_go_into_others(wheels):
    rows = generate_units.generate(RECIPE)
    Register(rows)  # sound
    text = generate_units.text(rows, "units.yaml").splitlines()[2:]
    assert text == [
        "00101,Xã Đông,commune,Xã,011,,2025-07-01,00101,old map",
        "00101,Xã Đông,commune,Xã,01,2025-07-01,,,new",
        "00102,Xã Tây,commune,Xã,011,,2024-12-01,00103,old law derived",
        "00103,Xã Nam,commune,Xã,011,,2024-12-01,00103,old law",
        "00103,Xã Tây Nam,commune,Xã,011,2024-12-01,2025-07-01,00101 00201,middle map",
        "00201,Thị trấn Nông trường Bắc,commune,Thị trấn,021,2025-01-01,2025-07-01,00201,middle map",
        "00201,Phường Bắc Nam,commune,Phường,01,2025-07-01,,,new",
        "01,Tỉnh A,province,Tỉnh,,,2025-07-01,01,old map",
        "01,Tỉnh B,province,Tỉnh,,2025-07-01,,,new",
        "011,Huyện Một,district,Huyện,01,,2025-07-01,-,old map",
        "02,Tỉnh B,province,Tỉnh,,2025-01-01,2025-07-01,01,middle map",
        "021,Thành phố Hai,district,Thành phố,02,2025-01-01,2025-07-01,-,middle map",
    ]


def test_a_unit_that_the_mapping_does_not_know_is_named(wheels, monkeypatch):
    monkeypatch.setitem(MAP, "DICT_PROVINCE_WARD_NO_DIVIDED", {"tinhb": {}})
    with pytest.raises(TinhError, match=r"'00101' \(Xã Đông\) is not in the mapping"):
        generate_units.generate(RECIPE)


def test_a_unit_that_ends_without_a_word_is_named(wheels, monkeypatch):
    monkeypatch.setitem(RECIPE["steps"][1], "merges", {})
    with pytest.raises(TinhError, match=r"'00102' \(Xã Tây\) is not in middle any more"):
        generate_units.generate(RECIPE)


def test_another_file_than_the_pinned_one_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("TINH_CACHE", str(tmp_path))
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "a_b-1-py3-none-any.whl").write_bytes(b"x")
    with pytest.raises(IntegrityError, match="has SHA-256"):
        generate_units.wheel("a-b", "1", "0" * 64)


@pytest.mark.parametrize("file", list(paths.SITES.glob("*/units.yaml")), ids=lambda file: file.parent.name)
def test_the_committed_units_are_what_the_recipe_gives(file):
    """Only where the data sets have been fetched: tests need no package index."""
    recipe = read_yaml(file)
    for data in recipe["data_sets"].values():
        name = f"{data['package'].replace('-', '_')}-{data['version']}-py3-none-any.whl"
        if not (paths.cache() / "datasets" / name).exists():
            pytest.skip(f"{name} is not in the cache")
    made = generate_units.text(generate_units.generate(recipe), file.name)
    assert made == file.with_suffix(".csv").read_text("utf-8")
