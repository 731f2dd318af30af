"""Zones and the matrix of what may pass between them; everything that no rule allows is dropped, both ways.

Source: Circular 12/2022/TT-BTTTT annex III, II.1.a (at least seven zones at level 3) and II.1.b.iv (protection of
databases); TCVN 14423:2026 5.12.2.4 d (block what is not listed).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, Self

from pydantic import Field, model_validator

from infra.model.base import Model, Text


class Zone(StrEnum):
    """The seven zones of the circular; a site may name more."""

    INTERNAL = "internal"
    BORDER = "border"
    DMZ = "dmz"
    INTERNAL_SERVERS = "internal_servers"
    WIRELESS = "wireless"
    DATABASE_SERVERS = "database_servers"
    MANAGEMENT = "management"


#: Zones of data centres alone: who is in one is the site's or the province's.
CENTRAL = frozenset({Zone.BORDER, Zone.DMZ, Zone.INTERNAL_SERVERS, Zone.DATABASE_SERVERS})


class Service(Model):
    """What passes: a protocol and, for TCP and UDP, destination ports."""

    protocol: Literal["tcp", "udp", "icmp"] = Field(description="icmp: ICMP in IPv4 and ICMPv6 in IPv6")
    ports: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _ports(self) -> Self:
        if (self.protocol == "icmp") == bool(self.ports):
            raise ValueError("tcp and udp need ports, icmp has none")
        for port in self.ports:
            if not 0 < port < 65536:
                raise ValueError(f"port {port} is not 1-65535")
        return self


class Rule(Model):
    """One service that is allowed, or named as forbidden, from one zone to another, in both families."""

    source: str = Field(alias="from")
    target: str = Field(alias="to")
    service: str
    allow: bool = True
    hub: bool = Field(default=False, description="only from LANs of the site and the province")
    reason: str = Field(min_length=1, description="why; goes into the rendered policy")

    @property
    def label(self) -> str:
        """Zones and service, for messages."""
        return f"{self.source} -> {self.target} {self.service}"


class ZonePlan(Model):
    """Zones, services and rules of a site."""

    zones: dict[str, Text]
    services: dict[str, Service]
    rules: tuple[Rule, ...]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if missing := sorted(set(Zone) - set(self.zones)):
            raise ValueError(f"zones of Circular 12/2022 annex III are missing: {', '.join(missing)}")
        seen: set[tuple[str, str, str]] = set()
        for number, rule in enumerate(self.rules):
            at = f"rules.{number}"
            for key, zone in (("from", rule.source), ("to", rule.target)):
                if zone not in self.zones:
                    raise ValueError(
                        f"{at}.{key} names unknown zone {zone!r}; use one of {', '.join(self.zones)}"
                    )
            if rule.service not in self.services:
                raise ValueError(f"{at}.service names unknown service {rule.service!r}")
            if rule.allow and (rule.source, rule.target) == (Zone.DMZ, Zone.DATABASE_SERVERS):
                raise ValueError(
                    f"{at} opens {rule.source!r} to {rule.target!r} for {rule.service!r} (circular 12/2022: databases "
                    f"are not reached from the DMZ); go through a server in {Zone.INTERNAL_SERVERS!r}"
                )
            key = (rule.source, rule.target, rule.service)
            if key in seen:
                raise ValueError(f"{at} repeats {rule.label}")
            seen.add(key)
        return self

    def allowed(self, source: str, target: str) -> list[str]:
        """Return the services that may pass from one zone to another, in the order of the rules."""
        return [r.service for r in self.rules if r.allow and (r.source, r.target) == (source, target)]

    def matrix(self) -> dict[tuple[str, str], list[str]]:
        """Return every ordered pair of different zones with the services that may pass."""
        return {(a, b): self.allowed(a, b) for a in self.zones for b in self.zones if a != b}
