"""A cluster that comes back beside the one that serves: its policies are there while it needs them."""

import pytest

from infra.backup import beside, recovery, restore
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

    class Failing:
        def json(self, *words):
            if "pods" in words:
                return {"items": [{"metadata": {"name": name}} for name in ("a", "b")]}
            return {"items": [{"metadata": {"name": "job"}, "status": {"conditions": [condition]}}]}

        def text(self, *words):
            if newest is None:
                raise ToolError("no container has begun", where="pod", fix="")
            return newest if "b" in words else RECORD % ("FATAL", "an older one")

        def find(self, *_):
            return None

    what = beside.Beside(site=lab, live=LIVE, name="x-db", space="drill-x-db")
    with pytest.raises(IntegrityError, match="does not come up") as raised:
        beside._ready(Failing(), what)
    assert expected in raised.value.what
