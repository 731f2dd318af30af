"""The map of a province's network, for people: an SVG drawing, and an HTML page around it that moves and zooms it.

Nothing is loaded from anywhere. What a colour says, a shape, a mark or a pattern of dashes says as well. Texts come
from the data, in Vietnamese. Where things are is `infra.render.map_layout`'s; how they look is in `map.css`.

drawsvg escapes texts and no attributes: only names of routers, words of this module and numbers go into the latter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from html import escape
from math import log10
from pathlib import Path

import drawsvg as draw

from infra.model.network import RouterRole
from infra.model.unit import Unit
from infra.model.zone import Zone
from infra.network.state import Condition, Seen
from infra.network.topology import Link, Topology
from infra.render.map_layout import (
    INDENT,
    LANE,
    LARGE,
    LINE,
    MARGIN,
    NORMAL,
    PAD,
    SMALL,
    Box,
    Card,
    Cell,
    Layout,
    Point,
    Spot,
    Wire,
    ZoneBox,
    capacity,
)

TITLE = 22  # font size
PATTERNS = 4  # of planes, in map.css
DECLARED = "declared"  # nothing was asked
ROLES = {
    RouterRole.CORE: "bộ định tuyến lõi",
    RouterRole.TSLCD_GATEWAY: "bộ định tuyến của nhà mạng",
    RouterRole.DISTRICT: "bộ định tuyến cấp huyện",
    RouterRole.COMMUNE_1: "thiết bị đầu cuối cấp xã, mức I",
    RouterRole.COMMUNE_2: "thiết bị đầu cuối cấp xã, mức II",
}
STATES = {
    DECLARED: "đã khai báo, chưa có trạng thái",
    Condition.UP: "hoạt động",
    Condition.DOWN: "ngừng",
    Condition.UNKNOWN: "không rõ",
}
NONE = "chưa có thiết bị đầu cuối"
GLYPHS = {  # in a symbol that reaches 6 from its middle
    Condition.UP: "M-3,0.3 L-0.8,2.6 L3,-2.2",
    Condition.DOWN: "M-2.6,-2.6 L2.6,2.6 M2.6,-2.6 L-2.6,2.6",
    Condition.UNKNOWN: "M-1.9,-1.9 a1.9,1.9 0 1 1 2.9,1.6 q-1,0.6 -1,1.6 M0,3.3 v0.1",
}
PAGE = """<!doctype html>
<html lang="vi"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; \
script-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,"><title>{title}</title>
<style>
html,body{{margin:0;height:100%;overflow:hidden;background:#fff}}
svg{{display:block;width:100%;height:100%;cursor:grab;touch-action:none;user-select:none}}
nav{{position:fixed;right:12px;top:12px;display:flex;gap:4px}}
button{{font:16px/1 system-ui,sans-serif;min-width:36px;height:36px;color:#1a1a1a;background:#fff;\
border:1px solid #59636e;border-radius:4px}}
@media print{{nav{{display:none}}}}
</style></head><body>
<nav aria-label="Phóng to, thu nhỏ"><button data-key="+" title="Phóng to (+)">+</button>\
<button data-key="-" title="Thu nhỏ (-)">−</button><button data-key="0" title="Xem toàn bộ (0)">Toàn bộ</button></nav>
{svg}
<script>
{script}</script></body></html>
"""


def render_svg(topology: Topology, states: Mapping[str, Seen] | None = None) -> str:
    """Return the map as an SVG drawing that needs nothing else.

    Args:
        topology: routers, links, zones.
        states: what was seen of routers, by their short names; None: nobody looked.
    """
    drawing = _Map(topology, states)
    return drawing.svg(named=True)


def render_page(topology: Topology, states: Mapping[str, Seen] | None = None) -> str:
    """Return the map as an HTML page that needs nothing else; see `render_svg`."""
    drawing = _Map(topology, states)
    script = Path(__file__).with_name("map.js").read_text("utf-8")
    return PAGE.format(title=escape(drawing.title), svg=drawing.svg(named=False), script=script)


class _Map:
    """The drawing: boxes below, then lines, then routers and texts."""

    def __init__(self, topology: Topology, states: Mapping[str, Seen] | None) -> None:
        self.topology, self.province, self.states = topology, topology.province, states
        self.network = self.province.network
        self.counts = Counter(self._state(name) for name in topology.names.values())
        self.legend = list(self._legend())
        heading = MARGIN + TITLE + 2 * LINE + PAD + (LINE + 4 if states is not None else 0)
        self.layout = Layout(topology, heading, [text for _, text in self.legend])

    @cached_property
    def title(self) -> str:
        """Title of the map."""
        roots = [unit.name for unit in self.province.units if unit.parent not in self.province.by_code]
        return _clean(f"Bản đồ mạng: {', '.join(roots)}").replace("\n", " ")

    def svg(self, *, named: bool) -> str:
        """Return the drawing.

        Args:
            named: with a title of its own, as a document by itself needs one.
        """
        place = self.layout
        out = draw.Drawing(
            place.width, place.height, lang="vi", role="graphics-document", aria_labelledby="title"
        )
        out.append_css(Path(__file__).with_name("map.css").read_text("utf-8"))
        if named:
            out.append_title(self.title)
        out.append(draw.Rectangle(0, 0, place.width, place.height, class_="paper"))
        for part in (self._heading, self._boxes, self._links, self._centre, self._bands, self._cards):
            out.append(draw.Group(list(part()), class_=part.__name__.strip("_")))
        return out.as_svg(header="") + "\n"

    # Heading and legend

    def _heading(self) -> Iterator[draw.DrawingElement]:
        province, links = self.province, self.topology.links
        yield _text(self.title, MARGIN, MARGIN + TITLE, TITLE, "bold", id="title")
        facts = (
            f"{province.site}, {province.epoch}",
            f"hiệu lực {province.day.isoformat()}",
            f"{len(province.units)} đơn vị",
            f"{len(self.topology.routers)} bộ định tuyến",
            f"{len(links)} kênh",
        )
        y = MARGIN + TITLE + LINE + 4
        yield _text(" · ".join(facts), MARGIN, y, NORMAL, "soft")
        if self.states is not None:
            seen = ", ".join(
                f"{self.counts[state]} {text}" for state, text in STATES.items() if self.counts[state]
            )
            yield _text(f"Trạng thái: {seen}", MARGIN, y + LINE + 2, NORMAL, "bold")
        for (sample, text), (x, y) in zip(self.legend, self.layout.legend, strict=True):
            yield from _sample(sample, x, y)
            yield _text(text, x + INDENT + LANE, y + 4, SMALL)

    def _legend(self) -> Iterator[tuple[str, str]]:
        """Yield what is explained: the kind of the sample and the text."""
        used = {router.role for router in self.topology.routers}
        yield from ((role.value, text) for role, text in ROLES.items() if role in used)
        if self.topology.unserved:
            yield "none", NONE
        for state in STATES if self.states is not None else (DECLARED,):
            yield str(state), f"trạng thái: {STATES[state]}"
        for name in dict.fromkeys(link.purpose for link in self.topology.links):
            purpose = self.network.purposes[name]
            yield f"p{_pattern(purpose.plane or 0)}", purpose.title.vi
        if any(link.capacity_mbps for link in self.topology.links):
            yield "width", "nét dày hơn: dung lượng lớn hơn"
        yield "zone", "vùng theo Thông tư 12/2022"
        if set(self.network.zoning.zones) - set(Zone):
            yield "own", "vùng riêng của tỉnh"
        yield "lan", "mạng LAN"

    # What lies below

    def _boxes(self) -> Iterator[draw.DrawingElement]:
        place = self.layout
        if place.centre:
            yield _box(place.centre.box, "box", 8)
        for card in place.cards:
            yield _box(card.box, "box", 6)

    def _links(self) -> Iterator[draw.DrawingElement]:
        for wire in self.layout.wires:
            yield self._link(wire)

    def _link(self, wire: Wire) -> draw.DrawingElement:
        names = [self.topology.names[name] for name in (wire.link.upper, wire.link.lower)]
        mbps = wire.link.capacity_mbps
        line = draw.Lines(
            *(number for point in wire.points for number in point),
            class_=f"link p{_pattern(wire.plane)}",
            stroke_width=_thickness(mbps),
            data_ends=" ".join(names),
        )
        found = _told(self._about(wire.link), line)
        if wire.label:
            text, (x, y) = wire.label
            found.append(_text(text, x, y, SMALL, text_anchor="middle"))
        return found

    def _about(self, link: Link) -> str:
        names = (self.topology.names[link.upper], self.topology.names[link.lower])
        rate = f", {capacity(link.capacity_mbps)}" if link.capacity_mbps else ""
        return f"{self.network.purposes[link.purpose].title.vi}: {' - '.join(names)}{rate}"

    # The site, the carrier, the units

    def _centre(self) -> Iterator[draw.DrawingElement]:
        place = self.layout
        if place.centre:
            box = place.centre.box
            yield self._unit(place.centre.unit, box.x + PAD, box.y + LINE + 6, LARGE, "bold")
            for line in place.centre.lines:
                yield draw.Lines(*(number for point in line for number in point), class_="rail")
            for zone in place.centre.zones:
                yield self._zone(zone)
            for number, spot in enumerate(place.centre.spots):
                left = number < len(place.centre.spots) / 2
                x = spot.x - spot.half - LANE if left else spot.x + spot.half + LANE
                yield self._router(spot, (x, spot.y + 4), "end" if left else "start")
        if place.zones:
            yield _text("Vùng mạng ở các đơn vị", *place.zones_title, LARGE, "bold")
        for zone in place.zones:
            yield self._zone(zone)

    def _zone(self, zone: ZoneBox) -> draw.DrawingElement:
        box, own = zone.box, zone.zone not in set(Zone)
        found = draw.Group([_box(box, "zone own" if own else "zone", 3)])
        found.append(
            _text(self.network.zoning.zones[zone.zone].vi, box.x + PAD, box.y + LINE + 2, NORMAL, "bold")
        )
        found.append(_text(zone.zone, box.x + PAD, box.y + 2 * LINE, SMALL, "soft code"))
        y = box.y + 2 * LINE + PAD // 2
        for lan in zone.lans:
            height = LINE * (1 + len(lan.prefixes))
            part = _told(lan.tip, draw.Line(box.x + PAD, y + 4, box.x + PAD, y + height - 3, class_="lan"))
            part.append(_text(lan.name, box.x + INDENT, y + PAD, SMALL))
            for number, prefix in enumerate(lan.prefixes, 1):
                part.append(_text(prefix, box.x + INDENT, y + PAD + number * LINE, SMALL, "code"))
            found.append(part)
            y += height + 4
        return found

    def _bands(self) -> Iterator[draw.DrawingElement]:
        for band in self.layout.bands:
            spot = band.spot
            name = spot.x, spot.y + spot.half + LINE
            router = self._router(spot, name, "middle", below=band.box, even=band.number % 2 == 0)
            for number, text in enumerate(band.lines, 1):
                router.append(_text(text, name[0], name[1] + number * LINE, SMALL, text_anchor="middle"))
            yield router

    def _cards(self) -> Iterator[draw.DrawingElement]:
        for card in self.layout.cards:
            yield draw.Group(list(self._card(card)))

    def _card(self, card: Card) -> Iterator[draw.DrawingElement]:
        box, y = card.box, card.box.y + PAD + LINE - 4
        if card.title:
            yield _text(card.title, box.x + PAD, y, LARGE, "bold")
        if card.count:
            yield _text(card.count, box.right - PAD, y, SMALL, "soft", text_anchor="end")
        for cell in card.cells:
            yield from self._cell(cell)

    def _cell(self, cell: Cell) -> Iterator[draw.DrawingElement]:
        x, y = cell.box.x, cell.box.y + LINE - 4
        if not cell.spots:
            yield _told(NONE, draw.Circle(x + INDENT // 2 - 2, y - 4, 6, class_="none"))
        yield self._unit(
            cell.unit, x + INDENT, y, LARGE if cell.head else NORMAL, "bold" if cell.head else ""
        )
        for spot in cell.spots:
            yield self._router(spot, (x + INDENT, spot.y + 4), "start")

    def _unit(self, unit: Unit, x: int, y: int, size: int, kind: str) -> draw.DrawingElement:
        purposes = self.network.purposes
        lans = ", ".join(purposes[name].title.vi for name in self.topology.lans(unit.code))
        tip = f"{unit.name} ({unit.code})\nmạng LAN: {lans or 'không có'}"
        return _told(tip, _text(unit.name, x, y, size, f"unit {kind}".strip()))

    def _router(
        self, spot: Spot, at: Point, anchor: str, below: Box | None = None, *, even: bool = False
    ) -> draw.Group:
        name = self.topology.names[spot.router.name]
        state = self._state(name)
        tip = "\n".join(self._facts(spot, name, state))
        found = _told(tip, class_=f"router {state}", role="graphics-symbol", data_router=name)
        if below:
            found.append(_box(below, "band even" if even else "band", 6))
        found.extend(_symbol(spot.router.role, state, spot.x, spot.y, spot.half))
        found.append(_text(spot.label, *at, SMALL, "name", text_anchor=anchor))
        return found

    def _facts(self, spot: Spot, name: str, state: str) -> Iterator[str]:
        """Yield what is known about a router: it is shown when the pointer is on it."""
        top, router = self.topology, spot.router
        unit = self.province.by_code[router.unit]
        yield f"{name}: {ROLES[router.role]}"
        yield f"{unit.name} ({unit.code})"
        yield f"trạng thái: {STATES[state]}"
        if self.states is not None and name in self.states and self.states[name].text:
            yield self.states[name].text
        yield f"AS {top.asns[router.name]}, {' và '.join(top.loopback(router).pair())}"
        links = top.links_of[router.name]
        if router.role is RouterRole.TSLCD_GATEWAY:  # it has hundreds
            yield f"{len(links)} kênh"
        else:
            yield from (self._about(link) for link in links)

    def _state(self, name: str) -> str:
        found = (self.states or {}).get(name)
        return found.state if found else DECLARED


def _thickness(mbps: int | None) -> float:
    """Return a line's thickness: 1 for 10 Mb/s, and one more for ten times as much; links within a unit: 3."""
    return 3 if mbps is None else round(max(1.0, 0.3 + 0.8 * log10(mbps)), 1)


def _pattern(plane: int) -> int:
    return (plane - 1) % PATTERNS + 1 if plane else 0


def _clean(text: str) -> str:
    """Return a text without what XML does not allow; line breaks stay."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)


def _text(text: str, x: int, y: int, size: int, kind: str = "", **more: str) -> draw.Text:
    """Return one line of text."""
    return draw.Text(_clean(text).replace("\n", " "), size, x, y, class_=kind or None, **more)


def _told(tip: str, *parts: draw.DrawingElement, **more: str) -> draw.Group:
    """Return a group that shows a text when the pointer is on it."""
    found = draw.Group(**more)
    found.append_title(_clean(tip))
    found.extend(parts)
    return found


def _box(box: Box, kind: str, round_: int) -> draw.Rectangle:
    return draw.Rectangle(box.x, box.y, box.width, box.height, rx=round_, class_=kind)


def _symbol(role: RouterRole, state: str, x: int, y: int, half: int) -> Iterator[draw.DrawingElement]:
    """Yield a router's symbol: its shape says what it is, the mark in it how it is."""
    if role is RouterRole.CORE:
        yield draw.Rectangle(x - half, y - half, 2 * half, 2 * half, class_="shape")
        yield draw.Rectangle(x - half + 3, y - half + 3, 2 * half - 6, 2 * half - 6, class_="shape")
    elif role is RouterRole.TSLCD_GATEWAY:
        corners = ((1, 0), (0.5, 0.87), (-0.5, 0.87), (-1, 0), (-0.5, -0.87), (0.5, -0.87))
        points = [
            round(at + half * by, 1) for corner in corners for at, by in zip((x, y), corner, strict=True)
        ]
        yield draw.Lines(*points, close=True, class_="shape")
    elif role is RouterRole.DISTRICT:
        yield draw.Rectangle(x - half, y - half, 2 * half, 2 * half, class_="shape")
    elif role is RouterRole.COMMUNE_1:
        yield draw.Lines(x, y - half, x + half, y, x, y + half, x - half, y, close=True, class_="shape")
    else:
        yield draw.Circle(x, y, half, class_="shape")
    if glyph := GLYPHS.get(state):
        yield draw.Path(glyph, class_="glyph", transform=f"translate({x},{y}) scale({round(half / 6, 2)})")


def _sample(kind: str, x: int, y: int) -> Iterator[draw.DrawingElement]:
    """Yield what the legend explains, `INDENT` wide, around a height."""
    middle = x + INDENT // 2
    if kind in set(RouterRole):
        yield from _symbol(
            RouterRole(kind), DECLARED, middle, y, 8 if kind in (RouterRole.CORE, "tslcd_gateway") else 6
        )
    elif kind in STATES:
        yield draw.Group(list(_symbol(RouterRole.COMMUNE_2, kind, middle, y, 7)), class_=kind)
    elif kind == "none":
        yield draw.Circle(middle, y, 6, class_="none")
    elif kind in ("zone", "own"):
        yield _box(Box(x + 2, y - 6, INDENT - 4, 12), "zone own" if kind == "own" else "zone", 2)
    elif kind == "lan":
        yield draw.Line(middle, y - 6, middle, y + 6, class_="lan")
    elif kind == "width":
        yield draw.Lines(x, y + 2, x + INDENT, y - 4, x + INDENT, y + 4, close=True, fill="#333")
    else:
        thick = 3 if kind == "p0" else 2
        yield draw.Line(x, y, x + INDENT, y, class_=f"link {kind}", stroke_width=thick, data_ends="")
