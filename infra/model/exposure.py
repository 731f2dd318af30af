"""How a published name meets its clients: `exposure` in a platform's facts. Every setting has a safe default."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from infra.model.base import Model

Duration = Annotated[str, Field(pattern=r"^([1-9][0-9]{0,4}(h|m|s|ms)){1,4}$")]
"""A duration as Gateway API writes it (GEP-2257): hours, minutes, seconds, milliseconds."""

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "PROPPATCH", "MKCOL"]

#: Seconds; one year, the minimum of the browsers' preload lists (https://hstspreload.org).
YEAR = 31_536_000
_UNITS = {"Ki": 1 << 10, "Mi": 1 << 20}
#: The gateway holds a whole body in memory before the backend sees it: bytes.
LARGEST_BODY = 64 << 20

#: Content types of bodies that the firewall takes at every name, and reads: what the rule set allows by itself
#: (REQUEST-901-INITIALIZATION.conf); naming others replaces the whole list.
READ_TYPES = (
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "text/xml",
    "application/xml",
    "application/soap+xml",
    "application/json",
)

#: Sent where the backend says nothing itself. Source: OWASP Secure Headers Project.
SAFE_HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'self'",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
}


def size(text: str) -> int:
    """Return the bytes of a size such as `512Ki` or `10Mi`."""
    return int(text[:-2]) * _UNITS[text[-2:]]


class RateLimit(Model):
    """Requests that one proxy of the gateway takes; what comes on top is answered with 429.

    A unit behind one address (NAT, a proxy) counts as one client. A client with many IPv6 addresses counts as many,
    which is what the limit of all together is for.
    """

    requests: int = Field(default=100, ge=1, le=1_000_000, description="from one address")
    everybody: int = Field(
        default=2000, ge=1, le=1_000_000, description="from all addresses of a family together"
    )
    per: Literal["second", "minute", "hour"] = "second"

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.requests > self.everybody:
            raise ValueError(f"one client may send {self.requests}, but all together only {self.everybody}")
        return self


class Timeouts(Model):
    """How long the gateway waits."""

    headers: Duration = Field(default="10s", description="for all headers of a request; a slow sender is cut")
    request: Duration = Field(default="1m", description="for a whole request, its body included")
    response: Duration = Field(default="1m", description="for the whole answer of the backend")
    idle: Duration = Field(default="5m", description="a connection or stream on which nothing happens")


class Hsts(Model):
    """HTTP Strict Transport Security (RFC 6797)."""

    max_age: int = Field(default=YEAR, ge=0, description="seconds; 0 takes it back")
    include_subdomains: bool = Field(
        default=False, description="names below this one too, also those that others publish"
    )
    preload: bool = False

    @model_validator(mode="after")
    def _preload(self) -> Self:
        if self.preload and not (self.include_subdomains and self.max_age >= YEAR):
            raise ValueError("preload needs include_subdomains and a max_age of at least a year")
        return self

    @property
    def value(self) -> str:
        """Value of the header."""
        more = ("; includeSubDomains" if self.include_subdomains else "") + (
            "; preload" if self.preload else ""
        )
        return f"max-age={self.max_age}{more}"


class Clients(Model):
    """Mutual TLS: only clients with a certificate are served; the others do not get past the handshake."""

    authority: str = Field(
        pattern=r"^[a-z0-9][a-z0-9-]{0,30}$",
        description="whose certificates: `authorities/<this>.pem` of the site",
    )
    names: tuple[str, ...] = Field(
        default=(),
        description="DNS names of the certificates (SAN) that are let in; none: all of the authority",
    )


class SignIn(Model):
    """People sign in at `identity` before they get anything: for backends that have no sign-in of their own.

    Everybody in the realm is let in.
    """

    scopes: tuple[str, ...] = ("openid", "profile", "email")
    logout: str = Field(default="/logout", pattern=r"^/\S+$", description="path that signs out")


class WafException(Model):
    """A rule that does not fit this name."""

    rule: int = Field(ge=900_000, le=999_999, description="number of the rule in the OWASP Core Rule Set")
    field: str = Field(
        default="",
        pattern=r"^([A-Za-z0-9_-][A-Za-z0-9_.-]{0,99})?$",
        description="field of forms in which it does not fit; empty: it fits nowhere",
    )
    reason: str = Field(min_length=8, description="what it mistakes for an attack")


class Waf(Model):
    """The web application firewall: OWASP Core Rule Set in front of the name. What it does not see: docs/edge.md."""

    mode: Literal["block", "detect", "off"] = Field(
        default="block", description="detect: what would be refused is only written to the log"
    )
    paranoia: int = Field(default=1, ge=1, le=4, description="more finds more, and mistakes more for attacks")
    methods: tuple[Method, ...] = ("GET", "HEAD", "POST", "OPTIONS")
    content_types: tuple[str, ...] = Field(
        default=(), description="of bodies, besides forms, uploads, XML and JSON; such as application/pdf"
    )
    text: str = Field(
        default="32Ki",
        pattern=r"^[1-9][0-9]{0,4}(Ki|Mi)$",
        description="most text of a body, files of uploads and `content_types` not counted; 413 for more: every rule "
        "reads all of it",
    )
    exceptions: tuple[WafException, ...] = ()
    when_down: Literal["refuse", "pass"] = Field(
        default="refuse", description="what becomes of requests while the firewall does not answer"
    )

    @field_validator("content_types")
    @classmethod
    def _are_types(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            if not re.fullmatch(r"[a-z0-9.+-]+/[a-z0-9.+-]+", text):
                raise ValueError(f"{text!r} is no content type, such as application/pdf")
            if text in READ_TYPES:
                raise ValueError(
                    f"{text!r} is taken anyway, and named here it would not be looked at; remove it"
                )
        return value


class Exposure(Model):
    """All settings of one published name."""

    rate: RateLimit = RateLimit()
    body: str | None = Field(
        default="10Mi",
        pattern=r"^[1-9][0-9]{0,4}(Ki|Mi)$",
        description="largest request body; 413 for more. null: bodies and WebSockets are streamed, without a limit "
        "and unseen by the firewall, which then looks at headers only",
    )
    timeouts: Timeouts = Timeouts()
    hsts: Hsts = Hsts()
    headers: dict[str, str] = Field(
        default=SAFE_HEADERS, description="of answers, where the backend does not send them itself"
    )
    clients: Clients | None = None
    sign_in: SignIn | None = None
    waf: Waf = Waf()

    @field_validator("body")
    @classmethod
    def _fits_memory(cls, value: str | None) -> str | None:
        if value is not None and size(value) > LARGEST_BODY:
            raise ValueError(
                f"the gateway keeps a body of up to {value} in memory; at most {LARGEST_BODY >> 20}Mi, or null"
            )
        return value

    @field_validator("headers")
    @classmethod
    def _are_headers(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not re.fullmatch(r"[A-Za-z0-9-]+", name) or not re.fullmatch(r"[\x20-\x7e]+", text):
                raise ValueError(f"{name!r}: {text!r} is no header (RFC 9110, 5.1 and 5.5)")
            if name.lower() == "strict-transport-security":
                raise ValueError(f"{name} is not set here, but by hsts")
        return value
