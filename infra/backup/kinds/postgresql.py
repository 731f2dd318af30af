"""PostgreSQL (CloudNativePG): base backups and WAL that the Barman Cloud plugin has archived into the object storage.

A backup of this kind is a copy of the archive: the newest base backup and all WAL since, so that any moment after it
can come back. Each run adds the WAL that is new; a new base backup begins a new chain.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from infra import naming
from infra.backup import sql
from infra.backup.kubectl import Kubectl
from infra.backup.source import Facts, Ground, Taken
from infra.backup.store import Listed, Store, opened
from infra.errors import ToolError

PLUGIN = "barman-cloud.cloudnative-pg.io"
#: Of an instance's container, in which `psql` is the superuser by its Unix user.
CONTAINER = "postgres"
#: Seconds for a base backup, and for the last WAL to reach the archive.
BASE, ARCHIVE = 3600, 120
#: Segments that are sent at the same time (`wal.maxParallel` of the archive, layer `data`).
PARALLEL = 2
_SEGMENT = re.compile(r"/wals/[0-9A-F]{16}/([0-9A-F]{24})(\.\w+)?$")


@dataclass(frozen=True)
class Base:
    """A base backup in the archive."""

    id: str
    begin_wal: str
    stopped: datetime


@contextlib.contextmanager
def take(ground: Ground) -> Generator[Taken, None, None]:
    """See `KindModule`.

    Raises:
        TinhError: the database or the storage is not there, or WAL does not reach the archive.
    """
    kubectl = Kubectl(ground.site)
    name = ground.data_set.name
    bucket = archive_bucket(name)
    with opened(ground.site, kubectl) as store:
        _announce(kubectl, ground)
        base = _base(kubectl, ground, list(store.list(bucket, f"{name}/")))
        taken, last = _taken(kubectl, ground, store, base)
        if taken is None:
            ground.tell(
                f"{name}: WAL since base backup {base.id} is not whole in the archive: a new one is made"
            )
            base = _make_base(kubectl, ground, "anew")
            taken, last = _taken(kubectl, ground, store, base)
        if taken is None:
            raise ToolError(
                f"the archive of {name} has not all WAL from {base.begin_wal} to {last}",
                where=f"bucket {bucket}", fix="see the logs of container plugin-barman-cloud; run it again",
            )  # fmt: skip
        yield taken


def _taken(kubectl: Kubectl, ground: Ground, store: Store, base: Base) -> tuple[Taken | None, str]:
    """Measure and return what is taken with a base backup, and the last segment; None: WAL since it is not whole."""
    name, space = ground.data_set.name, ground.data_set.namespace
    bucket = archive_bucket(name)
    pod = primary(kubectl, space, name)
    facts, at, lsn = measure(kubectl, space, pod, ground.number)
    last = archive(kubectl, space, pod)
    found = list(store.list(bucket, f"{name}/"))
    if not whole(found, base, last):
        return None, last
    items = [store.item(bucket, item) for item in needed(found, base)]
    return Taken(items, at, facts | {"base": base.id}, revision=lsn), last


def _announce(kubectl: Kubectl, ground: Ground) -> None:
    """Have archived what a kill has kept from it, before the archive is judged."""
    name, space = ground.data_set.name, ground.data_set.namespace
    pod = primary(kubectl, space, name)
    segments = ask(kubectl, space, pod, sql.UNANNOUNCED)[0]
    for segment in segments:
        ground.tell(f"{name}: WAL {segment} was finished and not announced to the archiver: it is now")
        ask(kubectl, space, pod, sql.announce(segment))
    if segments:
        archive(kubectl, space, pod)


def count(folder: Path) -> Facts:
    """Counting needs a server: a drill restores into a cluster of its own and asks that (`infra.backup.sandbox`)."""
    raise NotImplementedError(folder)


def archive_bucket(name: str) -> str:
    """Return the bucket of a database's archive (layer `data`)."""
    return naming.name(name, "archive")


