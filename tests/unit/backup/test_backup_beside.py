"""A cluster that comes back beside the one that serves: its policies are there while it needs them."""

import os
import subprocess

import pytest

from infra.backup import beside, bring, recovery, restore
from infra.backup.vault import Vault
from infra.errors import IntegrityError, ToolError

LIVE = {"metadata": {"name": "x-db"}, "spec": {"imageName": "image", "instances": 1}}


class Cluster:
    """Stands for Kubernetes: keeps what was applied, loses what is removed by label."""

    def __init__(self):
        self.there = []

    def find(self, kind, name, *_):
        return LIVE if name == "x-db" else None

    def apply(self, objs, **_):
        self.there += objs

    def text(self, *words, **_):
        if "delete" in words:
            self.there.clear()


@pytest.mark.parametrize("in_place", [False, True])
def test_what_a_killed_restore_left_is_removed_before_the_policies_are_made(lab, monkeypatch, in_place):
    cluster = Cluster()
    seen = []

    def look(*_, **__):
        seen.append([obj for obj in cluster.there if obj["kind"] == "NetworkPolicy"])
        raise InterruptedError

    monkeypatch.setattr(restore, "Kubectl", lambda site: cluster)
    monkeypatch.setattr(beside, "_wait", lambda *_: None)
    monkeypatch.setattr(beside, "pour", look)
    monkeypatch.setattr(recovery, "base_of", lambda items: "")
    plan = type("Plan", (), {"in_place": in_place, "into": "past", "to": None})
    plan.data_set = type("Set", (), {"name": "x-db", "namespace": "x"})
    job = restore.Restore(
        site=lab, plan=plan, vault=type("Vault", (), {"name": "backup1"}), identity="", tell=str, progress=max
    )
    with pytest.raises(InterruptedError):
        restore._postgresql(job, {})
    (policies,) = seen
    name = "x-db-restore" if in_place else "past"
    assert policies
    assert all(policy["metadata"]["labels"][recovery.TEMPORARY] == name for policy in policies)
    assert cluster.there == []


RECORD = '{"level":"info","logger":"postgres","msg":"record","record":{"error_severity":"%s","message":"%s"}}'
AROUND = '{"level":"error","msg":"restore error","error":"while starting PostgreSQL: exit status 1"}'


@pytest.mark.parametrize(
    ("logged", "expected"),
    [
        ([RECORD % ("LOG", "starting"), RECORD % ("FATAL", "recovery ended before"), AROUND],
         "FATAL: recovery ended before"),
        ([RECORD % ("LOG", "starting"), AROUND], "restore error: while starting PostgreSQL: exit status 1"),
        ([RECORD % ("LOG", "starting"), "no JSON", "7", '{"record": 7}'], ""),
    ],
)  # fmt: skip
def test_the_reason_of_a_failed_restore_is_read_from_what_was_logged(logged, expected):
    assert beside.reason("\n".join(logged)) == expected


@pytest.mark.parametrize(
    ("newest", "expected"),
    [(AROUND, "exit status 1 (pod b)"), ("", "FATAL: an older one (pod a)"), (None, "backoff limit")],
)
def test_a_restore_that_fails_names_the_reason_of_its_newest_pod(lab, newest, expected):
    condition = {"type": "Failed", "status": "True", "message": "Job has reached the specified backoff limit"}
    assert expected in said(lab, {"conditions": [condition]}, newest)


def test_a_restore_is_given_up_at_its_third_failure(lab):
    assert "exit status 1 (pod b)" in said(lab, {"failed": beside.TRIES, "active": 1}, AROUND)
    with pytest.raises(InterruptedError, match="it waits"):
        said(lab, {"failed": beside.TRIES - 1, "active": 1}, AROUND)


def said(site, status, newest):
    """What is said of a restore whose job has a status and whose newest pod has logged something."""

    class Failing:
        def json(self, *words):
            if "pods" in words:
                return {"items": [{"metadata": {"name": name}} for name in ("a", "b")]}
            return {"items": [{"metadata": {"name": "job"}, "status": status}]}

        def text(self, *words):
            if newest is None:
                raise ToolError("no container has begun", where="pod", fix="")
            return newest if "b" in words else RECORD % ("FATAL", "an older one")

        def find(self, *_):
            return None

    def wait(_):
        raise InterruptedError("it waits")

    what = beside.Beside(site=site, live=LIVE, name="x-db", space="drill-x-db")
    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(IntegrityError, match="does not come up") as raised,
    ):
        patch.setattr(beside.time, "sleep", wait)
        beside._ready(Failing(), what)
    return raised.value.what


CONTENT = {
    f"x-db/{name}": os.urandom(size)
    for name, size in {
        "base/nothing": 0,
        "wals/1": 1,
        "wals/2": 512,
        "wals/3": 3_000_001,
        "n" * 150: 7,
    }.items()
}


class Filled:
    """Stands for Kubernetes: a container's command runs here."""

    def __init__(self, *command):
        self.command = command

    def pour(self, *_):
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(self.command, stdin=pipe, stdout=subprocess.DEVNULL, stderr=pipe)
        return self.process


def poured(site, cluster, monkeypatch, content):
    """Fill a storage with items, which the copy has with some content."""

    def fetch(item, coming, identity, sink):
        sink.write(content[item.name])
        if len(content[item.name]) != item.size:
            raise IntegrityError("it is damaged", where="backup1", fix="")

    monkeypatch.setattr(bring, "fetch", fetch)
    items = {
        name: type("Item", (), {"name": name, "size": len(data), "blob": None})
        for name, data in {**CONTENT, "marker.json": b"stays out"}.items()
    }
    what = beside.Beside(site=site, live=LIVE, name="past", space="x")
    beside.pour(cluster, what, items, Vault("backup1", ("false",)), "", lambda *_: None)


def test_items_are_poured_into_the_storage_as_they_are(lab, monkeypatch, tmp_path):
    poured(lab, Filled("tar", "-x", "-f", "-", "-C", str(tmp_path)), monkeypatch, CONTENT)
    found = {str(f.relative_to(tmp_path)): f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()}
    assert found == CONTENT


def test_a_damaged_item_ends_the_stream(lab, monkeypatch, tmp_path):
    cluster = Filled("tar", "-x", "-f", "-", "-C", str(tmp_path))
    with pytest.raises(IntegrityError, match="damaged"):
        poured(lab, cluster, monkeypatch, CONTENT | {"x-db/wals/2": b"less"})
    assert cluster.process.wait(10) != 0


def test_a_storage_that_takes_not_everything_is_named(lab, monkeypatch):
    cluster = Filled("sh", "-c", "head -c 100000 > /dev/null; echo no space left >&2; exit 1")
    with pytest.raises(ToolError, match="no space left"):
        poured(lab, cluster, monkeypatch, CONTENT)
