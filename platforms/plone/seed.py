"""What a Plone site is to be, as a declaration that the image's `tinh_plone.seed` brings about.

Pure: facts of the site, of the platform and of the province become plain data. Texts are Vietnamese, the language of
the content; where there is one for both, English follows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from infra.components.identity.login import identity_of, issuer
from infra.components.manifest import Object
from infra.model.base import Model, read_yaml, validate
from infra.model.platform import Platform
from infra.model.site import Site, SiteKind

#: First the default, then what a reader may choose.
LANGUAGES = ("vi", "en")
TIMEZONE = "Asia/Ho_Chi_Minh"
#: Seconds without use after which a session ends (TCVN 14423 5.5.2.2 a, 15 minutes [S]).
IDLE = 900


class Item(Model):
    """One piece of seed content."""

    key: str = Field(description="what it is known by for ever; its name and values may change")
    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", description="last part of its address when it is made")
    type: str = Field(description="portal type")
    values: dict[str, str | bool] = Field(
        description="fields of the type; renewed as long as nobody has edited them; days as 2026-01-31"
    )
    parent: str = Field(default="", description="address of its container; empty: the site")
    site: bool = Field(default=False, description="a sub-site, with menu and search of its own")
    front: bool = Field(default=False, description="the front page of its container")


class Pages(Model):
    """`content.yaml` of a platform."""

    pages: list[Item] = Field(description="content of every site, containers before what is in them")
    samples: list[Item] = Field(default_factory=list, description="invented content, for labs and sims only")

    def of(self, site: Site) -> list[Item]:
        """Return what a site gets."""
        return self.pages if site.kind is SiteKind.DATACENTRE else [*self.pages, *self.samples]


def read_pages(folder: Path) -> Pages:
    """Read the `content.yaml` of a platform's folder.

    Raises:
        TinhError: when it is missing or malformed (file, path and value are named).
    """
    file = folder / "content.yaml"
    return validate(Pages, read_yaml(file), file)


def declaration(
    site: Site,
    facts: Platform,
    platforms: Sequence[Platform],
    content: Sequence[Item],
    *,
    profiles: Sequence[str] = (),
) -> Object:
    """Return the declaration of a platform's site.

    Args:
        site: the site whose zone the platform is published in.
        facts: the platform.
        platforms: all platforms of the site: one of them signs people in.
        content: seed content, containers before what is in them.
        profiles: what the site has besides Plone's own.

    Raises:
        TinhError: when nobody can sign in because the identity platform is switched off.
        ValueError: when the platform has no login, or two items have one key or one address.
    """
    if facts.login is None:
        raise ValueError(f"{facts.id} has no login")
    for what in ([item.key for item in content], [(item.parent, item.id) for item in content]):
        if len(what) != len(set(what)):
            raise ValueError(f"seed content of {facts.id} repeats itself: {sorted(map(str, what))}")
    return {
        "site": {
            "id": facts.id,
            "title": facts.name.vi,
            "description": f"{site.title.vi} - {site.title.en}",
            "languages": list(LANGUAGES),
            "timezone": TIMEZONE,
            "profiles": list(profiles),
        },
        "sign_in": {
            "issuer": issuer(site, identity_of(platforms, facts.id)),
            "client": facts.id,
            "url": f"https://{site.public_name(facts.public_names[0])}",
            "idle": IDLE,
            "groups": {
                group.name: {"title": group.title.vi, "roles": list(group.roles)}
                for group in facts.login.groups
            },
        },
        "content": [item.model_dump() for item in content],
    }


def to_json(declared: Object) -> str:
    """Return a declaration as the text of a file, the same for the same declaration."""
    return json.dumps(declared, ensure_ascii=False, indent=1) + "\n"
