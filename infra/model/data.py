"""Data that must survive: what every store says about itself, and what a site does for each class of data.

Sources: Law 60/2024/QH15 on Data, article 3 (open, shared, own-use, core and important data) and article 13 (state
bodies classify by importance and by sharing); Law 91/2025/QH15 (personal data, sensitive personal data); TCVN
14423:2026, 5.4.2.1 b (stores carry a class; second-hand).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from infra import naming, paths
from infra.model.base import Model, Text, read_yaml, validate
from infra.model.net import DualAddress, DualPrefix
from infra.model.site import Site, rebase

Quantity = Field(pattern=r"^[1-9][0-9]*(Mi|Gi|Ti)$")
#: Six fields, seconds first: how CloudNativePG writes times (robfig/cron).
_SCHEDULE = re.compile(r"(\S+ ){5}\S+")


class DataClass(StrEnum):
    """How important data is: Law 60/2024/QH15, article 13, by importance."""

    CORE = "core"  # dữ liệu cốt lõi
    IMPORTANT = "important"  # dữ liệu quan trọng
    OTHER = "other"  # dữ liệu khác


class Sharing(StrEnum):
    """Who may have data: Law 60/2024/QH15, article 3 and article 13, by sharing."""

    OWN = "own"  # dữ liệu dùng riêng: inside one agency
    SHARED = "shared"  # dữ liệu dùng chung: among state bodies
    OPEN = "open"  # dữ liệu mở: everybody


class PersonalData(StrEnum):
    """Whether people can be told apart in it; how many decides the level (Decree 331/2026, article 13.2.c)."""

    NONE = "none"
    BASIC = "basic"
    SENSITIVE = "sensitive"


class Owner(Model):
    """The agency that owns a platform or its data."""

    code: str = Field(pattern=r"^[a-z0-9]{1,16}$")
    name: Text


class Recovery(Model):
    """Recovery targets, in minutes."""

    point: int = Field(ge=0, description="data of at most this much time may be lost")
    time: int = Field(gt=0, description="it works again after at most this much time")


class DataStore(Model):
    """Data of a platform that must survive, or, for a cache, may not be read by others."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")
    engine: Literal["postgresql", "bucket", "cache", "stream", "volume"]
    image: str = Field(default="", pattern=r"^(\S+:\S+)?$", description="of a database; else empty")
    holds: Text
    data_class: DataClass
    sharing: Sharing
    personal_data: PersonalData
    owner: Owner = Field(description="a platform's store: the platform's where nothing is said")
    recovery: Recovery = Field(description="a platform's store: the platform's where nothing is said")
    synchronous: bool = Field(
        default=False,
        description="PostgreSQL: a write is acknowledged only when a second instance has it",
    )
    lock_days: int = Field(
        default=0, ge=0, le=3650, description="bucket: days in which nobody can remove a version of an object"
    )

    @model_validator(mode="after")
    def _fits_the_engine(self) -> Self:
        database = self.engine == "postgresql"
        if database != bool(self.image):
            raise ValueError("an image belongs to engine postgresql, and to no other")
        if self.synchronous and not database:
            raise ValueError("synchronous belongs to engine postgresql")
        if self.lock_days and self.engine != "bucket":
            raise ValueError("lock_days belongs to engine bucket")
        if self.engine in ("bucket", "stream") and not self.recovery.point:
            raise ValueError(
                f"recovery.point of a {self.engine} cannot be 0: copies of it are made, at least a minute apart"
            )
        if self.data_class is DataClass.CORE and self.sharing is Sharing.OPEN:
            raise ValueError("core data cannot be open")
        return self


class Handling(Model):
    """What a site does for one class of data."""

    storage_class: str = Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$")
    schedule: str = Field(description="when base backups are made, six cron fields (seconds first), UTC")
    lock_days: int = Field(
        ge=0, le=3650, description="days in which nobody can remove a backup from the object storage"
    )

    @field_validator("schedule")
    @classmethod
    def _cron(cls, value: str) -> str:
        if not _SCHEDULE.fullmatch(value):
            raise ValueError("six fields are needed: second minute hour day month weekday")
        return value


class Engine(Model):
    """How large a shared engine is."""

    storage: str = Quantity
    memory: str = Quantity


class Mail(Model):
    """Where mail of the site goes: a smart host, which is the only mail server that is spoken to."""

    host: str = Field(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", description="name in its certificate")
    address: DualAddress
    port: int = Field(default=25, ge=1, le=65535)
    domain: str = Field(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", description="of the senders")
    storage: str = Quantity


class Application(Model):
    """Who uses data services without being a platform."""

    name: str = Field(pattern=r"^[a-z][a-z0-9]{1,15}$")
    data: list[DataStore] = Field(default_factory=list)
    sends_mail: bool = False

    @model_validator(mode="after")
    def _shared_engines(self) -> Self:
        for store in self.data:
            if store.engine not in ("bucket", "cache", "stream"):
                raise ValueError(f"{store.name}: an application that is no platform has no {store.engine}")
        if len({store.name for store in self.data}) < len(self.data):
            raise ValueError("two data stores have the same name")
        return self


class SiteData(Model):
    """The data services of one site: `stacks/sites/<name>/data.yaml`."""

    classes: dict[DataClass, Handling]
    objects: Engine
    cache: Engine
    stream: Engine
    mail: Mail | None = Field(default=None, description="none: the site has no mail relay")
    applications: list[Application] = Field(default_factory=list)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        missing = [item.value for item in DataClass if item not in self.classes]
        if missing:
            raise ValueError(f"classes lacks {', '.join(missing)}")
        return self


def load_data(site: Site) -> SiteData:
    """Load the data services of a site; a lab's addresses are moved to the pool that it has.

    Raises:
        TinhError: there is no such file, or it is malformed (file, path and value are named).
    """
    folder = paths.SITES / site.name
    file = folder / "data.yaml"
    written = DualPrefix.model_validate(read_yaml(folder / "site.yaml")["pool"])
    return validate(SiteData, rebase(read_yaml(file), written, site.pool), file)


@dataclass(frozen=True)
class Holding:
    """A store and whose it is.

    Args:
        application: platform or application; also its namespace.
        store: the store.
    """

    application: str
    store: DataStore

    @property
    def name(self) -> str:
        """The store's name in the whole site: of a bucket, a cache's Service, a database cluster, an account."""
        return naming.name(self.application, self.store.name)

    @property
    def bucket(self) -> str:
        """Where it lies in the object storage: a bucket is there itself, a database has its archive there."""
        return naming.name(self.name, "archive") if self.store.engine == "postgresql" else self.name

    @property
    def secret(self) -> str:
        """Name of the site's secret that opens it."""
        return f"data-{self.bucket}"


def holdings(applications: Iterable[tuple[str, Sequence[DataStore]]], *engines: str) -> tuple[Holding, ...]:
    """Return the stores of some engines.

    Args:
        applications: platforms and applications with their stores.
        engines: which ones; none: of all.
    """
    return tuple(
        Holding(application, store)
        for application, stores in applications
        for store in stores
        if not engines or store.engine in engines
    )
