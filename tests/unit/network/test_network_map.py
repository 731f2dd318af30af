"""The map as text: golden for the lab, and what holds for every province."""

import json
import re
from collections import Counter
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.address.plan import compile_plan
from infra.errors import TinhError
from infra.model.network import Network
from infra.network.state import Seen, read_states
from infra.network.topology import Topology
from infra.render.map import render_page, render_svg
from infra.render.map_layout import Layout, capacity
from tests.unit.address.address_cases import TITLE, province, raw_network, unit
from tests.unit.network.conftest import fabric

GOLDEN = Path(__file__).parent / "golden" / "map"
SVG = "{http://www.w3.org/2000/svg}"


def parts(svg: str, kind: str) -> list[ElementTree.Element]:
    """Return the elements of a class."""
    return [e for e in ElementTree.fromstring(svg).iter() if kind in (e.get("class") or "").split()]


def tip(element: ElementTree.Element) -> str:
    return element.findtext(f"{SVG}title") or ""


def test_the_lab_is_as_its_golden_file_says(routers, golden_text):
    golden_text(GOLDEN / "lab.html", render_page(routers.topology))


def test_a_map_with_states_is_as_its_golden_file_says(routers, golden_text):
    seen = {
        "core-dc-1": Seen.model_validate("up"),
        "c-99801": Seen.model_validate({"state": "down", "text": "không thấy từ 08:12 <&>"}),
        "c-99802": Seen.model_validate("unknown"),
    }
    svg = render_svg(routers.topology, seen)
    golden_text(GOLDEN / "lab-states.svg", svg)
    states = {e.get("data-router"): e.get("class") for e in parts(svg, "router")}
    assert states["core-dc-1"] == "router up"
    assert states["c-99803"] == "router declared"
    (down,) = parts(svg, "down")[1:]  # the first is in the legend
    assert "không thấy từ 08:12 <&>" in tip(down) and "Xã Đông (99801)" in tip(down)


def test_without_states_everything_is_declared_and_the_legend_says_so(routers):
    svg = render_svg(routers.topology)
    assert {e.get("class") for e in parts(svg, "router")} == {"router declared"}
    assert "trạng thái: đã khai báo, chưa có trạng thái" in svg
    assert "hoạt động" not in svg


@pytest.mark.parametrize(
    "site,epoch", [("lab", "2023"), ("lab", "2025"), ("quang-binh", "2023"), ("quang-binh", "2025")]
)
def test_everything_is_on_the_map(state, site, epoch):
    top = fabric(site, epoch).topology
    svg = render_svg(top)
    assert Counter(e.get("data-router") for e in parts(svg, "router")) == Counter(top.names.values())
    links = [e for e in parts(svg, "link") if e.get("data-ends")]
    names = top.names
    assert Counter(e.get("data-ends") for e in links) == Counter(
        f"{names[x.upper]} {names[x.lower]}" for x in top.links
    )
    tree = ElementTree.fromstring(svg)
    texts = Counter(e.text for e in tree.iter(f"{SVG}text"))
    for each in top.province.units:
        assert texts[each.name] >= sum(u.name == each.name for u in top.province.units), each
    zones = top.network.zoning.zones
    assert all(texts[title.vi] for title in zones.values())
    assert len(parts(svg, "own")) - 1 == len({"party", "citizens", "video"})  # one is in the legend
    for segment in top.segments:
        assert all(texts[text] == 1 for text in segment.prefix.pair())


def test_a_page_needs_nothing_from_outside(routers):
    html = render_page(routers.topology)
    assert html.startswith('<!doctype html>\n<html lang="vi">')
    names = {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }  # of name spaces; nothing is loaded
    assert set(re.findall(r"\w+://[^\s\"'<]+", html)) == names
    assert not re.search(r"@import|url\(|\bsrc=|fetch\(|XMLHttpRequest", html)
    assert re.findall(r"href=\"(.*?)\"", html) == ["data:,"]


def test_names_are_texts_and_nothing_else(routers):
    units = [
        each.model_copy(update={"name": f'</text><script>"{each.code}"&\x00'})
        for each in routers.plan.province.units
    ]
    plan = compile_plan(province(units, routers.network))
    svg = render_svg(Topology(plan))
    assert f"{SVG}script" not in {e.tag for e in ElementTree.fromstring(svg).iter()}


@pytest.mark.parametrize(
    "text,what",
    [
        ("{", "not JSON"),
        ("[]", "valid dictionary"),
        (
            '{"c-99801": "broken"}',
            "routers.c-99801.state: Input should be 'up', 'down' or 'unknown' (value 'broken')",
        ),
        ('{"c-99801": {"text": "x"}}', "routers.c-99801.state: Field required"),
        ('{"c-99801": {"state": "up", "since": 1}}', "routers.c-99801.since"),
        ('{"c-99801": 1}', "routers.c-99801"),
        ('{"c-00000": "up"}', "unknown router 'c-00000'"),
    ],
)
def test_a_wrong_file_of_states_is_refused_with_file_and_value(tmp_path, text, what):
    file = tmp_path / "state.json"
    file.write_text(text)
    with pytest.raises(TinhError) as error:
        read_states(file, {"c-99801"})
    assert what in error.value.what
    assert str(file) in error.value.where and error.value.fix


def test_states_are_words_or_objects(tmp_path):
    file = tmp_path / "state.json"
    file.write_text(json.dumps({"a": "up", "b": {"state": "down", "text": "x"}}))
    assert {name: (s.state, s.text) for name, s in read_states(file, {"a", "b"}).items()} == {
        "a": ("up", ""),
        "b": ("down", "x"),
    }


