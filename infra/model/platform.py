"""The facts of a shared platform: `platforms/<id>/platform.yaml`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, HttpUrl, model_validator

from infra import paths
from infra.errors import TinhError
from infra.model.base import Model, Text, read_yaml, validate
from infra.model.data import DataStore, Owner, Quantity, Recovery
from infra.model.exposure import Exposure
from infra.model.site import Site, SiteKind

#: Where the folders of the platforms are.
PLATFORMS = paths.REPO / "platforms"

Zone = Literal["internal", "border", "dmz", "internal_servers", "wireless", "database_servers", "management"]
"""The seven zones of Circular 12/2022/TT-BTTTT, annex III, II.1.a."""


class Seen(StrEnum):
    """How well a source was seen."""

    TEXT = "P"  # the article was read
    HEAD = "H"  # only the head of the document
    SECOND_HAND = "S"
    WEAK = "S-low"
    OWN = "D"  # a design choice of ours, required by nobody


class Basis(Model):
    """A legal text that the platform rests on."""

    text: str = Field(description="number of the text")
    clause: str = ""
    says: Text
    seen: Seen
    in_force: bool = Field(description="false: kept as a trace of the project's wording")


class Sizing(Model):
    """How large the platform is on one kind of site."""

    replicas: int = Field(ge=1, le=16)
    memory: str = Quantity
    instances: int = Field(ge=1, le=5, description="PostgreSQL instances")
    poolers: int = Field(default=0, ge=0, le=8, description="connection poolers before the database")
    storage: str = Quantity
    database_memory: str = Quantity


class Group(Model):
    """People of the identity platform who may do something on this one."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,30}$", description="name of the group in the realm")
    title: Text
    roles: list[str] = Field(min_length=1, description="what the platform calls it that its members may do")


class Login(Model):
    """How people sign in through the identity platform (OpenID Connect, authorization code)."""

    callback: str = Field(
        pattern=r"^/\S*$", description="path to which the identity platform sends them back"
    )
    groups: list[Group] = Field(min_length=1, description="who is in none of them is not let in")


class Link(Model):
    """A page about the platform."""

    title: Text
    url: HttpUrl


class Platform(Model):
    """One shared platform."""

    id: str = Field(pattern=r"^[a-z][a-z0-9]{1,15}$")
    name: Text
    basis: list[Basis] = Field(min_length=1)
    owner: Owner
    provider: Literal["province", "national"]
    security_level: int = Field(ge=1, le=5, description="level of information system security")
    zone: Zone
    data: list[DataStore]
    recovery: Recovery
    sends_mail: bool = Field(default=False, description="it may send mail through the site's relay")
    public_names: list[str] = Field(min_length=1, description="labels below the site's zone")
    probe: str = Field(
        default="/", pattern=r"^/\S*$", description="path of a page that is the same for everybody"
    )
    exposure: dict[str, Exposure] = Field(
        default_factory=dict, description="public name -> how it meets its clients; safe defaults without"
    )
    image: str = Field(pattern=r"^\S+:\S+$")
    realm: str | None = Field(
        default=None,
        pattern=r"^[a-z][a-z0-9-]{0,30}$",
        description="realm of the province's people; the identity platform has it, no other one",
    )
    login: Login | None = Field(default=None, description="none: the platform has no users of its own")
    sizing: dict[SiteKind, Sizing]
    links: list[Link] = Field(default_factory=list)

    @model_validator(mode="before")
    @classmethod
    def _stores_inherit(cls, data: Any) -> Any:  # noqa: ANN401 - raw facts, checked afterwards
        """Give every store the platform's owner and recovery targets where it says nothing else."""
        if not isinstance(data, dict) or not isinstance(data.get("data"), list):
            return data
        shared = {key: data[key] for key in ("owner", "recovery") if key in data}
        return data | {"data": [shared | item if isinstance(item, dict) else item for item in data["data"]]}

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if not any(basis.in_force for basis in self.basis):
            raise ValueError("no text of the basis is in force")
        names = [store.name for store in self.data]
        if len(names) != len(set(names)):
            raise ValueError("two data stores have the same name")
        missing = [kind.value for kind in SiteKind if kind not in self.sizing]
        if missing:
            raise ValueError(f"sizing lacks {', '.join(missing)}")
        if unknown := sorted(self.exposure.keys() - set(self.public_names)):
            raise ValueError(f"exposure of {', '.join(unknown)}, which public_names does not list")
        return self

    def exposed(self, label: str) -> Exposure:
        """Return how a public name meets its clients."""
        return self.exposure.get(label, Exposure())

    @property
    def signs_in(self) -> bool:
        """Whether a name of it needs the sign-in of the platform `identity`."""
        return any(exposure.sign_in for exposure in self.exposure.values())


def load_platform(name: str, *, root: Path = PLATFORMS) -> Platform:
    """Load the facts of one platform.

    Raises:
        TinhError: unknown platform, or malformed facts (file, path and value are named).
    """
    file = root / name / "platform.yaml"
    known = sorted(path.parent.name for path in root.glob("*/platform.yaml"))
    if name not in known:
        raise TinhError(
            f"unknown platform {name!r}", where=str(root), fix=f"use one of: {', '.join(known) or '(none)'}"
        )
    platform = validate(Platform, read_yaml(file), file)
    if platform.id != name:
        raise TinhError(f"the facts say id {platform.id!r}", where=f"{file}: id", fix=f"write id: {name}")
    return platform


def load_platforms(site: Site, *, root: Path = PLATFORMS) -> list[Platform]:
    """Load the platforms that are switched on at a site and run in the province.

    Raises:
        TinhError: when one is unknown or malformed, or two publish the same name.
    """
    platforms = [load_platform(name, root=root) for name in site.platforms]
    owners: dict[str, str] = {}
    for platform in platforms:
        for label in platform.public_names:
            if label in owners:
                raise TinhError(
                    f"{site.public_name(label)} is published by {owners[label]} and by {platform.id}",
                    where=str(root / platform.id / "platform.yaml"),
                    fix="choose another label in public_names",
                )
            owners[label] = platform.id
    here = [platform for platform in platforms if platform.provider == "province"]
    somewhere = any(platform.id == "identity" and platform.realm for platform in here)
    for platform in here:
        if platform.signs_in and (platform.id == "identity" or not somewhere):
            raise TinhError(
                f"platform {platform.id} has names that need sign_in at platform identity, which is not there for it",
                where=str(root / platform.id / "platform.yaml: exposure"),
                fix="switch identity (with its realm) on in the site file, or remove sign_in",
            )
    return here
