"""Where everything on the map of the network is. Numbers only, in pixels at scale 1; `infra.render.map` draws them.

From top to bottom: heading and legend; the site with its zones, LANs and core routers; between the carrier's planes,
which stand left and right, the units on cards, one card for each parent; the zones that the units' LANs are in.

A circuit leaves its plane above the card's row, goes down the left edge of the card and then beside its unit's column.
The circuits of a plane share a lane there, and lanes of different planes lie side by side: lines cross at right angles.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, sqrt

from infra.model.network import RouterRole
from infra.model.province import Router
from infra.model.unit import Level, Unit
from infra.network.mapping import LENGTH
from infra.network.topology import Link, Topology

EM = 0.62  # mean width of a letter in font sizes, for DejaVu Sans, the widest font that the map asks for
SMALL, NORMAL, LARGE = 11, 12, 14  # font sizes
LINE = 16  # height of a line of text
LANE = 6  # between lines that run side by side
PAD, GAP, MARGIN = 12, 28, 24
RATIO = 3.2  # width of the units' cards to their height: with what is above and below, about that of a screen
HALF = {RouterRole.CORE: 13, RouterRole.TSLCD_GATEWAY: 11, RouterRole.DISTRICT: 8}  # half a symbol; others: 6
INDENT = 24  # from the middle of a symbol's column to its text, and before it
COUNTED = {
    Level.PROVINCE: "đơn vị cấp tỉnh",
    Level.DISTRICT: "đơn vị cấp huyện",
    Level.COMMUNE: "đơn vị cấp xã",
    Level.AGENCY: "cơ quan",
    Level.SITE: "nơi đặt máy",
}

Point = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle."""

    x: int
    y: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """Its right edge."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """Its lower edge."""
        return self.y + self.height

    @property
    def middle(self) -> int:
        """Its middle between left and right."""
        return self.x + self.width // 2


@dataclass(frozen=True, slots=True)
class Spot:
    """A router: the middle of its symbol.

    Args:
        half: how far the symbol reaches from its middle.
        label: what is written beside it.
        way: of circuits to a router on a card, for the first plane: y above the card, x of its left edge, and if the
            router is not in the first column, y below the card's head and x beside the column.
    """

    router: Router
    x: int
    y: int
    half: int
    label: str
    way: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Wire:
    """A link as a line.

    Args:
        plane: number of the carrier's plane; 0: a link between a unit's own routers.
        points: corners, from end to end.
        label: text and place of it, where there is room.
    """

    link: Link
    plane: int
    points: tuple[Point, ...]
    label: tuple[str, Point] | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """A unit on a card with its routers.

    Args:
        head: the others on the card are below it.
    """

    unit: Unit
    box: Box
    spots: tuple[Spot, ...]
    head: bool = False


@dataclass(frozen=True, slots=True)
class Card:
    """Units with one parent.

    Args:
        title: the parent's name; empty: it is the first cell.
        count: how many units, in words.
    """

    box: Box
    title: str
    count: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Band:
    """A plane of the carrier; `lines` is what is written on it besides its router's name."""

    number: int
    box: Box
    spot: Spot
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Lan:
    """A LAN of the site, or all LANs of the units for one purpose.

    Args:
        prefixes: of a LAN of the site.
        tip: more about it.
    """

    name: str
    prefixes: tuple[str, ...]
    tip: str


@dataclass(frozen=True, slots=True)
class ZoneBox:
    """A zone with its LANs."""

    zone: str
    box: Box
    lans: tuple[Lan, ...]


@dataclass(frozen=True, slots=True)
class Centre:
    """The site: its core routers, its zones, and the lines between them."""

    unit: Unit
    box: Box
    zones: tuple[ZoneBox, ...]
    spots: tuple[Spot, ...]
    lines: tuple[tuple[Point, ...], ...]


@dataclass(frozen=True, slots=True)
class _Group:
    """What will be a card: units in columns, and sizes."""

    parent: Unit | None
    title: str
    count: str
    columns: tuple[tuple[Unit, ...], ...]
    widths: tuple[int, ...]
    row: int  # height
    top: int  # height of the head
    width: int
    height: int