def needed(found: Sequence[Listed], base: Base) -> list[Listed]:
    """Return what a restore from a base backup needs: the base, WAL since its beginning, histories of timelines."""
    kept = []
    for item in found:
        segment = _SEGMENT.search(item.key)
        # The first eight digits are the timeline: after a failover a later one follows.
        since = segment is not None and segment[1][8:] >= base.begin_wal[8:]
        if since or f"/base/{base.id}/" in item.key or ".history" in item.key:
            kept.append(item)
    return kept


def whole(found: Sequence[Listed], base: Base, last: str = "") -> bool:
    """Return whether an archive has what a restore from a base backup needs: the base, and all WAL since its beginning.

    The operator's record outlives the archive, which may have been lost. A segment of any timeline counts: after a
    failover the next one goes on where the last has ended, and the timeline's history says where.

    Args:
        found: objects of the archive.
        base: the base backup.
        last: segment up to which everything has to be there; empty: the newest ones may be on their way.
    """
    described = any(item.key.endswith(f"/base/{base.id}/backup.info") for item in found)
    places = {_place(segment[1]) for item in found if (segment := _SEGMENT.search(item.key))}
    first = _place(base.begin_wal)
    if last and last[:8] != base.begin_wal[:8]:
        described = described and any(f"/{last[:8]}.history" in item.key for item in found)
    # Without a last one: segments on their way arrive in any order.
    end = _place(last) if last else max(places, default=0) - PARALLEL
    return described and first in places and places.issuperset(range(first, end + 1))


def _place(segment: str) -> int:
    """Return the number of a segment in its timeline, from its name: 256 of them, 16 MiB each, share eight digits."""
    return int(segment[8:16], 16) * 256 + int(segment[16:], 16)


def primary(kubectl: Kubectl, namespace: str, name: str) -> str:
    """Return the pod of a cluster's primary.

    Raises:
        ToolError: it has none.
    """
    cluster = kubectl.find("clusters.postgresql.cnpg.io", name, "--namespace", namespace)
    pod = (cluster or {}).get("status", {}).get("currentPrimary")
    if not pod:
        raise ToolError(
            f"database {name} has no primary", where=f"namespace {namespace}", fix="see why it does not run"
        )
    return pod


def ask(kubectl: Kubectl, namespace: str, pod: str, text: str, database: str = "postgres") -> list[Any]:
    """Have a server do SQL and return what it answers in JSON."""
    words = ("psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", database)
    return sql.answers(kubectl.execute(namespace, pod, CONTAINER, *words, stdin=text))


def measure(kubectl: Kubectl, namespace: str, pod: str, number: str | None) -> tuple[Facts, datetime, str]:
    """Return the facts of a server, the moment they are of, and its LSN.

    Args:
        kubectl: the cluster.
        namespace: where it is.
        pod: of the primary.
        number: name of the backup whose marker and restore point are written; None: only count.
    """
    if number:
        ask(kubectl, namespace, pod, sql.MARKER.format(number=number))
    at, lsn, databases = datetime.now(UTC), "", {}
    for database in ask(kubectl, namespace, pod, sql.DATABASES)[0]:
        tables = ask(kubectl, namespace, pod, sql.TABLES, database)[0]
        rows = ask(kubectl, namespace, pod, sql.measure(tables, number), database)
        databases[database] = sql.table_facts(rows)
        for row in rows:
            if "lsn" in row:
                at, lsn = datetime.fromisoformat(row["at"]), row["lsn"]
    if number:
        ask(kubectl, namespace, pod, sql.ENDED.format(number=number))
    marked = ask(kubectl, namespace, pod, sql.MARKED)[0]["there"]
    markers = ask(kubectl, namespace, pod, sql.MARKERS)[0] if marked else []
    last = markers[-1] if markers else ""
    return {"databases": databases, "markers": {"count": len(markers), "last": last}}, at, lsn


def measure_one(kubectl: Kubectl, namespace: str, pod: str, database: str) -> Facts:
    """Return the facts of one database in which nobody writes."""
    tables = ask(kubectl, namespace, pod, sql.TABLES, database)[0]
    return sql.table_facts(ask(kubectl, namespace, pod, sql.measure(tables, None), database))


