"""The layers that exist, which of them a site has, and how one is deployed."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from infra.errors import TinhError
from infra.stackinfo import StackInfo

if TYPE_CHECKING:
    from infra.model.site import Site

#: Layers that have a program (`stacks/<layer>.py` with a function `deploy`), in the order of deployment.
IMPLEMENTED = ("network", "base", "data", "platforms")
#: Layers that are there before the cluster.
WITHOUT_CLUSTER = ("network",)


def layers_of(site: str) -> tuple[str, ...]:
    """Return the layers of a site in the order of deployment; without data of a network, none for it."""
    from infra.model.site import has_network

    return tuple(layer for layer in IMPLEMENTED if layer != "network" or has_network(site))


def deploy(info: StackInfo, site: Site) -> None:
    """Compare the live cluster with the recorded one, then declare the layer's resources.

    Raises:
        TinhError: the site has no such layer, or the cluster is missing or not the site's.
    """
    if info.layer not in layers_of(site.name):
        raise TinhError(
            f"layer {info.layer!r} of stack {info.name} is not implemented",
            where=f"stack {info.name}",
            fix=f"use one of the layers that exist: {', '.join(layers_of(site.name))}",
        )
    from infra.cluster import check_cluster

    uid = "" if info.layer in WITHOUT_CLUSTER else check_cluster(site)
    from stacks.context import context

    importlib.import_module(f"stacks.{info.layer}").deploy(context(info, site, uid))
