"""The province of a site: units, epochs, profile, facts and network, from the files beside `site.yaml`.

`province.yaml` (epochs, sources, facts), `units.csv` (generated), `agencies.csv` (by hand) and `network.yaml`.
Sites without `province.yaml` have no province.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from infra import paths
from infra.errors import TinhError
from infra.model.base import Model, read_yaml, validate
from infra.model.net import DualPrefix
from infra.model.network import Network, RouterRole
from infra.model.site import SiteKind, lab_record, load_site, rebase
from infra.model.unit import Level, Register, Unit, read_units


class Profile(StrEnum):
    """Whose data centre the platforms stand in."""

    OWN = "own_datacentre"
    TENANT = "national_tenant"  # tenant of the national data centre: no sites, no server zones of its own
    MERGED = "merged_province"  # own data centre of a province that several provinces went into


class Epoch(Model):
    """The province as it was from one day on."""

    date: date
    root: str = Field(description="code of the province")
    profile: Profile = Profile.OWN


class Fact(Model):
    """One figure that a design or a check needs."""

    value: int = Field(ge=0)
    title: str
    source: str


class Facts(Model):
    """`province.yaml` of a site."""

    name: str
    current: str = Field(description="the epoch that is in force; the others are looked back at or planned")
    epochs: dict[str, Epoch] = Field(min_length=1)
    sources: dict[str, str] = Field(description="key -> document, number, date, and how it was seen")
    facts: dict[str, Fact] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _order(self) -> Self:
        days = [epoch.date for epoch in self.epochs.values()]
        if days != sorted(set(days)):
            raise ValueError("epochs are not in the order of their dates")
        if self.current not in self.epochs:
            raise ValueError(f"current names unknown epoch {self.current!r}")
        for name, fact in self.facts.items():
            if fact.source not in self.sources:
                raise ValueError(f"facts.{name}.source names unknown source {fact.source!r}")
        return self


class Router(Model):
    """One router, derived from the rules."""

    name: str
    role: RouterRole
    unit: str


class Circuit(Model):
    """One circuit, derived from the rules."""

    unit: str
    link: str
    route: str
    capacity_mbps: int


@dataclass(frozen=True)
class Province:
    """A province at one epoch: what the compilers and renderers take."""

    site: str
    epoch: str
    day: date
    profile: Profile
    units: tuple[Unit, ...]
    network: Network
    folder: Path = Path()

    def where(self, path: str) -> str:
        """Return a place in the network file, for messages."""
        return f"{self.folder / 'network.yaml'}: {path}"

    @cached_property
    def by_code(self) -> dict[str, Unit]:
        """Units by code."""
        return {unit.code: unit for unit in self.units}

    def at_level(self, level: Level) -> list[Unit]:
        """Return the units of a level, by code."""
        return [unit for unit in self.units if unit.level is level]

    def routers(self) -> list[Router]:
        """Return every router: by unit, then in the order of the rules."""
        return [
            Router(
                name=f"{rule.role.replace('_', '-')}-{unit.code}" + (f"-{n + 1}" if rule.count > 1 else ""),
                role=rule.role,
                unit=unit.code,
            )
            for unit in self.units
            for rule in self.network.routers
            if rule.level is unit.level
            for n in range(rule.count)
        ]

    def circuits(self) -> list[Circuit]:
        """Return every circuit, by unit and link; a rule for one unit wins over the rule for its level."""
        found: dict[tuple[str, str], Circuit] = {}
        for rule in sorted(self.network.circuits, key=lambda rule: rule.unit != ""):
            codes = [rule.unit] if rule.unit else [u.code for u in self.units if u.level is rule.level]
            for code in codes:
                if code in self.by_code:
                    route = rule.route or f"{code}-{rule.link}"
                    found[code, rule.link] = Circuit(
                        unit=code, link=rule.link, route=route, capacity_mbps=rule.capacity_mbps
                    )
        return [found[key] for key in sorted(found)]


class Record:
    """A site's province over all its epochs.

    Raises:
        TinhError: any of the files contradicts itself or another one.
    """

    def __init__(self, folder: Path, facts: Facts, register: Register, network: Network) -> None:
        self.folder, self.facts, self.register, self.network = folder, facts, register, network
        for row in register.rows:
            for key in row.source.split():
                if key not in facts.sources:
                    raise TinhError(
                        f"unit {row.code!r} names unknown source {key!r}",
                        where=register.where(row),
                        fix=f"add it to {folder / 'province.yaml'}: sources",
                    )
        known = {row.code for row in register.rows}
        for number, rule in enumerate(network.circuits):
            if rule.unit and rule.unit not in known:
                raise TinhError(
                    f"unknown unit code {rule.unit!r}",
                    where=f"{folder / 'network.yaml'}: circuits.{number}.unit",
                    fix="name the code of a unit in units.csv or agencies.csv",
                )

    @property
    def epochs(self) -> list[str]:
        """Names of the epochs, oldest first."""
        return list(self.facts.epochs)

    def at(self, epoch: str | None = None) -> Province:
        """Return the province at an epoch; without one, at the current one.

        Raises:
            TinhError: unknown epoch, or what is required of its profile is not there.
        """
        name = epoch or self.facts.current
        if name not in self.facts.epochs:
            raise TinhError(
                f"unknown epoch {name!r}",
                where=f"{self.folder / 'province.yaml'}: epochs",
                fix=f"use one of: {', '.join(self.epochs)}",
            )
        found = self.facts.epochs[name]
        units = self.register.at(found.date, found.root)
        if found.profile is Profile.TENANT:
            units = tuple(unit for unit in units if unit.level is not Level.SITE)
        province = Province(
            self.facts.name, name, found.date, found.profile, units, self.network, self.folder
        )
        self._check_profile(province, found)
        self._check_circuits(province)
        return province

    def _check_profile(self, province: Province, epoch: Epoch) -> None:
        at = f"{self.folder / 'province.yaml'}: epochs.{province.epoch}.profile"
        if epoch.profile is Profile.MERGED:
            merged = [
                r.code
                for r in self.register.rows
                if r.level is Level.PROVINCE and epoch.root in (r.successors or ())
            ]
            if len(merged) < 2:
                raise TinhError(
                    f"profile {epoch.profile}: only {len(merged)} province(s) went into {epoch.root!r}",
                    where=at,
                    fix="give the rows of the merged provinces their successor, or choose another profile",
                )
        elif epoch.profile is Profile.OWN and not province.at_level(Level.SITE):
            raise TinhError(
                f"profile {epoch.profile}: there is no unit of level site on {epoch.date}",
                where=at,
                fix="add the data centre to agencies.csv, or choose another profile",
            )

    def _check_circuits(self, province: Province) -> None:
        """Refuse one physical route for two circuits (circular 06/2026 Đ5) and more circuits than WAN ports."""
        circuits = province.circuits()
        routes: dict[str, str] = {}
        for circuit in circuits:
            name = f"{circuit.unit} {circuit.link}"
            if circuit.route in routes:
                raise TinhError(
                    f"physical route {circuit.route!r} carries both {routes[circuit.route]} and {name}",
                    where=province.where("circuits"),
                    fix="two circuits take two physical routes; correct the route id",
                )
            routes[circuit.route] = name
        ports = Counter[str]()
        for router in province.routers():
            ports[router.unit] += self.network.roles[router.role].wan
        for code, count in Counter(circuit.unit for circuit in circuits).items():
            if count > ports[code]:
                raise TinhError(
                    f"unit {code!r} has {count} circuits and {ports[code]} WAN ports",
                    where=province.where("circuits"),
                    fix="give it a router of another role, or fewer circuits",
                )


def provinces(root: Path | None = None) -> list[str]:
    """Return the sites that have a province."""
    return sorted(file.parent.name for file in (root or paths.SITES).glob("*/province.yaml"))


def load_record(site: str, *, root: Path | None = None) -> Record:
    """Load all epochs of a site's province.

    Raises:
        TinhError: the site has no province, or a file is malformed (file, path and value are named).
    """
    known = provinces(root)
    folder = (root or paths.SITES) / site
    if site not in known:
        raise TinhError(
            f"site {site!r} has no province",
            where=str(folder),
            fix=f"use one of: {', '.join(known) or '(none)'}",
        )
    file = folder / "province.yaml"
    facts = validate(Facts, read_yaml(file), file)
    if facts.name != site:
        raise TinhError(f"file says name {facts.name!r}", where=f"{file}: name", fix=f"write name: {site}")
    network = validate(Network, _moved(site, folder, root), folder / "network.yaml")
    if epoch := _epoch_of_lab(site, folder, root):
        facts = validate(Facts, facts.model_dump() | {"current": epoch}, file)
    return Record(folder, facts, _register(folder / each for each in ("units.csv", "agencies.csv")), network)


def load_province(site: str, epoch: str | None = None, *, root: Path | None = None) -> Province:
    """Load a site's province at an epoch; without one, at the current one.

    Raises:
        TinhError: see `load_record` and `Record.at`.
    """
    return load_record(site, root=root).at(epoch)


def _epoch_of_lab(site: str, folder: Path, root: Path | None) -> str:
    """Return the epoch that a lab was told to play (`tinh lab epoch`); empty: that of its file."""
    if not (folder / "site.yaml").exists() or load_site(site, root=root).kind is not SiteKind.LAB:
        return ""
    return lab_record(site).get("epoch", "")


def _moved(site: str, folder: Path, root: Path | None) -> Any:  # noqa: ANN401 - raw YAML tree
    """Return the network file; that of a lab that has moved to another pool has moved along."""
    data = read_yaml(folder / "network.yaml")
    if not (folder / "site.yaml").exists():
        return data
    old = DualPrefix.model_validate(read_yaml(folder / "site.yaml")["pool"])
    new = load_site(site, root=root).pool
    return data if new == old else rebase(data, old, new)


def _register(files: Iterable[Path]) -> Register:
    rows: list[Unit] = []
    where: dict[int, str] = {}
    for file in files:
        found, places = read_units(file)
        rows += found
        where |= places
    return Register(rows, where)
