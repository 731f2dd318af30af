"""The portal on Plone, with a sub-site for every unit below the province and every agency."""

from __future__ import annotations

from pathlib import Path

import pulumi

from infra.components.workload.platform import PlatformArgs, PlatformComponent
from platforms.plone.platform import PlonePlatform
from platforms.plone.seed import Item, read_pages
from platforms.portal.content import sub_sites


def content(args: PlatformArgs) -> list[Item]:
    """Return the seed content: pages of every portal, and the sub-sites of this province."""
    return [*read_pages(Path(__file__).parent).of(args.site), *sub_sites(args.province)]


class Portal(PlonePlatform):
    """The portal."""

    def __init__(self, name: str, args: PlatformArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tinh:platform:Portal", name, args, content(args), opts)


COMPONENT: PlatformComponent = Portal
