"""The site: one data centre, its segments, machines, cluster and front door.

Sources: Circular 12/2022/TT-BTTTT annex III (zones), the design page (machines of the lab).
"""

from __future__ import annotations

import ipaddress
import json
import re
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from infra import paths
from infra.errors import TinhError
from infra.model.base import Model, Text, read_yaml, validate
from infra.model.certificates import Certificates
from infra.model.dns import Names
from infra.model.net import DualAddress, DualPrefix


class SiteKind(StrEnum):
    """What stands behind a site's name."""

    DATACENTRE = "datacentre"  # real machines, reached over SSH
    LAB = "lab"  # system containers on this machine, real engines
    SIM = "sim"  # control plane as processes on loopback, simulated nodes (KWOK)


class Role(StrEnum):
    """What a machine is for; each role is one Ansible group and, in the lab, one image."""

    CONTROL_PLANE = "control_plane"
    WORKER = "worker"
    ROUTER = "router"
    REGISTRY = "registry"
    BACKUP = "backup"
    OFFSITE = "offsite"  # a second machine with backups, at another place; gets them from the first
    INTERNET = "internet"  # simulator of the public Internet: clients outside the province
    OUTSIDE = "outside"  # simulator of the units: hosts in their LANs


class Segment(Model):
    """One layer-2 segment."""

    prefix: DualPrefix
    zone: str = Field(description="zone of Circular 12/2022 annex III that the segment belongs to")
    gateway: int | None = Field(
        default=None,
        description="host number of the routers' virtual address on the segment; none: no router leads out of it",
    )

    @property
    def virtual(self) -> DualAddress | None:
        """The routers' virtual address; None: there is none."""
        return None if self.gateway is None else self.prefix.host(self.gateway)


class MachineGroup(Model):
    """Machines of one role, numbered from 1: `<name>1`, `<name>2`, ..."""

    name: str = Field(pattern=r"^[a-z]{1,8}$")
    role: Role
    count: int = Field(ge=1, le=16)
    interfaces: dict[str, int] = Field(
        description="segment -> host number of the first machine; the first entry is the primary interface",
        min_length=1,
    )


class Machine(Model):
    """One machine with its addresses, derived from its group."""

    name: str
    role: Role
    addresses: dict[str, DualAddress]

    @property
    def primary(self) -> DualAddress:
        """Address on the primary segment: where SSH and the kubelet listen."""
        return next(iter(self.addresses.values()))


class Cluster(Model):
    """The Kubernetes cluster of the site."""

    version: str = Field(pattern=r"^1\.\d+\.\d+$")
    api: DualAddress = Field(description="virtual address of the API server")
    api_port: int = 6443
    pods: DualPrefix
    services: DualPrefix


class FrontDoor(Model):
    """Where the published names are answered: a part of a segment, in a zone of its own."""

    pool: DualPrefix = Field(description="addresses that the load balancer may hand out, none of a machine")
    zone: str = Field(description="zone of the pool, whatever the zone of the segment that it is in")
    gateway: DualAddress = Field(description="address of the Gateway, inside the pool")
    dns: DualAddress = Field(description="address of the authoritative DNS server, inside the pool")

    @model_validator(mode="after")
    def _inside(self) -> Self:
        for name in ("gateway", "dns"):
            address: DualAddress = getattr(self, name)
            if not (address.ipv4 in self.pool.ipv4 and address.ipv6 in self.pool.ipv6):
                raise ValueError(f"{name} is not inside the pool")
        if self.gateway == self.dns:
            raise ValueError("gateway and dns have the same address")
        return self


