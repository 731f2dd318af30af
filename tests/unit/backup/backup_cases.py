"""Invented backups for the tests of what is pure, and real programs for those of what is not."""

import functools
from datetime import UTC, datetime, timedelta

import pytest

from infra.backup.catalogue import Blob, Copy, Entry, new_id
from infra.backup.sets import DataSet, Kind
from infra.errors import TinhError
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


@functools.cache
def program_of(tool, name):
    """A program of the toolchain; None where it has not got it."""
    from lab.toolchain import artifact

    try:
        return str(artifact(tool) / "bin" / name)
    except TinhError:
        return None


def needs(tool):
    """Skip where the toolchain has not got a tool."""
    return pytest.mark.skipif(program_of(tool, tool) is None, reason=f"the toolchain has no {tool} here")
