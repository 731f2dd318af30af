"""The one site that a server publishes, and the address that it is published at.

Everything that comes in is taken for a request to the site: Zope's root, which holds users and all settings, has no
address. The address of links is the published one, whatever a client writes into the Host header.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def prefix(site: str, url: str) -> str:
    """Return what is put before the path of every request.

    Source: https://zope.readthedocs.io/en/latest/zopebook/VirtualHosting.html

    Args:
        site: id of the site in Zope's root.
        url: published address, for example `https://portal.lab.tinh.test`.
    """
    parts = urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}[parts.scheme]
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"/VirtualHostBase/{parts.scheme}/{host}:{port}/{site}/VirtualHostRoot"


def make_filter(_settings: dict[str, str]) -> Callable[[Application], Application]:
    """Return the WSGI filter; `PLONE_SITE` and `PLONE_URL` are read once."""
    before = prefix(os.environ["PLONE_SITE"], os.environ["PLONE_URL"])

    def wrap(application: Application) -> Application:
        def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
            path = environ.get("PATH_INFO") or "/"
            # Names of the virtual host machinery are the server's to say, and nobody else's.
            if "/VirtualHost" in path or "/_vh_" in path:
                start("400 Bad Request", [("Content-Type", "text/plain")])
                return [b"Bad Request"]

            def begin(status: str, headers: list[tuple[str, str]], error: Any = None) -> Any:  # noqa: ANN401 - WSGI
                # Which versions run here is nobody's business.
                return start(status, [each for each in headers if each[0].lower() != "x-powered-by"], error)

            return application(environ | {"PATH_INFO": before + path}, begin)

        return answer

    return wrap
