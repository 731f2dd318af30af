"""A cluster that comes back beside the one that serves: its policies are there while it needs them."""

import pytest

from infra.backup import beside, recovery, restore

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
