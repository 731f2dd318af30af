"""Runs where people are: signs in through the identity platform and writes a page, with a browser's means.

Python 3 and its standard library; the request is JSON on standard input, the answer JSON on standard output::

    {"ca": FILE, "do": "enrol", "identity": URL, "realm": NAME, "admin": PASSWORD,
     "user": NAME, "password": TEXT, "groups": [NAME]} -> {"user": ID}
    {"ca": FILE, "do": "leave", "identity": URL, "realm": NAME, "admin": PASSWORD, "user": NAME} -> {}
    {"ca": FILE, "do": "write", "site": URL, "folder": PATH, "user": NAME, "password": TEXT, "title": TEXT}
    -> {"asked": URL of the login form, "landed": URL, "in": whether the site offers to sign out, "page": URL}
    {"ca": FILE, "do": "publish", "site": URL, "folder": PATH, "user": NAME, "password": TEXT, "title": TEXT,
     "html": TEXT with {file} and {image}, "bytes": NUMBER}
    -> {"page": URL, "file": URL, "image": URL, "sha256": of the file}
    {"ca": FILE, "do": "register", "identity": URL, "realm": NAME, "admin": PASSWORD, "client": OBJECT} -> {}
    {"ca": FILE, "do": "deregister", "identity": URL, "realm": NAME, "admin": PASSWORD, "client": ID} -> {}
    {"ca": FILE, "do": "visit", "site": URL, "address": IP, "user": NAME, "password": TEXT}
    -> {"asked": URL of the login form, "landed": URL, "page": TEXT}; when it landed at the site, also
       {"again": [STATUS, TEXT], "wrong": {what is wrong with the cookies: [STATUS, LOCATION, TEXT]},
        "out": URL, "after": URL}
"""

from __future__ import annotations

import base64
import hashlib
import http.cookiejar
import json
import os
import socket
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


class Files(dict[str, tuple[str, bytes]]):
    """Files of a form: field -> name and content."""


class Stay(urllib.request.HTTPRedirectHandler):
    """Goes nowhere else."""

    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: Any) -> None:
        return None


class Browser:
    """A session with cookies."""

    def __init__(self, ca: str) -> None:
        self.jar = http.cookiejar.CookieJar()
        self._handlers = (
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca or None)),
        )
        keep = urllib.request.HTTPCookieProcessor(self.jar)
        self.opener = urllib.request.build_opener(*self._handlers, keep)

    def first(self, url: str, cookies: dict[str, str]) -> tuple[int, str, str]:
        """Return status, location and text of the first answer to a request with these cookies."""
        header = "; ".join(f"{name}={value}" for name, value in cookies.items())
        request = urllib.request.Request(url, headers={"Cookie": header})  # noqa: S310
        try:
            answer = urllib.request.build_opener(*self._handlers, Stay()).open(request, timeout=60)
        except HTTPError as error:
            answer = error
        with answer:
            return answer.code, answer.headers.get("Location", ""), answer.read().decode("utf-8", "replace")

    def send(self, url: str, values: dict[str, str], files: Files) -> tuple[str, str]:
        """Send a form with files; return the final address and the text."""
        edge = f"----{os.urandom(12).hex()}"
        parts = [
            f'--{edge}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in values.items()
        ]
        for field, (name, content) in files.items():
            head = f'--{edge}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n'
            parts += [f"{head}Content-Type: application/octet-stream\r\n\r\n".encode(), content, b"\r\n"]
        body = b"".join([*parts, f"--{edge}--\r\n".encode()])
        return self.open(url, body, **{"Content-Type": f"multipart/form-data; boundary={edge}"})

    def open(self, url: str, data: Any = None, **headers: str) -> tuple[str, str]:
        """Return the final address and the text."""
        if isinstance(data, bytes):
            body = data
        elif isinstance(data, dict) and headers.get("Content-Type") == "application/json":
            body = json.dumps(data).encode()
        else:
            body = urllib.parse.urlencode(data).encode() if data is not None else None
        method = headers.pop("method", None)
        request = urllib.request.Request(url, body, headers, method=method)  # noqa: S310 - the test's own addresses
        try:
            with self.opener.open(request, timeout=300) as answer:
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


def register(asked: dict[str, Any]) -> dict[str, str]:
    """Make a client of the realm."""
    browser, realm, headers = _admin(asked)
    browser.open(f"{realm}/clients", asked["client"], **headers)
    return {}


def deregister(asked: dict[str, Any]) -> dict[str, str]:
    """Remove a client."""
    browser, realm, headers = _admin(asked)
    browser.open(f"{realm}/clients/{asked['client']}", None, method="DELETE", **headers)
    return {}


def _sign_in(browser: Browser, url: str, asked: dict[str, Any]) -> tuple[str, str, str]:
    """Return the address of the login form, and address and text of what follows it."""
    form_at, text = browser.open(url)
    form = Forms(text).named("password")
    values = form["values"] | {"username": asked["user"], "password": asked["password"]}
    return (form_at, *browser.open(urllib.parse.urljoin(form_at, form["action"]), values))


