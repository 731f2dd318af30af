"""Runs where people are: signs in through the identity platform and writes a page, with a browser's means.

Python 3 and its standard library; the request is JSON on standard input, the answer JSON on standard output::

    {"ca": FILE, "do": "enrol", "identity": URL, "realm": NAME, "admin": PASSWORD,
     "user": NAME, "password": TEXT, "groups": [NAME]} -> {"user": ID}
    {"ca": FILE, "do": "leave", "identity": URL, "realm": NAME, "admin": PASSWORD, "user": NAME} -> {}
    {"ca": FILE, "do": "write", "site": URL, "folder": PATH, "user": NAME, "password": TEXT, "title": TEXT}
    -> {"asked": URL of the login form, "landed": URL, "in": whether the site offers to sign out, "page": URL}
"""

from __future__ import annotations

import http.cookiejar
import json
import ssl
import sys
import urllib.parse
import urllib.request
from html.parser import HTMLParser
from typing import Any
from urllib.error import HTTPError


class Forms(HTMLParser):
    """The forms of a page with the values that a browser would send."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.forms: list[dict[str, Any]] = []
        self._area = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        at = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append({"action": at.get("action", ""), "id": at.get("id", ""), "values": {}})
        if self.forms and at.get("name"):
            values = self.forms[-1]["values"]
            if tag == "textarea":
                self._area = at["name"]
                values[self._area] = ""
            unchecked = at.get("type") in ("checkbox", "radio") and "checked" not in at
            if (
                tag == "input"
                and at.get("type") not in ("submit", "button", "file", "image")
                and not unchecked
            ):
                values[at["name"]] = at.get("value", "")

    def handle_data(self, data: str) -> None:
        if self._area:
            self.forms[-1]["values"][self._area] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            self._area = ""

    def named(self, field: str) -> dict[str, Any]:
        """Return the form that has a field."""
        return next(form for form in self.forms if field in form["values"])


class Browser:
    """A session with cookies."""

    def __init__(self, ca: str) -> None:
        context = ssl.create_default_context(cafile=ca or None)
        self.opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=context),
            urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()),
        )

    def open(self, url: str, data: Any = None, **headers: str) -> tuple[str, str]:
        """Return the final address and the text."""
        if isinstance(data, dict) and headers.get("Content-Type") == "application/json":
            body = json.dumps(data).encode()
        else:
            body = urllib.parse.urlencode(data).encode() if data is not None else None
        method = headers.pop("method", None)
        request = urllib.request.Request(url, body, headers, method=method)  # noqa: S310 - the test's own addresses
        try:
            with self.opener.open(request, timeout=60) as answer:
                return answer.url, answer.read().decode("utf-8", "replace")
        except HTTPError as error:
            raise SystemExit(f"{error.code} {url}: {error.read()[:600]!r}") from None


def _admin(asked: dict[str, Any]) -> tuple[Browser, str, dict[str, str]]:
    browser = Browser(asked["ca"])
    form = {
        "grant_type": "password",
        "client_id": "admin-cli",
        "username": "admin",
        "password": asked["admin"],
    }
    _, text = browser.open(f"{asked['identity']}/realms/master/protocol/openid-connect/token", form)
    headers = {
        "Authorization": f"Bearer {json.loads(text)['access_token']}",
        "Content-Type": "application/json",
    }
    return browser, f"{asked['identity']}/admin/realms/{asked['realm']}", headers


def _id(browser: Browser, realm: str, headers: dict[str, str], user: str) -> str:
    _, text = browser.open(f"{realm}/users?exact=true&username={user}", **headers)
    return next((each["id"] for each in json.loads(text)), "")


def enrol(asked: dict[str, Any]) -> dict[str, str]:
    """Make a person with a password that need not be changed, in some groups."""
    browser, realm, headers = _admin(asked)
    account = {
        "username": asked["user"],
        "enabled": True,
        "email": f"{asked['user']}@example.test",
        "emailVerified": True,
        "firstName": "Thử",
        "lastName": "Nghiệm",
        "groups": asked["groups"],
        "credentials": [{"type": "password", "value": asked["password"], "temporary": False}],
    }
    browser.open(f"{realm}/users", account, **headers)
    return {"user": _id(browser, realm, headers, asked["user"])}


def leave(asked: dict[str, Any]) -> dict[str, str]:
    """Remove a person."""
    browser, realm, headers = _admin(asked)
    if user := _id(browser, realm, headers, asked["user"]):
        browser.open(f"{realm}/users/{user}", None, method="DELETE", **headers)
    return {}


def write(asked: dict[str, Any]) -> dict[str, str]:
    """Sign in at a site, and write a page into a folder of it when there is a title."""
    browser, site = Browser(asked["ca"]), asked["site"]
    form_at, text = browser.open(f"{site}/login")
    form = Forms(text).named("password")
    values = form["values"] | {"username": asked["user"], "password": asked["password"]}
    landed, text = browser.open(urllib.parse.urljoin(form_at, form["action"]), values)
    answer = {
        "asked": form_at,
        "landed": landed,
        "in": str("acl_users/oidc/logout" in text or "/logout" in text),
    }
    if not asked.get("title"):
        return answer
    add = f"{site}/{asked['folder']}/++add++Document"
    _, text = browser.open(add)
    field = "form.widgets.IDublinCore.title"
    form = Forms(text).named(field)
    values = form["values"] | {field: asked["title"], "form.buttons.save": "Save"}
    page, _ = browser.open(urllib.parse.urljoin(add, form["action"]), values)
    return answer | {"page": page.removesuffix("/view")}


if __name__ == "__main__":
    wanted = json.load(sys.stdin)
    json.dump({"enrol": enrol, "leave": leave, "write": write}[wanted["do"]](wanted), sys.stdout)