def wide(text: str, size: int, *, bold: bool = False) -> int:
    """Return the width of a text, rather too much than too little."""
    return ceil(len(text) * size * EM * (1.12 if bold else 1))


def capacity(mbps: int) -> str:
    """Return a capacity as text."""
    return f"{mbps / 1000:g} Gb/s".replace(".", ",") if mbps >= 1000 else f"{mbps} Mb/s"


class Layout:
    """Places of everything on the map.

    Args:
        topology: what is drawn.
        heading: height of what is above the legend.
        legend: texts of the legend; each has a sample before it, `INDENT` + `LANE` wide.
    """

    def __init__(self, topology: Topology, heading: int, legend: Sequence[str]) -> None:
        self.topology, self.province = topology, topology.province
        self.lanes = len(topology.planes)
        self._shelves = list(self._fill(list(self._groups())))
        span = max((sum(g.width + GAP for g in shelf) - GAP for shelf in self._shelves), default=0)
        texts = [text for number in range(self.lanes) for text in self._plane(number)]
        self._band_width = 2 * PAD + max(wide(text, SMALL) for text in ("m" * LENGTH, *texts))
        self._zone_width = 2 * PAD + max(self._texts(), default=0)
        side = self.lanes * (self._band_width + GAP) + 2 * MARGIN
        inner = len(self._at_site) * (self._zone_width + PAD) + PAD + 2 * MARGIN
        self.width = max(span + side, inner, 30 * MARGIN)

        self.legend, y = self._flow(legend, heading)
        self.centre = self._centre(y)
        y = self.centre.box.bottom if self.centre else y
        cores = [link for link in topology.links if self._core(link)]
        self._lane_of = {link: y + LINE + 20 * number for number, link in enumerate(cores)}
        first = y + 2 * LINE + 20 * len(cores)
        self.cards, bottom = self._cards(first + 2 * GAP)
        self.bands = tuple(
            self._band(n, Box(0, first, self._band_width, bottom - first)) for n in range(self.lanes)
        )
        self.zones_title, self.zones, self.height = self._zones(bottom + GAP)
        self.wires = tuple(self._wires())

    @cached_property
    def spots(self) -> dict[str, Spot]:
        """Every router's place, by its name in the data."""
        found = [spot for card in self.cards for cell in card.cells for spot in cell.spots]
        found += [band.spot for band in self.bands]
        found += self.centre.spots if self.centre else ()
        return {spot.router.name: spot for spot in found}

    def _core(self, link: Link) -> bool:
        return link.capacity_mbps is not None and link.unit == self.topology.site_unit

    # Units

    def _groups(self) -> Iterator[_Group]:
        """Yield the cards: those of districts first, the province's own last; on each, units of one level."""
        site, by_code = self.topology.site_unit, self.province.by_code
        children: dict[str, list[Unit]] = defaultdict(list)
        for unit in self.province.units:
            if unit.code == site:
                continue
            if unit.parent in by_code:
                children[unit.parent].append(unit)
            else:
                children[unit.code] += []  # the province, also when it has nobody
        for code in sorted(children, key=lambda code: (by_code[code].level is Level.PROVINCE, code)):
            parent: Unit | None = by_code[code] if code != site else None
            levels: dict[Level, list[Unit]] = {}
            for unit in children[code]:
                if unit.code not in children:
                    levels.setdefault(unit.level, []).append(unit)
            for level in sorted(levels, key=list(Level).index) or [None]:
                yield self._group(parent, by_code[code].name, levels[level] if level else [], level)
                parent = None  # it is the head of its first card only

    def _group(self, parent: Unit | None, title: str, units: list[Unit], level: Level | None) -> _Group:
        routers = max((len(self.topology.terminals(u.code)) for u in units), default=0)
        row = LINE * (1 + routers) + (8 if routers else 6)
        count = max(1, round(sqrt(1.5 * row * len(units) / 170)))
        rows = max(1, ceil(len(units) / count))
        columns = tuple(tuple(units[n : n + rows]) for n in range(0, len(units), rows))
        widths = tuple(max(self._lead + self._unit_width(u, NORMAL) for u in column) for column in columns)
        counted = f"{len(units)} {COUNTED[level]}" if level else ""
        name = self._unit_width(parent, LARGE) if parent else wide(title, LARGE, bold=True)
        head = self._lead + name + GAP + wide(counted, SMALL)
        own = len(self.topology.terminals(parent.code)) if parent else 0
        top = PAD + LINE + 4 + own * 20 + self.lanes * LANE + LANE
        height = top + (rows * row if units else 0) + PAD
        return _Group(
            parent, "" if parent else title, counted, columns, widths, row, top,
            max(sum(widths), head) + 2 * PAD, height,
        )  # fmt: skip

    @property
    def _lead(self) -> int:
        """Room for the lanes beside a column."""
        return self.lanes * LANE + 4

    def _unit_width(self, unit: Unit, size: int) -> int:
        labels = [wide(self._label(router), SMALL) for router in self.topology.terminals(unit.code)]
        return INDENT + max(wide(unit.name, size, bold=size == LARGE), *labels, 0) + PAD

    def _label(self, router: Router) -> str:
        circuits = [
            link.capacity_mbps for link in self.topology.links_of[router.name] if link.lower == router.name
        ]
        rates = " + ".join(capacity(mbps) for mbps in circuits if mbps)
        return " · ".join(filter(None, (self.topology.names[router.name], rates)))

    @staticmethod
    def _fill(groups: list[_Group]) -> Iterator[list[_Group]]:
        """Yield rows of cards, in their order."""
        area = sum((g.width + GAP) * (g.height + GAP) for g in groups)
        most = max([sqrt(area * RATIO), *(g.width for g in groups)])
        shelf: list[_Group] = []
        for group in groups:
            if shelf and sum(g.width + GAP for g in shelf) + group.width > most:
                yield shelf
                shelf = []
            shelf.append(group)
        if shelf:
            yield shelf

    def _cards(self, y: int) -> tuple[tuple[Card, ...], int]:
        """Return the cards from y on, and where they end."""
        found: list[Card] = []
        left = MARGIN + ceil(self.lanes / 2) * (self._band_width + GAP)
        right = self.width - MARGIN - self.lanes // 2 * (self._band_width + GAP)
        for shelf in self._shelves:
            free = right - left - sum(g.width for g in shelf)
            gap = min(2 * GAP, free // (len(shelf) - 1)) if len(shelf) > 1 else 0
            x = left + (free - gap * (len(shelf) - 1)) // 2
            below = y + self.lanes * LANE + PAD
            for group in shelf:
                found.append(self._card(group, Box(x, below, group.width, group.height), y))
                x += group.width + gap
            y = below + max(g.height for g in shelf) + GAP
        return tuple(found), y - GAP

    def _card(self, group: _Group, box: Box, bus: int) -> Card:
        edge, cells = box.x + PAD, []
        if group.parent:
            spots = self._stack(group.parent, edge + self._lead, box.y + PAD + LINE + 4, (bus, edge), 20)
            place = Box(edge + self._lead, box.y + PAD, box.width - 2 * PAD - self._lead, group.top - PAD)
            cells.append(Cell(group.parent, place, spots, head=True))
        x = edge
        for number, (column, width) in enumerate(zip(group.columns, group.widths, strict=True)):
            way = (bus, edge, box.y + group.top - self.lanes * LANE, x) if number else (bus, edge)
            for index, unit in enumerate(column):
                y = box.y + group.top + index * group.row
                spots = self._stack(unit, x + self._lead, y + LINE, way, LINE)
                place = Box(x + self._lead, y, width - self._lead, group.row)
                cells.append(Cell(unit, place, spots))
            x += width
        return Card(box, group.title, group.count, tuple(cells))

    def _stack(self, unit: Unit, x: int, y: int, way: tuple[int, ...], step: int) -> tuple[Spot, ...]:
        return tuple(
            Spot(r, x + INDENT // 2 - 2, y + n * step + step // 2, HALF.get(r.role, 6), self._label(r), way)
            for n, r in enumerate(self.topology.terminals(unit.code))
        )

    # The carrier and the site

    def _band(self, number: int, box: Box) -> Band:
        """Return a plane: odd numbers are on the left, even ones on the right; the first ones inside."""
        router, pair = self.topology.planes[number], number // 2
        many = ceil(self.lanes / 2) if number % 2 == 0 else self.lanes // 2
        out = MARGIN + (many - 1 - pair) * (box.width + GAP)
        x = out if number % 2 == 0 else self.width - out - box.width
        place = Box(x, box.y, box.width, box.height)
        label = self.topology.names[router.name]
        spot = Spot(router, place.middle, box.y + GAP, HALF[router.role], label)
        return Band(number + 1, place, spot, self._plane(number))

    def _plane(self, number: int) -> tuple[str, ...]:
        links = [p.title.vi for p in self.province.network.purposes.values() if p.plane == number + 1]
        return (f"Mặt phẳng {number + 1}", *links)

    def _centre(self, y: int) -> Centre | None:
        unit = self.province.by_code.get(self.topology.site_unit)
        if unit is None:
            return None
        zones = self._row(self._at_site, y + 2 * LINE + 4)
        rail = (zones[0].box.bottom if zones else y + 2 * LINE) + PAD
        routers = self.topology.terminals(unit.code)
        half = HALF[RouterRole.CORE]
        step = max(wide(self.topology.names[r.name], NORMAL) for r in routers) + 6 * GAP
        start = self.width // 2 - step * (len(routers) - 1) // 2
        spots = tuple(
            Spot(r, start + n * step, rail + LINE + half, half, self.topology.names[r.name])
            for n, r in enumerate(routers)
        )
        lines: list[tuple[Point, ...]] = [((z.box.middle, z.box.bottom), (z.box.middle, rail)) for z in zones]
        lines += [((s.x, rail), (s.x, s.y - half)) for s in spots]
        ends = [x for line in lines for x, _ in line]
        lines.append(((min(ends), rail), (max(ends), rail)))
        edge = min([z.box.x for z in zones] + [s.x - step // 2 for s in spots]) - PAD
        box = Box(edge, y, self.width - 2 * edge, rail + LINE + 2 * half + PAD - y)
        return Centre(unit, box, zones, spots, tuple(lines))

    # Zones

    @cached_property
    def _at_site(self) -> dict[str, list[Lan]]:
        """LANs of the site, by zone in the order of the zone plan."""
        top, purposes = self.topology, self.province.network.purposes
        gateways = {s.name: s.gateway for s in top.segments}
        found: dict[str, list[Lan]] = {zone: [] for zone in self.province.network.zoning.zones}
        for e in top.policy.endpoints:
            if e.unit != top.site_unit:
                continue
            purpose = purposes.get(e.purpose)
            name = purpose.title.vi if purpose else e.purpose
            facts = [f"{name} ({e.purpose})", f"miền {self.province.network.domains[e.domain].title.vi}"]
            if purpose and purpose.vlan and not e.segment:
                facts.append(f"VLAN {purpose.vlan}")
            if e.segment not in ("", e.purpose):
                facts.append(f"phần của {e.segment}")
            gateway = gateways[e.segment] if e.segment else top.plan.gateway(e.unit, e.purpose)
            facts.append(f"cổng {' và '.join(gateway.pair())}")
            found[e.zone].append(Lan(name, e.prefix.pair(), ", ".join(facts)))
        return {zone: lans for zone, lans in found.items() if lans}

    @cached_property
    def _at_units(self) -> dict[str, list[Lan]]:
        """LANs of the units, by zone and purpose; with the zones that have none anywhere."""
        top, net = self.topology, self.province.network
        found: dict[str, list[Lan]] = {zone: [] for zone in net.zoning.zones}
        for name, endpoints in top.policy.by_purpose.items():
            many = sum(e.unit != top.site_unit for e in endpoints)
            if many and name in net.purposes:
                purpose = net.purposes[name]
                tip = f"{purpose.title.vi} ({name}), miền {net.domains[purpose.domain].title.vi}, VLAN {purpose.vlan}"
                found[purpose.zone].append(Lan(f"{purpose.title.vi}: {many} đơn vị", (), tip))
        return {zone: lans for zone, lans in found.items() if lans or zone not in self._at_site}

    def _texts(self) -> Iterator[int]:
        """Yield the widths of everything that is written in zones."""
        zones = self.province.network.zoning.zones
        for shown in (self._at_site, self._at_units):
            for zone, lans in shown.items():
                yield wide(zones[zone].vi, NORMAL, bold=True)
                yield wide(zone, SMALL)
                for lan in lans:
                    yield INDENT + max(wide(text, SMALL) for text in (lan.name, *lan.prefixes))

    def _row(self, lans: dict[str, list[Lan]], y: int) -> tuple[ZoneBox, ...]:
        """Return zones side by side, in the middle."""
        height = max(
            (sum(LINE * (1 + len(n.prefixes)) + 4 for n in each) for each in lans.values()), default=0
        )
        step = self._zone_width + PAD
        x = (self.width - step * len(lans) + PAD) // 2
        return tuple(
            ZoneBox(zone, Box(x + n * step, y, self._zone_width, height + 2 * LINE + PAD + 4), tuple(each))
            for n, (zone, each) in enumerate(lans.items())
        )

    def _zones(self, y: int) -> tuple[Point, tuple[ZoneBox, ...], int]:
        """Return the title's place, the zones that the units' LANs are in, in rows, and where they end."""
        names, title = list(self._at_units), (MARGIN, y + LINE)
        fits = max(1, (self.width - 2 * MARGIN + PAD) // (self._zone_width + PAD))
        rows = ceil(len(names) / fits) or 1
        each, found = ceil(len(names) / rows), []
        y += 2 * LINE
        for start in range(0, len(names), each or 1):
            row = self._row({name: self._at_units[name] for name in names[start : start + each]}, y)
            found += row
            y = row[0].box.bottom + PAD
        return title, tuple(found), y + MARGIN - PAD

    # Lines and legend

    def _wires(self) -> Iterator[Wire]:
        numbers = {router.name: n for n, router in enumerate(self.topology.planes)}
        ends: dict[str, list[Link]] = defaultdict(list)
        for link in self.topology.links:
            if link.capacity_mbps is not None:
                ends[link.lower].append(link)
        for link in self.topology.links:
            lower = self.spots[link.lower]
            if link.capacity_mbps is None:
                yield Wire(link, 0, _straight(self.spots[link.upper], lower))
                continue
            lane, mine = numbers[link.upper], ends[link.lower]
            apart = min(LANE, 2 * (lower.half - 2) / max(1, len(mine) - 1))
            shift = round((mine.index(link) - (len(mine) - 1) / 2) * apart)
            band = self.bands[lane].box
            if not lower.way:  # the core
                x, y, end = lower.x + shift, self._lane_of[link], band.middle + LANE * mine.index(link)
                label = capacity(link.capacity_mbps), ((x + end) // 2, y - 4)
                yield Wire(
                    link, lane + 1, ((x, lower.y + lower.half), (x, y), (end, y), (end, band.y)), label
                )
                continue
            bus, edge, *column = (at + LANE * lane for at in lower.way)
            start, y = (band.right if band.x < edge else band.x), lower.y + shift
            corners = [(edge, column[0]), (column[1], column[0]), (column[1], y)] if column else [(edge, y)]
            points = ((start, bus), (edge, bus), *corners, (lower.x - lower.half, y))
            yield Wire(link, lane + 1, points)

    def _flow(self, texts: Sequence[str], y: int) -> tuple[tuple[Point, ...], int]:
        """Return the places of the legend's entries, in as many lines as are needed, and where they end."""
        x, found = MARGIN, []
        for text in texts:
            width = INDENT + LANE + wide(text, SMALL)
            if x > MARGIN and x + width > self.width - MARGIN:
                x, y = MARGIN, y + LINE + 6
            found.append((x, y))
            x += width + GAP
        return tuple(found), y + GAP


def _straight(a: Spot, b: Spot) -> tuple[Point, ...]:
    """Return the line between two routers that are beside or below each other."""
    if a.y == b.y:
        (left, right) = sorted((a, b), key=lambda spot: spot.x)
        return (left.x + left.half, left.y), (right.x - right.half, right.y)
    (upper, lower) = sorted((a, b), key=lambda spot: spot.y)
    return (upper.x, upper.y + upper.half), (lower.x, lower.y - lower.half)
