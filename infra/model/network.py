"""The province's network as data: registered space, pools, routing domains, purposes, routers, circuits.

Sources: Circular 06/2026/TT-BKHCN (dedicated state network: Đ5 circuits by two physical directions, Đ7.2 no overlap
between services and agencies, Đ7.4-5 registered space, annex I ports of terminal devices); RFC 3021 and RFC 6164
(point-to-point links), RFC 4291 2.6.1 (the first address of an IPv6 subnet is the routers' anycast address).
"""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from itertools import combinations
from typing import Self

from pydantic import Field, field_validator, model_validator

from infra.model.base import Model, Text
from infra.model.net import DualPrefix
from infra.model.unit import Level
from infra.model.zone import CENTRAL, ZonePlan

NAME = r"^[a-z][a-z0-9-]{0,15}$"
HUBS = (Level.SITE, Level.PROVINCE)  # whose LANs the zone matrix opens to others


class Kind(StrEnum):
    """What a prefix is for; it fixes the prefix lengths."""

    LAN = "lan"  # IPv4 by the sizing rule, IPv6 /64
    LOOPBACK = "loopback"  # /32 and /128
    LINK = "link"  # /31 and /127


class Registered(Model):
    """Space that the province may use, as registered; it may have grown by more entries over time."""

    prefix: DualPrefix
    source: str = Field(
        min_length=1, description="who registered it, with number and date; or that it is a placeholder"
    )


class Pool(Model):
    """A part of the registered space, in both families, for one routing domain."""

    domain: str
    prefix: DualPrefix


class Domain(Model):
    """A routing domain (VRF)."""

    title: Text
    ipv6_block: int = Field(ge=32, le=120, description="prefix length of one unit's block in IPv6")
    leaks: tuple[str, ...] = Field(
        default=(), description="domains with which routes are exchanged by policy"
    )
    mesh: bool = Field(
        default=False,
        description="units talk to each other within a purpose (voice and video), with priority on the circuits",
    )


class Purpose(Model):
    """What a prefix of a unit is for."""

    title: Text
    kind: Kind = Kind.LAN
    domain: str
    zone: str = ""
    vlan: int | None = Field(
        default=None, ge=2, le=4094, description="VLAN id (IEEE 802.1Q); none for loopbacks"
    )
    hosts: dict[Level, int] = Field(
        description="level -> hosts that must fit, at least 1; no entry: no prefix"
    )
    plane: int | None = Field(
        default=None,
        ge=1,
        description="links: plane of the carrier that it goes to; none: it joins the unit's own two routers",
    )

    @field_validator("hosts")
    @classmethod
    def _positive(cls, hosts: dict[Level, int]) -> dict[Level, int]:
        for level, count in hosts.items():
            if count < 1:
                raise ValueError(f"{level}: {count} hosts; leave the level out if it has none")
        return hosts

    @model_validator(mode="after")
    def _kind(self) -> Self:
        if self.kind is Kind.LAN and not self.zone:
            raise ValueError("a LAN needs a zone")
        if (self.kind is Kind.LOOPBACK) != (self.vlan is None):
            raise ValueError(f"vlan {self.vlan}: LANs and links have one, loopbacks have none")
        return self

    def lengths(self, level: Level) -> tuple[int, int]:
        """Return the (IPv4, IPv6) prefix lengths; an IPv4 LAN has network, broadcast and gateway besides hosts."""
        if self.kind is Kind.LOOPBACK:
            return 32, 128
        if self.kind is Kind.LINK:
            return 31, 127
        return 32 - (self.hosts[level] + 2).bit_length(), 64


class Bfd(Model):
    """Detection of lost lines (RFC 5880): a line is down after `multiplier` intervals without a packet."""

    interval_ms: int = Field(ge=50, le=1000)
    multiplier: int = Field(ge=2, le=10)


class RouterRole(StrEnum):
    """Role of a router; one renderer each."""

    CORE = "core"
    TSLCD_GATEWAY = "tslcd_gateway"
    DISTRICT = "district"
    COMMUNE_1 = "commune_1"  # terminal device of access level I
    COMMUNE_2 = "commune_2"  # terminal device of access level II


class Ports(Model):
    """Physical ports of a role's device."""

    lan: int = Field(ge=1)
    wan: int = Field(ge=1)
    source: str


class RouterRule(Model):
    """Routers that every unit of a level has."""

    level: Level
    role: RouterRole
    count: int = Field(default=1, ge=1, le=4)


class CircuitRule(Model):
    """A circuit that every unit of a level, or one unit, has."""

    level: Level | None = None
    unit: str = ""
    link: str = Field(description="purpose of kind link that it carries")
    capacity_mbps: int = Field(ge=1)
    route: str = Field(
        default="", description="physical route id; default: <unit>-<link>, a placeholder until surveyed"
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.level is None) == (self.unit == ""):
            raise ValueError("give either level or unit")
        return self


