"""Which data sets a site has: the one place that reads them from the platforms' facts and the site's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from infra import naming
from infra.errors import TinhError
from infra.model.backup import BackupPolicy, Retention, load_policy
from infra.model.base import Text
from infra.model.data import DataStore, Recovery
from infra.model.platform import load_platforms
from infra.model.site import Site, has_network


class Kind(StrEnum):
    """What a data set is made of, and with it how it is read and brought back."""

    POSTGRESQL = "postgresql"
    BUCKET = "bucket"
    ETCD = "etcd"
    OBJECTS = "cluster-objects"
    STATE = "pulumi-state"
    SITE = "site-data"
    ROUTERS = "routers"


#: Engines whose data may be lost.
REMADE = ("cache",)


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """Data that must survive.

    Args:
        name: what the operator calls it.
        kind: see there.
        holds: what it is, for people.
        point: minutes of data that may be lost.
        time: minutes until it works again.
        drill_days: days after which a restore has to be proven again.
        full_hours: hours after which a chain of increments begins anew.
        retention: what is kept.
        namespace: where it lives in the cluster; empty: not there.
    """

    name: str
    kind: Kind
    holds: Text
    point: int
    time: int
    drill_days: int
    full_hours: int
    retention: Retention
    namespace: str = ""


def data_sets(site: Site) -> list[DataSet]:
    """Return the data sets of a site: stores of its platforms first, then the site's own.

    Raises:
        TinhError: the facts are malformed.
    """
    policy = load_policy(site.name)
    stores = [
        # A store may have targets of its own; the platform's hold for the others.
        _set(
            policy, naming.name(platform.id, store.name), store.engine, store.holds,
            getattr(store, "recovery", None) or platform.recovery, namespace=platform.id,
        )
        for platform in load_platforms(site)
        for store in platform.data
        if backed(store)
    ]  # fmt: skip
    own = [
        _set(policy, name, name, facts.holds, facts.recovery)
        for name, facts in policy.sets.items()
        if name != Kind.ROUTERS or has_network(site.name)
    ]
    return [*stores, *own]


def unbacked(site: Site) -> list[str]:
    """Return the stores that nothing is done for, with their engines, but caches: they are made anew."""
    return [
        f"{naming.name(platform.id, store.name)} ({store.engine})"
        for platform in load_platforms(site)
        for store in platform.data
        if not backed(store) and store.engine not in REMADE
    ]


def backed(store: DataStore) -> bool:
    """Return whether a store's engine is one of those that are backed up."""
    return store.engine in {kind.value for kind in Kind}


def choose(sets: Sequence[DataSet], names: Sequence[str], where: str) -> list[DataSet]:
    """Return the data sets of some names; all without names.

    Raises:
        TinhError: there is none of a name; the known ones are listed.
    """
    known = {item.name: item for item in sets}
    for name in names:
        if name not in known:
            raise TinhError(f"no data set {name!r}", where=where, fix=f"use one of: {', '.join(known)}")
    return [known[name] for name in names] or list(sets)


def _set(
    policy: BackupPolicy, name: str, kind: str, holds: Text, recovery: Recovery, namespace: str = ""
) -> DataSet:
    return DataSet(
        name=name, kind=Kind(kind), holds=holds, point=recovery.point, time=recovery.time,
        drill_days=policy.drill_days, full_hours=policy.full_hours, retention=policy.retention,
        namespace=namespace,
    )  # fmt: skip
