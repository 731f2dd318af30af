"""Invented backups for the tests of what is pure."""

from datetime import UTC, datetime, timedelta

from infra.backup.catalogue import Blob, Copy, Entry, new_id
from infra.backup.sets import DataSet, Kind
from infra.model.backup import Retention
from infra.model.site import Text

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
RULE = Retention(locked_days=1, all_days=2, daily=3, weekly=2, monthly=2)


def blob(name):
    return Blob(sha256=(name.encode().hex() + "0" * 64)[:64], size=100)


def entry(ago, *, data_set="etcd", parent=None, **more):
    """A backup that was taken some minutes before NOW."""
    at = NOW - timedelta(minutes=ago)
    return Entry(
        site="lab", data_set=data_set, engine="etcd", id=new_id(at), parent=parent.id if parent else "",
        at=at, milliseconds=10, size=1000, index=blob(f"i{ago}"), blobs=(blob(f"b{ago}"),), facts={"keys": 5},
        recipients=("age1x",), **more,
    )  # fmt: skip


def copy(*entries, name="backup1", damaged=()):
    return Copy(name=name, entries=entries, damaged=frozenset(b.sha256 for b in damaged))


def data_set(kind=Kind.ETCD, name="etcd"):
    return DataSet(
        name=name, kind=kind, holds=Text(vi="x", en="x"), point=60, time=60, drill_days=30, full_hours=24,
        retention=RULE,
    )  # fmt: skip
