"""Brings a PostgreSQL cluster back beside the one that serves, and takes away again what was only needed for it."""

from __future__ import annotations

import contextlib
import json
import secrets
import subprocess
import tarfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from infra.backup import bring, recovery
from infra.backup.kubectl import Kubectl
from infra.backup.memory import Stored
from infra.backup.source import Tell
from infra.backup.vault import Vault
from infra.errors import IntegrityError, LockedError, ToolError
from infra.model.site import Site

#: How often a switch is tried.
SWITCHES = 5
#: Seconds for the storage, and for the cluster to have replayed everything.
STORE, CLUSTER = 180, 3600
#: How often the operator's job may fail: it would try seven times, for 15 minutes, and what fails thrice fails always.
TRIES = 3
#: Kinds that are removed by their label, in this order.
KINDS = (
    "clusters.postgresql.cnpg.io", "objectstores.barmancloud.cnpg.io", "pods", "services", "secrets",
    "networkpolicies.networking.k8s.io",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What comes back, and where.

    Args:
        site: the site.
        live: the cluster that serves, as it is in Kubernetes.
        name: of the new one.
        space: its namespace.
        to: as of this moment; None: see `point`.
        point: backup whose restore point it is; empty: as new as the copies are.
        policies: what it needs beside default deny; they go and stay with it.
        keep: it stays when all went well.
    """

    site: Site
    live: Mapping[str, Any]
    name: str
    space: str
    to: datetime | None = None
    point: str = ""
    policies: Sequence[recovery.Object] = ()
    keep: bool = False

    @property
    def server(self) -> str:
        """Name under which its archive was written."""
        return self.live["metadata"]["name"]


@contextlib.contextmanager
def recovered(
    kubectl: Kubectl,
    what: Beside,
    items: Mapping[str, Stored],
    vault: Vault,
    identity: str,
    tell: Tell,
    progress: Callable[[int, int], None],
) -> Generator[str, None, None]:
    """Return the primary's pod of the cluster that came back; everything is removed in the end, Ctrl-C or not.

    Raises:
        LockedError: a restore of that name is under way or was left behind.
        IntegrityError: a copy is damaged, or PostgreSQL does not come up with it.
        ToolError: the cluster does not answer.
    """
    if kubectl.find("clusters.postgresql.cnpg.io", what.name, "--namespace", what.space):
        raise LockedError(
            f"there is a database {what.name} already: a restore is under way or was left behind",
            where=f"namespace {what.space}",
            fix=f"when no command works on it: kubectl -n {what.space} delete {','.join(KINDS)} "
            f"-l {recovery.TEMPORARY}={what.name}",
        )
    done = False
    remove(kubectl, what.space, what.name)  # what a killed command may have left
    try:
        size = f"{max(1, -(-sum(item.size for item in items.values()) * 3 // (2 << 30)))}Gi"
        image = what.live["spec"]["imageName"]
        storage = recovery.store(what.space, what.name, image, secrets.token_urlsafe(24), size)
        kubectl.apply([*what.policies, *storage])
        _wait(kubectl, what.space, f"pod/{recovery.store_name(what.name)}", "Ready", STORE)
        tell(f"{what.server}: bringing {len(items)} object(s) from {vault.name}")
        pour(kubectl, what, items, vault, identity, progress)
        cluster = recovery.recovered(
            what.live, what.name, what.space, what.server,
            to=what.to, point=what.point, base=recovery.base_of(items),
        )  # fmt: skip
        kubectl.apply([cluster], create=True)
        tell(f"{what.server}: PostgreSQL replays into {what.name}")
        yield _ready(kubectl, what)
        done = True
    finally:
        remove(kubectl, what.space, what.name, keep_cluster=what.keep and done)


def pour(
    kubectl: Kubectl,
    what: Beside,
    items: Mapping[str, Stored],
    vault: Vault,
    identity: str,
    progress: Callable[[int, int], None],
) -> None:
    """Put the items into the storage as they come, in one tar stream: nothing is written to disk on the way.

    An item is checked when its last byte has gone in; one that is damaged ends the stream, and the storage is thrown
    away before anything was read from it.

    Raises:
        IntegrityError: a copy is damaged.
        ToolError: the storage does not take it.
    """
    names = recovery.restorable(list(items), what.server)
    into = f"/data/s3/{recovery.BUCKET}"
    pod = recovery.store_name(what.name)
    process = kubectl.pour(what.space, pod, recovery.FILLER, "tar", "-x", "-f", "-", "-C", into)
    assert process.stdin and process.stderr  # noqa: S101 - pipes
    try:
        with vault.delivery([items[name].blob for name in names]) as coming:
            for done, name in enumerate(names, start=1):
                process.stdin.write(_header(name, items[name].size))
                bring.fetch(items[name], coming, identity, process.stdin)
                process.stdin.write(bytes(-items[name].size % tarfile.BLOCKSIZE))
                progress(done, len(names))
        process.stdin.write(bytes(2 * tarfile.BLOCKSIZE))
        process.stdin.close()
    except BrokenPipeError:
        pass  # said below
    except BaseException:
        process.kill()
        raise
    if process.wait():
        raise ToolError(
            f"the storage took not everything: {process.stderr.read().decode('utf-8', 'replace').strip()[-200:]}",
            where=f"pod {pod}, namespace {what.space}",
            fix="see that the nodes have room; run the command again",
        )


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o644
    return info.tobuf()


def _ready(kubectl: Kubectl, what: Beside) -> str:
    """Return the primary's pod when the cluster is ready.

    Raises:
        IntegrityError: the job that restores has failed.
        ToolError: it takes too long.
    """
    end = time.monotonic() + CLUSTER
    phase = ""
    while time.monotonic() < end:
        found = kubectl.find("clusters.postgresql.cnpg.io", what.name, "--namespace", what.space) or {}
        status = found.get("status", {})
        phase = status.get("phase", "")
        conditions = {c["type"]: c["status"] for c in status.get("conditions", [])}
        if conditions.get("Ready") == "True" and status.get("currentPrimary"):
            return status["currentPrimary"]
        if said := _failed(kubectl, what):
            raise IntegrityError(
                f"PostgreSQL does not come up with this backup: {said}",
                where=f"cluster {what.name}, namespace {what.space}",
                fix="take an older backup or another copy; what serves was left alone",
            )
        time.sleep(1)
    raise ToolError(
        f"{what.name} is not ready after {CLUSTER} s ({phase or 'nothing is known'})",
        where=f"namespace {what.space}", fix="see its pods; what serves was left alone",
    )  # fmt: skip


def _failed(kubectl: Kubectl, what: Beside) -> str:
    """Return why the job that restores has failed, for good or too often; empty: it has not."""
    words = ("--namespace", what.space, "get", "jobs", "--selector", f"cnpg.io/cluster={what.name}")
    for job in kubectl.json(*words)["items"]:
        status = job.get("status", {})
        ended = [c for c in status.get("conditions", []) if c["type"] == "Failed" and c["status"] == "True"]
        if ended or status.get("failed", 0) >= TRIES:
            given = next((c.get("message") or c.get("reason") for c in ended), "")
            return _said(kubectl, what.space, job["metadata"]["name"]) or given or "its job failed"
    return ""


def _said(kubectl: Kubectl, space: str, job: str) -> str:
    """Return the reason that the newest failed pod of a job has logged; empty: none."""
    words = ("--namespace", space, "get", "pods", "--selector", f"batch.kubernetes.io/job-name={job}")
    pods = kubectl.json(*words, "--sort-by=.metadata.creationTimestamp")["items"]
    for pod in reversed(pods):
        name = pod["metadata"]["name"]
        with contextlib.suppress(ToolError):  # its containers may never have begun
            logged = kubectl.text("--namespace", space, "logs", name, "--all-containers", "--tail=400")
            if found := reason(logged):
                return f"{found} (pod {name})"
    return ""


def reason(logged: str) -> str:
    """Return why a restore failed, from what its containers have logged, a JSON object a line; empty: it is not said.

    PostgreSQL's own last word comes first, then the last error of the programs around it.
    """
    postgresql = around = ""
    for line in logged.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if not isinstance(entry, dict):
            continue
        record = entry.get("record")
        if isinstance(record, dict) and record.get("error_severity") in ("ERROR", "FATAL", "PANIC"):
            postgresql = f"{record['error_severity']}: {record.get('message', '')}"
        elif entry.get("level") == "error":
            around = ": ".join(str(entry[key]) for key in ("msg", "error") if entry.get(key))
    return (postgresql or around)[:400]


def remove(kubectl: Kubectl, space: str, name: str, *, keep_cluster: bool = False) -> None:
    """Remove what a restore has made, by its label; the cluster may stay, with what its record refers to."""
    label = f"{recovery.TEMPORARY}={name}"
    kept = () if not keep_cluster else tuple(kind for kind in KINDS if kind not in ("pods", "services"))
    wanted = ",".join(kind for kind in KINDS if kind not in kept)
    kubectl.text(
        "--namespace", space, "delete", wanted, "--selector", label, "--ignore-not-found", seconds=300
    )


def _wait(kubectl: Kubectl, space: str, what: str, condition: str, seconds: int) -> None:
    words = ("wait", f"--for=condition={condition}", what, f"--timeout={seconds}s")
    kubectl.text("--namespace", space, *words, seconds=seconds + 10)


def logical_copy(
    kubectl: Kubectl, space: str, source: str, target: str, database: str, into: str, owner: str
) -> None:
    """Copy one database from one server into a new database of another, in one transaction.

    Raises:
        ToolError: it does not work; the new database is then to be dropped.
    """
    where = [*kubectl.words, "--namespace", space, "exec", "--stdin"]
    dump = ["pg_dump", "--format=custom", "--compress=0", "--dbname", database]
    load = ["pg_restore", "--single-transaction", "--exit-on-error", "--dbname", into]
    create = ["createdb", "--owner", owner, "--template", "template0", into]
    kubectl.execute(space, target, "postgres", *create)
    with (
        subprocess.Popen([*where, source, "-c", "postgres", "--", *dump], stdout=subprocess.PIPE) as out,
        subprocess.Popen(
            [*where, target, "-c", "postgres", "--", *load],
            stdin=out.stdout,
            stderr=subprocess.PIPE,
            text=True,
        ) as loaded,
    ):
        assert out.stdout  # noqa: S101 - a pipe
        out.stdout.close()
        said = loaded.communicate()[1]
    if out.returncode or loaded.returncode:
        raise ToolError(
            f"copying {database} failed: {said.strip()[-300:]}", where=f"pods {source}, {target}",
            fix="see that the volume has room for a second copy; what serves was left alone",
        )  # fmt: skip


#: A client that comes back between the first and the second line makes the third fail, and then nothing is done: while
#: a database is being renamed nobody new gets in.
SWITCH = """
begin;
select pg_terminate_backend(pid) from pg_stat_activity where datname in ({names}) and pid <> pg_backend_pid();
alter database {old} rename to {aside};
alter database {new} rename to {old};
commit;
"""


def switch(ask: Callable[[str], Sequence[Any]], database: str, new: str, aside: str) -> None:
    """Let a database take the place of another, which stays under a name of its own: at once or not at all.

    Raises:
        ToolError: it is in use all the time.
    """

    def quoted(name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    names = ", ".join("'" + name.replace("'", "''") + "'" for name in (database, new))
    text = SWITCH.format(names=names, old=quoted(database), new=quoted(new), aside=quoted(aside))
    for tries in range(SWITCHES):
        try:
            ask(text)
        except ToolError as error:
            if tries + 1 == SWITCHES:
                raise ToolError(
                    f"database {database} could not be switched: {error.what}", where=database,
                    fix="stop what uses it and run the command again; what serves was left alone",
                ) from None  # fmt: skip
            time.sleep(0.5)
        else:
            return
