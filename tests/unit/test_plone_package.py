"""What the image's package is, as far as it can be looked at without Plone."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterable
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from infra.model.platform import PLATFORMS

PACKAGE = PLATFORMS / "plone" / "image" / "src" / "tinh_plone"


@pytest.fixture(scope="module")
def public() -> Any:
    spec = importlib.util.spec_from_file_location("public", PACKAGE / "public.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("url", "before"),
    [
        ("https://a.test", "/VirtualHostBase/https/a.test:443/site/VirtualHostRoot"),
        ("http://a.test:8081", "/VirtualHostBase/http/a.test:8081/site/VirtualHostRoot"),
        ("https://[fd77::1]", "/VirtualHostBase/https/[fd77::1]:443/site/VirtualHostRoot"),
    ],
)
def test_every_request_is_one_to_the_site_at_its_published_address(
    public: Any, url: str, before: str
) -> None:
    assert public.prefix("site", url) == before


Answer = tuple[str, list[tuple[str, str]], str]


@pytest.fixture
def ask(public: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Answer]:
    monkeypatch.setenv("PLONE_SITE", "site")
    monkeypatch.setenv("PLONE_URL", "https://a.test")

    def zope(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        start("200 OK", [("X-Powered-By", "Zope 6"), ("Content-Type", "text/html")])
        return [environ["PATH_INFO"].encode()]

    filtered = public.make_filter({})(zope)

    def one(path: str) -> Answer:
        told: list[Any] = []
        body = b"".join(filtered({"PATH_INFO": path}, lambda *answer: told.extend(answer)))
        return told[0], told[1], body.decode()

    return one


def test_the_root_and_other_addresses_cannot_be_asked_for(ask: Callable[[str], Answer]) -> None:
    for path in ("/VirtualHostBase/http/evil:80/VirtualHostRoot/", "/a/VirtualHostRoot/x", "/_vh_x/y"):
        assert ask(path)[0].startswith("400")


def test_versions_are_not_told(ask: Callable[[str], Answer]) -> None:
    status, headers, path = ask("/tin-tuc")
    assert (status, headers) == ("200 OK", [("Content-Type", "text/html")])
    assert path == "/VirtualHostBase/https/a.test:443/site/VirtualHostRoot/tin-tuc"


def texts() -> set[str]:
    """Return every text of the package that is marked for translation."""
    found = set()
    for file in [*PACKAGE.rglob("*.xml"), *PACKAGE.rglob("*.pt")]:
        for element in ElementTree.parse(file).iter():
            mark = element.get("{http://xml.zope.org/namespaces/i18n}translate")
            if mark == "" and element.text:
                found.add(element.text)
    return found


def test_every_text_has_an_english_translation() -> None:
    catalogue = (PACKAGE / "locales" / "en" / "LC_MESSAGES" / "tinh_plone.po").read_text("utf-8")
    translated = dict(re.findall(r'^msgid "(.+)"\nmsgstr "(.+)"$', catalogue, re.MULTILINE))
    assert texts()
    assert texts() <= translated.keys()


def test_seed_content_of_the_gazette_fills_fields_that_its_types_have() -> None:
    pages = yaml.safe_load((PLATFORMS / "gazette" / "content.yaml").read_text("utf-8"))
    common = {"title", "description"}
    for item in pages["samples"]:
        model = ElementTree.parse(PACKAGE / "models" / f"{item['type']}.xml")
        fields = [element for element in model.iter() if element.tag.endswith("}field")]
        required = {
            field.get("name")
            for field in fields
            if not any(child.tag.endswith("}required") and child.text == "False" for child in field)
        }
        assert required <= item["values"].keys()
        assert item["values"].keys() <= common | {field.get("name") for field in fields}


def test_no_password_and_no_address_of_a_database_is_in_the_configuration() -> None:
    conf = (PACKAGE / "etc" / "zope.conf").read_text("utf-8")
    assert re.findall(r"^ +dsn (.*)$", conf, re.MULTILINE) == ["application_name=plone"]
    assert "shared-blob-dir false" in conf
    assert not list(PACKAGE.rglob("inituser")) + list(PACKAGE.rglob("access"))


def test_the_server_listens_in_both_families() -> None:
    assert "listen = *:8080" in (PACKAGE / "etc" / "zope.ini").read_text("utf-8")
