"""Which data sets a site has: the one place that reads them from users' facts and the site's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from infra import paths
from infra.errors import TinhError
from infra.model.backup import BackupPolicy, Retention, load_policy
from infra.model.base import Text
from infra.model.data import Holding, Recovery, holdings, load_data
from infra.model.platform import load_platforms
from infra.model.site import Site, has_network
from infra.model.users import stores, users


class Kind(StrEnum):
    """What a data set is made of, and with it how it is read and brought back."""

    POSTGRESQL = "postgresql"
    BUCKET = "bucket"
    STREAM = "stream"
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
    """Return the data sets of a site: stores of its platforms, of its applications, then the site's own.

    Raises:
        TinhError: the facts are malformed, or a store has the name of one of the site's own data sets.
    """
    policy = load_policy(site.name)
    kept = [
        _set(policy, held.name, held.store.engine, held.store.holds, held.store.recovery, held.application)
        for held in _held(site)
        if backed(held)
    ]
    for one in kept:
        if one.name in policy.sets:
            raise TinhError(
                f"a store of {one.namespace} would be data set {one.name}, which is one of the site's own",
                where=f"{paths.SITES / site.name / 'data.yaml'}: applications, {one.namespace}",
                fix="choose another name for the application or its store",
            )
    own = [
        _set(policy, name, name, facts.holds, facts.recovery)
        for name, facts in policy.sets.items()
        if name != Kind.ROUTERS or has_network(site.name)
    ]
    return [*kept, *own]


def unbacked(site: Site) -> list[str]:
    """Return the stores that nothing is done for, with their engines, but caches: they are made anew."""
    return [
        f"{held.name} ({held.store.engine})"
        for held in _held(site)
        if not backed(held) and held.store.engine not in REMADE
    ]


def backed(held: Holding) -> bool:
    """Return whether a store's engine is one of those that are backed up."""
    return held.store.engine in {kind.value for kind in Kind}


def _held(site: Site) -> tuple[Holding, ...]:
    return holdings(stores(users(site, load_platforms(site), load_data(site))))


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
