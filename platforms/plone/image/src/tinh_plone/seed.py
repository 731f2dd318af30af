"""Brings a Plone site to what a declaration says: `python -m tinh_plone.seed FILE`.

Made to be run again: the site and what is missing in it is made, settings of signing in are set, and a value is renewed
only where the site still has what was put there the last time. What people have written, moved or removed stays.
The declaration is `platforms/plone/seed.py`'s. What was done is printed as one line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import transaction
import Zope2
from AccessControl.SecurityManagement import newSecurityManager
from AccessControl.users import system
from plone import api
from Products.CMFPlone.factory import addPloneSite
from Testing.makerequest import makerequest
from zope.component.hooks import setSite
from zope.globalrequest import setRequest
from Zope2.Startup.run import make_wsgi_app

from tinh_plone.content import Content
from tinh_plone.signing_in import sign_in

#: What every site is made of; the rest is in the declaration's `profiles`.
_PROFILES = (
    "plone.app.contenttypes:default",
    "plone.app.layout:default",
    "plonetheme.barceloneta:default",
    "pas.plugins.oidc:default",
)


def root() -> Any:  # noqa: ANN401 - Zope's root
    """Start Zope on the database and return its root, as the system user."""
    make_wsgi_app({}, str(Path(os.environ["PLONE_HOME"]) / "etc" / "zope.conf"))
    app = makerequest(Zope2.app())
    app.REQUEST["PARENTS"] = [app]
    setRequest(app.REQUEST)
    newSecurityManager(None, system)
    return app


def site(app: Any, declared: dict[str, Any]) -> tuple[Any, bool]:  # noqa: ANN401
    """Return the site, and whether it had to be made."""
    name, made = declared["id"], declared["id"] not in app.objectIds()
    if made:
        addPloneSite(
            app,
            name,
            title=declared["title"],
            description=declared["description"],
            extension_ids=[*_PROFILES, *declared["profiles"]],
            default_language=declared["languages"][0],
            portal_timezone=declared["timezone"],
        )
    setSite(app[name])
    return app[name], made


def settings(declared: dict[str, Any]) -> list[str]:
    """Set what is the declaration's alone; return the names of what differed."""
    wanted = {
        "plone.default_language": declared["languages"][0],
        "plone.available_languages": declared["languages"],
        # Vietnamese unless the reader chooses otherwise.
        "plone.use_cookie_negotiation": True,
        "plone.always_show_selector": True,
        "plone.display_flags": False,
    }
    differ = [name for name, value in wanted.items() if api.portal.get_registry_record(name) != value]
    for name in differ:
        api.portal.set_registry_record(name, wanted[name])
    return differ


def main() -> None:
    """Apply the declaration in one transaction, or nothing of it."""
    declared = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    app = root()
    portal, made = site(app, declared["site"])
    changed = settings(declared["site"])
    changed += sign_in(portal, declared["sign_in"], Path(os.environ["PLONE_CLIENT_SECRET_FILE"]))
    content = Content(portal)
    content.bring(declared["content"])
    transaction.get().note("seed")
    transaction.commit()
    report = {"site": "made" if made else "there", "settings": changed} | content.report()
    print(json.dumps(report, ensure_ascii=False))


if __name__ == "__main__":
    main()
