"""How a published name meets its clients: safe without a word, and what is wrong is refused at its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.errors import TinhError
from infra.model.exposure import LARGEST_BODY, SAFE_HEADERS, Exposure, Hsts, size
from infra.model.platform import PLATFORMS, load_platform, load_platforms
from infra.model.site import Site


def write(root: Path, name: str, exposure: Any, **more: Any) -> None:
    facts = (
        yaml.safe_load((PLATFORMS / "identity" / "platform.yaml").read_text("utf-8")) | {"id": name} | more
    )
    (root / name).mkdir()
    text = yaml.safe_dump(facts | {"exposure": exposure, "public_names": [name]})
    (root / name / "platform.yaml").write_text(text, "utf-8")


def test_a_name_of_which_nothing_is_said_is_safe() -> None:
    exposure = load_platform("identity").exposed("another")
    assert exposure == Exposure()
    assert exposure.waf.mode == "block"
    assert exposure.waf.when_down == "refuse"
    assert size(exposure.body or "") <= LARGEST_BODY
    assert exposure.hsts.value == "max-age=31536000"
    assert SAFE_HEADERS.items() <= exposure.headers.items()
    assert exposure.rate.requests <= exposure.rate.everybody


def test_hsts_says_what_is_chosen() -> None:
    assert Hsts(include_subdomains=True, preload=True).value == "max-age=31536000; includeSubDomains; preload"
    assert Hsts(max_age=0).value == "max-age=0"


@pytest.mark.parametrize(
    ("exposure", "place"),
    [
        ({"other": {}}, "exposure of other, which public_names does not list"),
        ({"web": {"rate": {"requests": 0}}}, "exposure.web.rate.requests"),
        ({"web": {"rate": {"requests": 50, "everybody": 20}}}, "may send 50, but all together only 20"),
        ({"web": {"rate": {"per": "day"}}}, "exposure.web.rate.per"),
        ({"web": {"body": "10"}}, "exposure.web.body"),
        ({"web": {"body": "65Mi"}}, "in memory; at most 64Mi, or null"),
        ({"web": {"timeouts": {"idle": "5 minutes"}}}, "exposure.web.timeouts.idle"),
        ({"web": {"timeouts": {"idle": "0s"}}}, "exposure.web.timeouts.idle"),
        ({"web": {"hsts": {"preload": True}}}, "preload needs include_subdomains"),
        (
            {"web": {"hsts": {"preload": True, "include_subdomains": True, "max_age": 60}}},
            "at least a year",
        ),
        ({"web": {"headers": {"X Y": "1"}}}, "is no header"),
        ({"web": {"headers": {"X-Y": "1\r\nSet-Cookie: a=b"}}}, "is no header"),
        ({"web": {"headers": {"strict-transport-security": "max-age=0"}}}, "but by hsts"),
        ({"web": {"clients": {"authority": "../ca"}}}, "exposure.web.clients.authority"),
        ({"web": {"sign_in": {"logout": "out"}}}, "exposure.web.sign_in.logout"),
        ({"web": {"waf": {"mode": "maybe"}}}, "exposure.web.waf.mode"),
        ({"web": {"waf": {"paranoia": 5}}}, "exposure.web.waf.paranoia"),
        ({"web": {"waf": {"methods": ["TRACE"]}}}, "exposure.web.waf.methods.0"),
        (
            {"web": {"waf": {"exceptions": [{"rule": 42, "reason": "because of it"}]}}},
            "waf.exceptions.0.rule",
        ),
        ({"web": {"waf": {"exceptions": [{"rule": 942100, "reason": ""}]}}}, "waf.exceptions.0.reason"),
        (
            {"web": {"waf": {"exceptions": [{"rule": 941160, "field": "a,b", "reason": "because of it"}]}}},
            "waf.exceptions.0.field",
        ),
        ({"web": {"waf": {"when_down": "ignore"}}}, "exposure.web.waf.when_down"),
        ({"web": {"waf": {"text": "1"}}}, "exposure.web.waf.text"),
        ({"web": {"waf": {"content_types": ["pdf' | x"]}}}, "is no content type"),
        ({"web": {"waf": {"content_types": ["application/json"]}}}, "would not be looked at"),
    ],
)
def test_wrong_settings_are_refused_at_their_place(tmp_path: Path, exposure: Any, place: str) -> None:
    write(tmp_path, "web", exposure)
    with pytest.raises(TinhError, match=place):
        load_platform("web", root=tmp_path)


@pytest.mark.parametrize("switched_on", [["web"], ["identity"]])
def test_sign_in_needs_the_identity_platform_and_is_not_for_itself(
    tmp_path: Path, lab: Site, switched_on: list[str]
) -> None:
    (name,) = switched_on
    write(tmp_path, name, {name: {"sign_in": {}}})
    site = lab.model_copy(update={"platforms": switched_on})
    with pytest.raises(TinhError, match="need sign_in at platform identity"):
        load_platforms(site, root=tmp_path)


def test_sign_in_beside_the_identity_platform_is_taken(tmp_path: Path, lab: Site) -> None:
    write(tmp_path, "web", {"web": {"sign_in": {}}})
    write(tmp_path, "identity", {})
    site = lab.model_copy(update={"platforms": ["identity", "web"]})
    assert [platform.signs_in for platform in load_platforms(site, root=tmp_path)] == [False, True]


def test_sign_in_needs_the_realm_of_the_identity_platform(tmp_path: Path, lab: Site) -> None:
    write(tmp_path, "web", {"web": {"sign_in": {}}})
    write(tmp_path, "identity", {}, realm=None)
    site = lab.model_copy(update={"platforms": ["identity", "web"]})
    with pytest.raises(TinhError, match="need sign_in at platform identity"):
        load_platforms(site, root=tmp_path)