def archive(kubectl: Kubectl, namespace: str, pod: str) -> str:
    """End the WAL segment, wait until it is in the archive and return its name.

    Raises:
        ToolError: it does not get there.
    """
    wanted = ask(kubectl, namespace, pod, sql.SWITCH)[0]["file"]
    end = time.monotonic() + ARCHIVE
    while True:
        seen = ask(kubectl, namespace, pod, sql.ARCHIVED)[0]
        if (seen["last"] or "")[:24] >= wanted:
            return wanted
        if time.monotonic() > end:
            raise ToolError(
                f"WAL {wanted} is not archived after {ARCHIVE} s; the last that was: {seen['last']}",
                where=f"pod {pod}, namespace {namespace}",
                fix="see the logs of its container plugin-barman-cloud, and that the object storage runs and has room",
            )
        time.sleep(1)


def _base(kubectl: Kubectl, ground: Ground, found: Sequence[Listed]) -> Base:
    """Return the newest base backup; a new one is made when it is due, or when the archive no longer has it whole."""
    newest = _newest(kubectl, ground)
    name = ground.data_set.name
    if newest and not whole(found, newest):
        ground.tell(f"{name}: the archive has lost base backup {newest.id} or WAL since: a new one is made")
    elif newest and datetime.now(UTC) - newest.stopped < timedelta(hours=ground.data_set.full_hours):
        return newest
    else:
        ground.tell(f"{name}: a base backup is due")
    return _make_base(kubectl, ground)


def _make_base(kubectl: Kubectl, ground: Ground, *suffix: str) -> Base:
    """Have the operator make a base backup.

    Args:
        kubectl: the cluster.
        ground: names it by the number of the backup.
        suffix: more of its name, for a second one.

    Raises:
        ToolError: it fails, or takes too long.
    """
    name, space = ground.data_set.name, ground.data_set.namespace
    backup = naming.name(name, ground.number.lower(), *suffix)
    kubectl.apply([backup_object(backup, name, space)], create=True)
    end = time.monotonic() + BASE
    while time.monotonic() < end:
        status = kubectl.json("--namespace", space, "get", "backups.postgresql.cnpg.io", backup).get(
            "status", {}
        )
        if status.get("phase") == "completed":
            done = _newest(kubectl, ground)
            if done:
                return done
        if status.get("phase") == "failed":
            raise ToolError(
                f"the base backup of {name} failed: {status.get('error', 'no reason given')}",
                where=f"Backup {backup}, namespace {space}",
                fix="see that the object storage runs and has room",
            )
        time.sleep(2)
    raise ToolError(
        f"the base backup of {name} is not done after {BASE} s", where=f"Backup {backup}, namespace {space}",
        fix="look at its status; run the command again",
    )  # fmt: skip


def backup_object(name: str, cluster: str, namespace: str) -> dict[str, Any]:
    """Return the object that asks the operator for a base backup."""
    return {
        "apiVersion": "postgresql.cnpg.io/v1",
        "kind": "Backup",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"cluster": {"name": cluster}, "method": "plugin", "pluginConfiguration": {"name": PLUGIN}},
    }


def _newest(kubectl: Kubectl, ground: Ground) -> Base | None:
    found = kubectl.json("--namespace", ground.data_set.namespace, "get", "backups.postgresql.cnpg.io")
    return newest_base(found["items"], ground.data_set.name)


def newest_base(backups: Sequence[dict[str, Any]], cluster: str) -> Base | None:
    """Return the newest completed base backup of a cluster from the operator's records."""
    done = [
        Base(status["backupId"], status["beginWal"], datetime.fromisoformat(status["stoppedAt"]))
        for item in backups
        if item["spec"]["cluster"]["name"] == cluster
        and (status := item.get("status", {})).get("phase") == "completed"
        and {"backupId", "beginWal", "stoppedAt"} <= status.keys()
    ]
    return max(done, key=lambda base: base.stopped, default=None)