class Network(Model):
    """`network.yaml` of a site."""

    quarantine_days: int = Field(
        ge=0, description="days that released space rests before it may be used again"
    )
    names_kept_days: int = Field(ge=0, description="days that the old names of a unit keep answering")
    registered: tuple[Registered, ...] = Field(min_length=1)
    pools: dict[str, Pool]
    domains: dict[str, Domain]
    purposes: dict[str, Purpose]
    zoning: ZonePlan
    roles: dict[RouterRole, Ports] = Field(default_factory=dict)
    routers: tuple[RouterRule, ...] = ()
    circuits: tuple[CircuitRule, ...] = ()
    bfd: Bfd = Bfd(interval_ms=100, multiplier=3)

    @model_validator(mode="after")
    def _pools(self) -> Self:
        for name, pool in self.pools.items():
            if pool.domain not in self.domains:
                raise ValueError(f"pools.{name}.domain names unknown domain {pool.domain!r}")
            for family in ("ipv4", "ipv6"):
                inner = getattr(pool.prefix, family)
                if not any(inner.subnet_of(getattr(r.prefix, family)) for r in self.registered):
                    raise ValueError(
                        f"pools.{name}.prefix.{family} {inner} is outside the registered allocation"
                    )
        for (name, pool), (other, second) in combinations(self.pools.items(), 2):
            for mine, theirs in (
                (pool.prefix.ipv4, second.prefix.ipv4),
                (pool.prefix.ipv6, second.prefix.ipv6),
            ):
                if mine.overlaps(theirs):  # type: ignore[arg-type]
                    raise ValueError(
                        f"pools.{other} {theirs} overlaps pools.{name} {mine}; choose disjoint prefixes"
                    )
        return self

    @model_validator(mode="after")
    def _domains(self) -> Self:
        for name, domain in self.domains.items():
            if unknown := [each for each in domain.leaks if each not in self.domains or each == name]:
                raise ValueError(f"domains.{name}.leaks names unknown domain {unknown[0]!r}")
            kinds = {p.kind is Kind.LAN for p in self.purposes.values() if p.domain == name}
            if kinds == {True, False}:
                raise ValueError(
                    f"domains.{name} has LANs and loopbacks or links; give the latter a domain of their own"
                )
            if kinds == {True} and domain.ipv6_block > 64:
                raise ValueError(f"domains.{name}.ipv6_block /{domain.ipv6_block} holds no /64 for a LAN")
            if kinds and not any(pool.domain == name for pool in self.pools.values()):
                raise ValueError(f"domains.{name} has purposes and no pool")
        return self

    @model_validator(mode="after")
    def _purposes(self) -> Self:
        taken: dict[tuple[Level, int], str] = {}
        for name, purpose in self.purposes.items():
            if purpose.domain not in self.domains:
                raise ValueError(f"purposes.{name}.domain names unknown domain {purpose.domain!r}")
            if purpose.zone and purpose.zone not in self.zoning.zones:
                raise ValueError(f"purposes.{name}.zone names unknown zone {purpose.zone!r}")
            for level in purpose.hosts:
                if purpose.zone in CENTRAL and level not in HUBS:
                    raise ValueError(
                        f"purposes.{name}.hosts.{level}: zone {purpose.zone!r} is of the site and the province only; "
                        "name another zone for units' LANs"
                    )
                if purpose.vlan is not None:
                    other = taken.setdefault((level, purpose.vlan), name)
                    if other != name:
                        raise ValueError(
                            f"purposes.{name}.vlan {purpose.vlan} is also that of {other} for {level}; choose another"
                        )
        return self

    @model_validator(mode="after")
    def _devices(self) -> Self:
        for number, rule in enumerate(self.routers):
            if rule.role not in self.roles:
                raise ValueError(f"routers.{number}.role {rule.role} has no ports in roles")
        for number, circuit in enumerate(self.circuits):
            purpose = self.purposes.get(circuit.link)
            if purpose is None or purpose.kind is not Kind.LINK:
                raise ValueError(f"circuits.{number}.link {circuit.link!r} is no purpose of kind link")
        return self

    def of_domain(self, domain: str, level: Level) -> dict[str, Purpose]:
        """Return the purposes that a unit of a level has in a domain, in the order of the file."""
        return {n: p for n, p in self.purposes.items() if p.domain == domain and level in p.hosts}

    def spaces(self, domain: str) -> tuple[list[IPv4Network], list[IPv6Network]]:
        """Return the prefixes of a domain's pools per family."""
        pools = [p.prefix for p in self.pools.values() if p.domain == domain]
        return [p.ipv4 for p in pools], [p.ipv6 for p in pools]
