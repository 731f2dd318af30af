"""Issuer and times of the certificates: site data that is refused when it cannot work."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.errors import TinhError
from infra.model.base import validate
from infra.model.certificates import (
    AcmeIssuer,
    CaIssuer,
    Certificates,
    authority_bundle,
    canonical,
    length,
)
from lab.pki import ensure_ca

ACME = {"kind": "acme", "server": "https://ca.gov.example/acme/directory", "email": "noc@province.example"}


@pytest.mark.parametrize(
    ("text", "stored"),
    [("2160h", "2160h0m0s"), ("59m", "59m0s"), ("90m", "1h30m0s"), ("1h30s", "1h0m30s"), ("5s", "5s")],
)
def test_a_duration_is_declared_as_cert_manager_stores_it(text: str, stored: str) -> None:
    assert canonical(text) == canonical(stored) == stored


def test_without_a_word_the_sites_own_authority_signs_for_90_days() -> None:
    found = Certificates()
    assert found.issuer == CaIssuer(authority="ca")
    assert length(found.duration) == timedelta(days=90)
    assert length(found.alarm) < length(found.renew_before)


def test_durations_are_read_as_the_cluster_writes_them() -> None:
    assert length("2160h0m0s") == timedelta(days=90)
    assert length("1h30m") == timedelta(minutes=90)
    assert length("500ms") == timedelta(milliseconds=500)


def test_an_acme_authority_with_an_account() -> None:
    data = {"issuer": ACME | {"account": {"key_id": "province-44", "secret": "acme-account"}}}
    issuer = validate(Certificates, data, Path("site.yaml")).issuer
    assert isinstance(issuer, AcmeIssuer)
    assert issuer.account
    assert issuer.account.key_id == "province-44"


@pytest.mark.parametrize(
    ("data", "place"),
    [
        ({"issuer": {"kind": "vault"}}, "issuer"),
        ({"issuer": {"kind": "ca", "authority": "../ca"}}, "issuer.ca.authority"),
        ({"issuer": ACME | {"server": "http://ca.gov.example/"}}, "is not https"),
        ({"issuer": ACME | {"email": "noc"}}, "issuer.acme.email"),
        ({"issuer": ACME | {"account": {"key_id": ""}}}, "issuer.acme.account"),
        ({"duration": "30m", "renew_before": "10m", "alarm": "5m"}, "duration 30m is not within"),
        ({"duration": "9000h"}, "duration 9000h is not within"),
        ({"renew_before": "1m", "alarm": "30s"}, "renew_before 1m is not within"),
        ({"duration": "48h", "renew_before": "48h", "alarm": "1h"}, "renew_before 48h is not within"),
        ({"alarm": "720h"}, "red before anything was renewed"),
        ({"duration": "90d"}, "duration"),
    ],
)
def test_what_cannot_work_is_refused_at_its_place(data: dict[str, Any], place: str) -> None:
    with pytest.raises(TinhError, match=place):
        validate(Certificates, data, Path("site.yaml"))


def test_an_authority_is_read_from_the_sites_folder(tmp_path: Path) -> None:
    folder = tmp_path / "lab" / "authorities"
    folder.mkdir(parents=True)
    text = ensure_ca(tmp_path, "Agencies").read_text("utf-8")
    (folder / "agencies.pem").write_text(text, "utf-8")
    assert authority_bundle("lab", "agencies", root=tmp_path) == text
    (folder / "agencies.pem").write_text(text + (tmp_path / "ca.key").read_text("utf-8"), "utf-8")
    with pytest.raises(TinhError, match="private key"):
        authority_bundle("lab", "agencies", root=tmp_path)
    (folder / "agencies.pem").write_text("nothing", "utf-8")
    with pytest.raises(TinhError, match="no certificates"):
        authority_bundle("lab", "agencies", root=tmp_path)
    with pytest.raises(TinhError, match="does not know the authority 'others'"):
        authority_bundle("lab", "others", root=tmp_path)
