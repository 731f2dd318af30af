"""Certificates of the published names: who signs them, how long they live, when somebody must look: site data."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

from cryptography import x509
from pydantic import Field, HttpUrl, model_validator

from infra import paths
from infra.errors import TinhError
from infra.model.base import Model
from infra.model.exposure import Duration

#: What cert-manager accepts at least (pkg/apis/certmanager/v1/const.go).
SHORTEST, LATEST = timedelta(hours=1), timedelta(minutes=5)
#: The longest that browsers accept from 15 March 2026 on (CA/Browser Forum, ballot SC-081v3).
LONGEST = timedelta(days=200)

#: The authority that every site has for what only its own services use.
SITE_AUTHORITY = "ca"

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")]


def length(text: str) -> timedelta:
    """Return a duration such as `2160h` or `1h30m`."""
    units = {"h": "hours", "m": "minutes", "s": "seconds", "ms": "milliseconds"}
    parts = re.findall(r"(\d+)(h|ms|m|s)", text)
    return sum((timedelta(**{units[unit]: int(number)}) for number, unit in parts), timedelta())


def canonical(text: str) -> str:
    """Return a duration of whole seconds as Go writes it, `2160h0m0s`.

    cert-manager stores it so (`metav1.Duration`); another form would be a change at every `tinh up`.
    """
    minutes, seconds = divmod(round(length(text).total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{seconds}s" if hours else f"{minutes}m{seconds}s" if minutes else f"{seconds}s"


class CaIssuer(Model):
    """An authority whose key the site holds: its own, or one that the Government's CA has signed for it."""

    kind: Literal["ca"] = "ca"
    authority: Name = Field(
        default=SITE_AUTHORITY,
        description="`pki/<this>.crt` (with the chain above it) and `.key` in the site's state",
    )


class Account(Model):
    """External account binding (RFC 8555, 7.3.4): what an authority gives to those that it knows."""

    key_id: str = Field(min_length=1)
    secret: Name = Field(description="file in `secrets/` of the site's state: the HMAC key, base64url")


class AcmeIssuer(Model):
    """An authority that speaks ACME (RFC 8555): the Government's CA or a public one; proof over port 80."""

    kind: Literal["acme"]
    server: HttpUrl = Field(description="address of the directory")
    email: str = Field(
        pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$", description="who is told when something is wrong"
    )
    authority: Name | None = Field(
        default=None,
        description="`authorities/<this>.pem` of the site, where no browser knows the server's own",
    )
    account: Account | None = None

    @model_validator(mode="after")
    def _encrypted(self) -> Self:
        if self.server.scheme != "https":
            raise ValueError(f"server {self.server} is not https (RFC 8555, 6.1)")
        return self


class Certificates(Model):
    """Issuer, times and alarm of all published names."""

    issuer: Annotated[CaIssuer | AcmeIssuer, Field(discriminator="kind")] = CaIssuer()
    duration: Duration = Field(default="2160h", description="life of a certificate")
    renew_before: Duration = Field(default="720h", description="it is renewed so long before its end")
    alarm: Duration = Field(
        default="336h",
        description="`tinh status` is red when a certificate ends sooner: renewal has failed by then",
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        life, renewal, alarm = (length(text) for text in (self.duration, self.renew_before, self.alarm))
        if not SHORTEST <= life <= LONGEST:
            raise ValueError(f"duration {self.duration} is not within 1h and {LONGEST.days} days")
        if not LATEST <= renewal < life:
            raise ValueError(
                f"renew_before {self.renew_before} is not within 5m and the duration, {self.duration}"
            )
        if not alarm < renewal:
            raise ValueError(
                f"alarm {self.alarm} is not less than renew_before {self.renew_before}: "
                "it would be red before anything was renewed"
            )
        return self


def authority_bundle(site: str, name: str, *, root: Path | None = None) -> str:
    """Return the certificates of an authority that a site trusts: `authorities/<name>.pem` beside its site file.

    Raises:
        TinhError: there is no such file, or it is not PEM certificates.
    """
    file = (root or paths.SITES) / site / "authorities" / f"{name}.pem"
    try:
        text = file.read_text("utf-8")
        x509.load_pem_x509_certificates(text.encode())
    except FileNotFoundError:
        raise TinhError(
            f"site {site} does not know the authority {name!r}",
            where=str(file),
            fix="put its certificates there (PEM), or correct `authority`",
        ) from None
    except ValueError as error:
        raise TinhError(
            f"no certificates: {error}", where=str(file), fix="PEM: -----BEGIN CERTIFICATE-----"
        ) from None
    if "PRIVATE KEY" in text:
        raise TinhError("a private key is in a file of certificates", where=str(file), fix="remove the key")
    return text