class Site(Model):
    """One site, as read from `stacks/sites/<name>/site.yaml`."""

    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$")
    kind: SiteKind
    title: Text
    zone: str = Field(description="DNS zone of the published names, without trailing dot")
    pool: DualPrefix = Field(description="everything the site addresses lies in here")
    segments: dict[str, Segment]
    machines: list[MachineGroup]
    cluster: Cluster
    front_door: FrontDoor
    certificates: Certificates = Field(
        default=Certificates(), description="of the published names: who signs, how long they live"
    )
    names: Names | None = Field(
        default=None,
        description="resolver and translation on the core routers; none: without a network of its own",
    )
    platforms: list[str] = Field(description="ids of the shared platforms that are switched on")
    management: tuple[DualPrefix, ...] = Field(
        default=(),
        description="from where machines and routers are managed, besides the management zone of the network",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name, segment in self.segments.items():
            for family in ("ipv4", "ipv6"):
                inner, outer = getattr(segment.prefix, family), getattr(self.pool, family)
                if not inner.subnet_of(outer):
                    raise ValueError(f"segments.{name}.prefix.{family} {inner} is outside the pool {outer}")
        seen: dict[str, str] = {}
        for group in self.machines:
            for segment_name in group.interfaces:
                if segment_name not in self.segments:
                    raise ValueError(f"machine group {group.name} names unknown segment {segment_name!r}")
        for machine in self.all_machines():
            for address in machine.addresses.values():
                for text in address.pair():
                    if text in seen:
                        raise ValueError(f"address {text} is given to both {seen[text]} and {machine.name}")
                    seen[text] = machine.name
        return self

    @model_validator(mode="after")
    def _front_door(self) -> Self:
        pool = self.front_door.pool
        if not any(pool.within(segment.prefix) for segment in self.segments.values()):
            raise ValueError(f"front_door.pool {' and '.join(pool.pair())} is in no segment")
        taken = [(m.name, address) for m in self.all_machines() for address in m.addresses.values()]
        taken += [(f"the gateway of {name}", s.virtual) for name, s in self.segments.items() if s.virtual]
        for whose, address in (*taken, ("cluster.api", self.cluster.api)):
            for family in ("ipv6", "ipv4"):
                if (one := getattr(address, family)) in (net := getattr(pool, family)):
                    raise ValueError(f"front_door.pool.{family} {net} holds {one}, the address of {whose}")
        return self

    @model_validator(mode="after")
    def _names(self) -> Self:
        if self.names is None:
            return self
        if not self.by_role(Role.ROUTER):
            raise ValueError(
                "names needs core routers: give the site machines of role router, or leave it out"
            )
        for block in self.names.blocks:
            for family in ("ipv6", "ipv4"):
                mine, outer = getattr(block, family), getattr(self.pool, family)
                if not mine.subnet_of(outer):
                    raise ValueError(f"names: {mine} is outside the pool {outer}")
                for name, segment in self.segments.items():
                    if mine.overlaps(theirs := getattr(segment.prefix, family)):
                        raise ValueError(f"names: {mine} overlaps segments.{name}.prefix.{family} {theirs}")
        return self

    @property
    def front_segment(self) -> str:
        """Name of the segment that the front door is a part of."""
        return next(name for name, s in self.segments.items() if self.front_door.pool.within(s.prefix))

    def all_machines(self) -> list[Machine]:
        """Return every machine with its addresses, in the order of the groups."""
        return [
            Machine(
                name=f"{group.name}{index + 1}",
                role=group.role,
                addresses={
                    segment: self.segments[segment].prefix.host(first + index)
                    for segment, first in group.interfaces.items()
                },
            )
            for group in self.machines
            for index in range(group.count)
        ]

    def by_role(self, role: Role) -> list[Machine]:
        """Return the machines of one role."""
        return [machine for machine in self.all_machines() if machine.role is role]

    def public_name(self, label: str) -> str:
        """Return the published DNS name of a label, for example `id.lab.tinh.test`."""
        return f"{label}.{self.zone}"

    def resize(self, counts: dict[Role, int]) -> Site:
        """Return the site with other machine counts per role."""
        groups = [g.model_copy(update={"count": counts.get(g.role, g.count)}) for g in self.machines]
        data = self.model_dump() | {"machines": [g.model_dump() for g in groups]}
        return Site.model_validate(data)


def rebase(data: Any, old: DualPrefix, new: DualPrefix) -> Any:  # noqa: ANN401 - raw YAML tree
    """Move every address and prefix of a raw site tree from one pool to another, keeping offsets.

    Two labs on one machine have the same site file and different pools.
    """
    if isinstance(data, dict):
        return {key: rebase(value, old, new) for key, value in data.items()}
    if isinstance(data, list):
        return [rebase(value, old, new) for value in data]
    if not isinstance(data, str) or not re.fullmatch(r"[0-9a-fA-F.:/]+", data):
        return data
    head, slash, length = data.partition("/")
    try:
        address = ipaddress.ip_address(head)
    except ValueError:
        return data
    family = f"ipv{address.version}"
    source, target = getattr(old, family), getattr(new, family)
    if address not in source:
        return data
    moved = target.network_address + (int(address) - int(source.network_address))
    return f"{moved}{slash}{length}"


def has_network(name: str) -> bool:
    """Return whether a site has a network in its data; a lab that was made without the outside has none."""
    return (paths.SITES / name / "network.yaml").exists() and lab_record(name).get("outside", True)


def lab_record(name: str) -> dict[str, Any]:
    """Return what is recorded of a lab besides its files: `pool`, `counts`, `epoch`, `outside`.

    Empty without a record.
    """
    file = paths.state(name).root / "lab.json"
    return json.loads(file.read_text()) if file.exists() else {}


def load_site(name: str, *, root: Path | None = None) -> Site:
    """Load a site; a lab's recorded pool and machine counts (state file `lab.json`) are applied.

    Raises:
        TinhError: unknown site, or a malformed site file (file, path and value are named).
    """
    sites = root or paths.SITES
    file = sites / name / "site.yaml"
    known = sorted(p.parent.name for p in sites.glob("*/site.yaml"))
    if name not in known:
        raise TinhError(
            f"unknown site {name!r}", where=str(sites), fix=f"use one of: {', '.join(known) or '(none)'}"
        )
    data = read_yaml(file)
    site = validate(Site, data, file)
    if site.name != name:
        raise TinhError(
            f"site file says name {site.name!r}", where=f"{file}: name", fix=f"write name: {name}"
        )
    if site.kind is SiteKind.LAB and (lab := lab_record(name)):
        pool = DualPrefix.model_validate(lab.get("pool", data["pool"]))
        site = validate(Site, rebase(data, site.pool, pool), file)
        site = site.resize({Role(role): count for role, count in lab.get("counts", {}).items()})
    return site
