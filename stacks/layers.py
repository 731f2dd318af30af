"""The layers that exist, and how one is deployed."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from infra.errors import TinhError
from infra.stackinfo import StackInfo

if TYPE_CHECKING:
    from infra.model.site import Site

#: Layers that have a program (`stacks/<layer>.py` with a function `deploy`), in the order of deployment.
IMPLEMENTED = ("base", "platforms")


def deploy(info: StackInfo, site: Site) -> None:
    """Compare the live cluster with the recorded one, then declare the layer's resources.

    Raises:
        TinhError: the layer has no program yet, or the cluster is missing or not the site's.
    """
    if info.layer not in IMPLEMENTED:
        raise TinhError(
            f"layer {info.layer!r} of stack {info.name} is not implemented",
            where=f"stack {info.name}",
            fix=f"use one of the layers that exist: {', '.join(IMPLEMENTED)}",
        )
    from infra.cluster import check_cluster

    uid = check_cluster(site)
    from stacks.context import context

    importlib.import_module(f"stacks.{info.layer}").deploy(context(info, site, uid))
