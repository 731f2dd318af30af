"""What a router's files need besides the network: central servers, who manages, limits. No defaults that are facts."""

from __future__ import annotations

from typing import Self

from pydantic import ConfigDict, Field, SecretStr, field_validator, model_validator

from infra.model.base import Model
from infra.model.net import DualAddress, DualPrefix


class Syslog(Model):
    """The central log server, reached over TLS (RFC 5425)."""

    server: DualAddress
    name: str = Field(description="name in its certificate")
    ca: str = Field(default="/etc/ssl/certs/tinh-site.pem", description="its CA's file on the router")


class Snmp(Model):
    """The SNMPv3 user that reads (RFC 3414, 3826: authPriv); the values come from the secret store at apply time."""

    user: str = Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")
    auth: SecretStr
    privacy: SecretStr

    @field_validator("auth", "privacy")
    @classmethod
    def _quotable(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        if len(text) < 8 or not text.isprintable() or '"' in text or "\\" in text:
            raise ValueError(
                "an SNMP secret has at least 8 printable characters, without quotes and backslashes"
            )
        return value


class Authority(Model):
    """The province's own zones: which server answers, and by which keys (DS records, RFC 4034 5)."""

    server: DualAddress
    zones: tuple[str, ...] = Field(min_length=1)
    anchors: tuple[str, ...]

    @model_validator(mode="after")
    def _known(self) -> Self:
        named = {anchor.split()[0].rstrip(".") for anchor in self.anchors}
        if missing := [zone for zone in self.zones if zone not in named]:
            raise ValueError(f"zone {missing[0]} has no DS record: nobody could tell a forged answer")
        return self


class Limits(Model):
    """Limits per source address, against floods (circular 12/2022 annex III, II.1.b.vi)."""

    connections: int = Field(default=1000, ge=1, description="open at one time")
    rate: int = Field(default=200, ge=1, description="new ones a second")
    burst: int = Field(default=400, ge=1, description="new ones at once")


class Options(Model):
    """Arguments of all renderers.

    Args:
        management: from where routers are managed, besides the management zone of the site and the province.
        dns: resolver that terminal devices ask; none: they give no names.
        authority: what the resolver of the core routers asks; none: they have none.
        ntp: the province's time; none: they give no time.
    """

    # Pydantic takes this from the outermost model: inputs below hold secrets.
    model_config = ConfigDict(hide_input_in_errors=True)

    management: tuple[DualPrefix, ...] = ()
    dns: DualAddress | None = None
    authority: Authority | None = None
    ntp: DualAddress | None = None
    syslog: Syslog | None = None
    snmp: Snmp | None = None
    agentx: bool = Field(default=False, description="FRR gives its tables to snmpd")
    limits: Limits = Limits()
