"""The gazette on Plone, with content types of its own (`profiles/gazette` of the image's package)."""

from __future__ import annotations

from pathlib import Path

import pulumi

from infra.components.workload.platform import PlatformArgs, PlatformComponent
from platforms.plone.platform import PlonePlatform
from platforms.plone.seed import Item, read_pages

_PROFILES = ("tinh_plone:gazette",)


def content(args: PlatformArgs) -> list[Item]:
    """Return the seed content."""
    return read_pages(Path(__file__).parent).of(args.site)


class Gazette(PlonePlatform):
    """The gazette."""

    def __init__(self, name: str, args: PlatformArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tinh:platform:Gazette", name, args, content(args), opts, profiles=_PROFILES)


COMPONENT: PlatformComponent = Gazette