def visit(asked: dict[str, Any]) -> dict[str, Any]:
    """Sign in at a name where the gateway asks for it, come with wrong cookies, and sign out."""
    site, find = asked["site"], socket.getaddrinfo
    known = {urllib.parse.urlsplit(site).hostname: asked["address"]}  # no name server knows it

    def found(host: Any, *more: Any, **rest: Any) -> Any:
        return find(known.get(host, host), *more, **rest)

    socket.getaddrinfo = found  # ty: ignore[invalid-assignment]
    browser = Browser(asked["ca"])
    form_at, landed, page = _sign_in(browser, f"{site}/", asked)
    answer: dict[str, Any] = {"asked": form_at, "landed": landed, "page": page}
    if not landed.startswith(site):
        return answer
    host = urllib.parse.urlsplit(site).hostname or ""
    good = {cookie.name: cookie.value or "" for cookie in browser.jar if cookie.domain.lstrip(".") == host}

    def changed(kind: str, value: str, refresh: str = "") -> dict[str, str]:
        """Cookies of which one is another; with a true refresh token the gateway would begin a new session."""
        other = {name: value if name.startswith(kind) else old for name, old in good.items()}
        return {name: refresh if name.startswith("RefreshToken") else new for name, new in other.items()}

    wrong = {
        "expired": changed("OauthExpires", "1"),
        "made to last": changed("OauthExpires", "4102444800"),
        "forged": changed("OauthHMAC", base64.b64encode(bytes(32)).decode()),
        "forged with a refresh token": changed("OauthHMAC", "AAAA", "a.b.c"),
        "invented": {"AccessToken": "a.b.c", "IdToken": "a.b.c"},
    }
    status, _, text = browser.first(f"{site}/", good)
    answer["again"] = [status, text]
    answer["wrong"] = {what: browser.first(f"{site}/", cookies) for what, cookies in wrong.items()}
    answer["out"], _ = browser.open(f"{site}/logout")
    answer["after"], _ = browser.open(f"{site}/")
    return answer


def _add(browser: Browser, folder: str, kind: str, fields: dict[str, str], files: Files) -> tuple[str, str]:
    """Fill in the form of a new piece of content; return its address and the form's token."""
    add = f"{folder}/++add++{kind}"
    _, text = browser.open(add)
    form = Forms(text).named(next(iter(fields)))
    values = form["values"] | fields | {"form.buttons.save": "Save"}
    page, _ = browser.send(urllib.parse.urljoin(add, form["action"]), values, files)
    return page.removesuffix("/view"), values["_authenticator"]


#: One pixel, PNG.
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def publish(asked: dict[str, Any]) -> dict[str, str]:
    """Upload a file and an image, write a page that shows them, and publish it."""
    browser, folder = Browser(asked["ca"]), f"{asked['site']}/{asked['folder']}"
    _sign_in(browser, f"{asked['site']}/login", asked)
    title, content = asked["title"], os.urandom(asked["bytes"])
    field = "form.widgets.title"
    files = Files({"form.widgets.file": (f"{title}.bin", content)})
    file, _ = _add(browser, folder, "File", {field: title}, files)
    image, _ = _add(
        browser, folder, "Image", {field: title}, Files({"form.widgets.image": ("anh.png", PIXEL)})
    )
    path = {name: urllib.parse.urlsplit(url).path for name, url in (("file", file), ("image", image))}
    fields = {
        "form.widgets.IDublinCore.title": title,
        "form.widgets.IRichTextBehavior.text": asked["html"].format(**path),
    }
    page, token = _add(browser, folder, "Document", fields, Files())
    browser.open(f"{page}/content_status_modify?workflow_action=publish&_authenticator={token}")
    return {"page": page, "file": file, "image": image, "sha256": hashlib.sha256(content).hexdigest()}


def write(asked: dict[str, Any]) -> dict[str, str]:
    """Sign in at a site, and write a page into a folder of it when there is a title."""
    browser, site = Browser(asked["ca"]), asked["site"]
    form_at, landed, text = _sign_in(browser, f"{site}/login", asked)
    answer = {
        "asked": form_at,
        "landed": landed,
        "in": str("acl_users/oidc/logout" in text or "/logout" in text),
    }
    if not asked.get("title"):
        return answer
    title = {"form.widgets.IDublinCore.title": asked["title"]}
    page, _ = _add(browser, f"{site}/{asked['folder']}", "Document", title, Files())
    return answer | {"page": page}


if __name__ == "__main__":
    wanted = json.load(sys.stdin)
    does = (enrol, leave, register, deregister, write, publish, visit)
    json.dump({do.__name__: do for do in does}[wanted["do"]](wanted), sys.stdout)