def test_capacities_are_written_as_one_reads_them():
    assert [capacity(n) for n in (50, 1000, 2500, 10000)] == ["50 Mb/s", "1 Gb/s", "2,5 Gb/s", "10 Gb/s"]


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


@st.composite
def topologies(draw):
    """Return a province of any shape: levels, planes, routers of a unit, names."""
    planes, pair = draw(st.integers(1, 4)), draw(st.integers(1, 2))
    levels = dict.fromkeys(("province", "district", "commune", "site"), 1)
    raw = raw_network("10.2.0.0/15")
    raw["purposes"] = {
        "office": raw["purposes"]["office"],
        "servers": {"title": TITLE, "domain": "state", "zone": "dmz", "vlan": 200, "hosts": {"site": 13}},
        **{f"lo-{n}": {"title": TITLE, "kind": "loopback", "domain": "transport", "hosts": levels} for n in range(4)},
        **{f"link-{n}": {"title": TITLE, "kind": "link", "domain": "transport", "vlan": 3000 + n, "plane": n,
                         "hosts": dict.fromkeys(levels, 2)} for n in range(1, planes + 1)},
        "peer": {"title": TITLE, "kind": "link", "domain": "transport", "vlan": 3009,
                 "hosts": dict.fromkeys(levels, 2)},
    }  # fmt: skip
    role = {"lan": 8, "wan": 4, "source": "test"}
    raw |= {
        "roles": dict.fromkeys(("core", "tslcd_gateway", "district", "commune_1", "commune_2"), role),
        "routers": [
            {"level": "site", "role": "core", "count": 2},
            {"level": "province", "role": "tslcd_gateway", "count": planes},
            {"level": "district", "role": "district"},
            {"level": "commune", "role": f"commune_{pair}", "count": pair},
        ],
        "circuits": [
            {
                "level": level,
                "link": f"link-{n}",
                "capacity_mbps": draw(st.sampled_from([2, 50, 1000, 100000])),
            }
            for level in ("site", "district", "commune")
            for n in range(1, planes + 1)
        ],
    }
    units = [unit("01", "province", parent="", name=draw(NAMES)), unit("dc", "site", name=draw(NAMES))]
    for d in range(draw(st.integers(0, 4))):
        units.append(unit(f"1{d:02}", "district", name=draw(NAMES)))
        units += [
            unit(f"1{d:02}{c:02}", parent=f"1{d:02}", name=draw(NAMES))
            for c in range(draw(st.integers(0, 9)))
        ]
    units += [unit(f"9{c:04}", name=draw(NAMES)) for c in range(draw(st.integers(0, 9)))]
    units += [unit(f"so-{a}", "agency", name=draw(NAMES)) for a in range(draw(st.integers(0, 5)))]
    return Topology(compile_plan(province(units, Network.model_validate(raw))))


@settings(max_examples=40)
@given(topologies())
def test_nothing_overlaps_and_nothing_is_outside(top):
    place = Layout(top, 80, ["a", "b" * 50])
    boxes = [card.box for card in place.cards] + [band.box for band in place.bands]
    boxes += [zone.box for zone in place.zones] + [place.centre.box]
    assert all(b.x >= 0 and b.y >= 80 and b.right <= place.width and b.bottom <= place.height for b in boxes)
    cells = [[cell.box for cell in card.cells] for card in place.cards]
    for group in (boxes, *cells):
        for a, b in combinations(group, 2):
            assert a.right <= b.x or b.right <= a.x or a.bottom <= b.y or b.bottom <= a.y, (a, b)
    for card in place.cards:
        for box in (cell.box for cell in card.cells):
            assert card.box.x <= box.x and box.right <= card.box.right and box.bottom <= card.box.bottom
    assert set(place.spots) == {router.name for router in top.routers}
    assert Counter(u.unit.code for c in place.cards for u in c.cells) + Counter(["dc"]) == Counter(
        list(top.province.by_code)
    )


@settings(max_examples=40)
@given(topologies())
def test_lines_go_from_router_to_router_and_only_straight(top):
    place = Layout(top, 80, [])
    bands = {band.spot.router.name: band.box for band in place.bands}
    assert [wire.link for wire in place.wires] == list(top.links)
    for wire in place.wires:
        for point, name in zip((wire.points[0], wire.points[-1]), _ends(wire, place), strict=True):
            spot = place.spots[name]
            if wire.plane and name in bands:
                box = bands[name]
                assert box.x <= point[0] <= box.right and box.y <= point[1] <= box.bottom
            else:
                assert abs(point[0] - spot.x) <= spot.half and abs(point[1] - spot.y) <= spot.half
        assert all(a[0] == b[0] or a[1] == b[1] for a, b in zip(wire.points, wire.points[1:], strict=False))
        assert all(0 <= x <= place.width and 0 <= y <= place.height for x, y in wire.points)


def _ends(wire, place):
    """Return the names of the routers at a line's first and last point."""
    ends = (wire.link.upper, wire.link.lower)
    first = place.spots[wire.link.lower]
    return ends[::-1] if abs(wire.points[0][0] - first.x) <= first.half and abs(
        wire.points[0][1] - first.y) <= first.half else ends  # fmt: skip


@settings(max_examples=20)
@given(topologies())
def test_every_map_is_well_formed(top):
    svg = render_svg(top)
    assert len(parts(svg, "router")) == len(top.routers)
