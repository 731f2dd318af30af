"""The map in a real browser: what is drawn is there to be seen, and nothing is asked of the network."""

import pytest

from infra.network.state import Seen
from infra.render.map import render_page
from tests import browser
from tests.unit.network.conftest import fabric

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(browser.browser() is None, reason=browser.MISSING),
]

SITES = {"lab": "2023", "quang-binh": "2023"}
WINDOW = (1600, 1000)
#: Boxes in the drawing's own units, whatever the window.
MEASURE = """(() => {
  const svg = document.querySelector("svg"), back = svg.getScreenCTM().inverse();
  const box = (e) => {
    const r = e.getBoundingClientRect();
    const a = new DOMPoint(r.left, r.top).matrixTransform(back);
    const b = new DOMPoint(r.right, r.bottom).matrixTransform(back);
    return [a.x, a.y, b.x, b.y];
  };
  const of = (css, name) => [...document.querySelectorAll(css)].map((e) => [name(e), ...box(e)]);
  const text = (e) => e.childNodes[0].data;
  const ends = (e) => [e.getPointAtLength(0), e.getPointAtLength(e.getTotalLength())].map((p) => [p.x, p.y]);
  return {
    view: svg.getAttribute("viewBox").split(" ").map(Number),
    routers: of(".router", (e) => e.dataset.router),
    labels: of(".router .name", text),
    texts: of("svg text", text),
    shapes: of("svg text, svg rect, svg path, svg line, svg circle", (e) => e.outerHTML),
    links: [...document.querySelectorAll(".link")].filter((e) => e.dataset.ends).map((e) => [e.dataset.ends, ends(e)]),
    colours: [...new Set([...document.querySelectorAll("svg text")].map((e) => getComputedStyle(e).fill))],
    papers: [...new Set([...document.querySelectorAll(".paper, .box, .zone, .band")]
      .map((e) => getComputedStyle(e).fill))],
    lang: document.documentElement.lang,
  };
})()"""


@pytest.fixture(scope="module")
def chromium():
    with browser.page() as page:
        yield page


@pytest.fixture(params=SITES)
def seen(request, state, tmp_path, chromium):
    """A site's map in the browser: topology, page, measurements."""
    top = fabric(request.param, SITES[request.param]).topology
    names = sorted(top.names.values())
    states = {
        name: Seen.model_validate(("up", "down", "unknown")[n % 3]) for n, name in enumerate(names[:-2])
    }
    file = tmp_path / "map.html"
    file.write_text(render_page(top, states), "utf-8")
    chromium.complaints.clear()
    chromium.requests.clear()
    chromium.open(file.as_uri(), *WINDOW)
    return top, chromium, chromium.run(MEASURE), file


def overlap(a, b, slack=0.5):
    return min(a[3], b[3]) - max(a[1], b[1]) > slack and min(a[4], b[4]) - max(a[2], b[2]) > slack


def test_every_router_is_to_be_seen(seen):
    top, _, found, _ = seen
    assert sorted(name for name, *_ in found["routers"]) == sorted(top.names.values())
    assert all(
        right - left > 10 and bottom - upper > 10 for _, left, upper, right, bottom in found["routers"]
    )


def test_nothing_lies_outside(seen):
    _, _, found, _ = seen
    x, y, width, height = found["view"]
    for name, left, upper, right, bottom in found["shapes"]:
        assert left >= x - 1 and upper >= y - 1, name
        assert right <= x + width + 1 and bottom <= y + height + 1, name


def test_no_text_lies_on_another(seen):
    _, _, found, _ = seen
    assert len(found["labels"]) == len(found["routers"])
    rows = sorted(found["texts"], key=lambda each: each[2])
    for number, one in enumerate(rows):
        for other in rows[number + 1 :]:
            if other[2] > one[4]:
                break
            assert not overlap(one, other), (one, other)


def test_links_join_their_routers(seen):
    _, _, found, _ = seen
    boxes = {name: box for name, *box in found["routers"]}
    for ends, points in found["links"]:
        for name in ends.split():
            left, upper, right, bottom = boxes[name]
            assert any(left - 2 <= x <= right + 2 and upper - 2 <= y <= bottom + 2 for x, y in points), ends


def test_nothing_is_complained_about_and_nothing_is_loaded(seen):
    _, page, found, file = seen
    assert found["lang"] == "vi"
    assert page.complaints == []
    assert [url for url in page.requests if not url.startswith("data:")] == [file.as_uri()]


def test_texts_are_dark_on_light(seen):
    """WCAG 2.2, 1.4.3: a contrast of 4.5 at least."""
    _, _, found, _ = seen

    def light(colour):
        parts = [int(n) / 255 for n in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    for text in found["colours"]:
        for paper in found["papers"]:
            assert (light(paper) + 0.05) / (light(text) + 0.05) >= 4.5, (text, paper)


def test_the_map_zooms_moves_and_comes_back(seen):
    _, page, found, _ = seen
    view = "document.querySelector('svg').getAttribute('viewBox').split(' ').map(Number)"
    middle = {"x": WINDOW[0] // 2, "y": WINDOW[1] // 2}
    page.call("Input.dispatchMouseEvent", type="mouseWheel", deltaX=0, deltaY=-120, **middle)
    near = page.run(view)
    assert near[2] < found["view"][2]
    page.call("Input.dispatchMouseEvent", type="mousePressed", button="left", **middle)
    page.call(
        "Input.dispatchMouseEvent", type="mouseMoved", button="left", x=middle["x"] - 100, y=middle["y"]
    )
    page.call(
        "Input.dispatchMouseEvent", type="mouseReleased", button="left", x=middle["x"] - 100, y=middle["y"]
    )
    moved = page.run(view)
    assert moved[0] > near[0] and moved[2:] == near[2:]
    page.call("Input.dispatchKeyEvent", type="keyDown", key="0")
    assert page.run(view) == found["view"]
    page.run("document.querySelector('button').click()")
    assert page.run(view)[2] < found["view"][2]


def test_a_routers_links_stand_out_under_the_pointer(seen):
    top, page, _, _ = seen
    name = next(top.names[x.lower] for x in top.links if top.by_name[x.lower].role == "district")
    x, y = page.run(
        f"(() => {{ const r = document.querySelector('[data-router=\"{name}\"] .shape').getBoundingClientRect();"
        " return [r.x + r.width / 2, r.y + r.height / 2]; })()"
    )
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    lit = page.run("[...document.querySelectorAll('.lit')].map((e) => e.dataset.ends)")
    assert len(lit) == 2 and all(name in ends.split() for ends in lit)
