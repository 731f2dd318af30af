"""One module for each kind of data set: how it is taken, and how it is counted after a restore."""

from __future__ import annotations

import importlib
from typing import cast

from infra.backup.sets import Kind
from infra.backup.source import KindModule

_MODULES = {
    Kind.POSTGRESQL: "postgresql",
    Kind.BUCKET: "bucket",
    Kind.STREAM: "stream",
    Kind.ETCD: "etcd",
    Kind.OBJECTS: "objects",
    Kind.STATE: "pulumi_state",
    Kind.SITE: "site_data",
    Kind.ROUTERS: "routers",
}


def of(kind: Kind) -> KindModule:
    """Return the module of a kind."""
    return cast("KindModule", importlib.import_module(f"infra.backup.kinds.{_MODULES[kind]}"))
