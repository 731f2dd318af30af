"""What is named about a cluster: a good and a bad input for each finding."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infra import health
from infra.health import findings, volumes

GOOD: dict[str, dict[str, Any]] = {
    "Node": {"status": {"conditions": [{"type": "Ready", "status": "True"}]}},
    "Cluster": {
        "spec": {"instances": 2},
        "status": {
            "readyInstances": 2,
            "phase": "Cluster in healthy state",
            "conditions": [
                {"type": "ContinuousArchiving", "status": "True"},
                {"type": "LastBackupSucceeded", "status": "True"},
            ],
        },
    },
    "Deployment": {"spec": {"replicas": 1}, "status": {"readyReplicas": 1}},
    "StatefulSet": {"spec": {"replicas": 3}, "status": {"readyReplicas": 3}},
    "EndpointSlice": {"addressType": "IPv6", "endpoints": [{"addresses": ["fd00::1"]}]},
    "PersistentVolumeClaim": {"status": {"phase": "Bound"}},
}
#: Labels of what belongs to a Service.
SERVICE = {"kubernetes.io/service-name": "db-rw"}


def obj(kind: str, metadata: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    at = {"name": "db", "namespace": "portal"} | (metadata or {})
    return {"kind": kind, "metadata": at} | GOOD[kind] | changes


def failed(kind: str, message: str) -> dict[str, Any]:
    """A database of which everything is well but one condition."""
    condition = {"type": kind, "status": "False", "message": message}
    return obj("Cluster", status=GOOD["Cluster"]["status"] | {"conditions": [condition]})


def test_what_is_well_is_not_named() -> None:
    assert findings([obj(kind) for kind in GOOD]) == []
    assert findings([{"kind": "Event"}]) == []


@pytest.mark.parametrize(
    ("bad", "where", "says", "do"),
    [
        (
            obj("Node", status={"conditions": [
                {"type": "Ready", "status": "Unknown", "lastTransitionTime": "T", "message": "no news"}]}),
            "node db", "not ready since T: no news", "machine runs",
        ),
        (obj("Node", status={}), "node db", "not ready", "machine runs"),
        (
            obj("Cluster", status={"readyInstances": 1, "phase": "Failing over"}),
            "database portal/db", "1 of 2 instances are ready: Failing over", "cnpg.io/cluster=db",
        ),
        (obj("Cluster", status={}), "database portal/db", "0 of 2 instances", "made anew"),
        (
            obj("Cluster", status={"readyInstances": 2, "phase": health.NO_ROOM}),
            "database portal/db", "no room for its log", "enlarge the volume",
        ),
        (
            failed("ContinuousArchiving", "exit status 1\nmore"),
            "database portal/db", "does not reach the archive: exit status 1", "object storage",
        ),
        (
            failed("LastBackupSucceeded", "no such bucket"),
            "database portal/db", "base backup failed: no such bucket", "tinh backup run db",
        ),
        (obj("Deployment", status={}), "deployment portal/db", "0 of 1 servers", "describe deployment db"),
        (obj("StatefulSet", status={"readyReplicas": 2}), "statefulset portal/db", "2 of 3", "describe"),
        (
            obj("PersistentVolumeClaim", {"deletionTimestamp": "T"}),
            "volume portal/db", "goes as soon as its pod ends", "second instance",
        ),
        (
            obj("PersistentVolumeClaim", status={"phase": "Lost"}),
            "volume portal/db", "is gone", "tinh restore",
        ),
        (
            obj("EndpointSlice", {"labels": SERVICE}, endpoints=None),
            "service portal/db-rw", "no pod serves it over IPv6", "pulumi refresh",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_once_with_what_to_do(bad: Any, where: str, says: str, do: str) -> None:
    (found,) = findings([bad, *(obj(kind) for kind in GOOD)])
    assert found.where == where
    assert says in found.what
    assert do in found.fix
    assert str(found).startswith("RED ")


@pytest.mark.parametrize("labels", [{}, SERVICE | {"cnpg.io/cluster": "db"}])
def test_endpoints_by_hand_and_a_databases_service_without_a_replica_are_not_named(labels: Any) -> None:
    assert findings([obj("EndpointSlice", {"labels": labels}, endpoints=[])]) == []


def test_a_lost_node_is_named_before_what_follows_from_it() -> None:
    lost = [obj("Deployment", status={}), obj("Cluster", status={}), obj("Node", status={})]
    assert [one.where.split()[0] for one in findings(lost)] == ["node", "database", "deployment"]


def summary(used: int, **more: Any) -> dict[str, Any]:
    volume = {
        "pvcRef": {"namespace": "portal", "name": "db-1-wal"},
        "usedBytes": used << 20,
        "capacityBytes": 200 << 20,
    }
    return {"pods": [{"volume": [volume | more, {"name": "tmp", "usedBytes": 1, "capacityBytes": 1}]}, {}]}


@pytest.mark.parametrize(("used", "named"), [(179, False), (180, True), (200, True)])
def test_a_volume_is_named_from_nine_tenths_on(used: int, named: bool) -> None:
    found = volumes(summary(used))
    assert bool(found) is named
    if named:
        assert found[0].where == "volume portal/db-1-wal"
        assert "of 200 MiB" in found[0].what


def test_a_volume_of_two_pods_is_named_once_and_one_without_a_size_is_not() -> None:
    both = {"pods": summary(200)["pods"] * 2}
    assert len(volumes(both)) == 1
    assert volumes(summary(200, capacityBytes=0)) == []
    assert volumes({}) == []


def test_the_cluster_is_asked_once_and_each_ready_node_for_its_volumes(lab, monkeypatch) -> None:
    from infra.errors import ToolError

    asked: list[str] = []

    class Fake:
        def __init__(self, site: Any) -> None:
            del site

        def json(self, *words: str) -> Any:
            nodes = [obj("Node", {"name": name}) for name in ("node1", "node2")]
            return {"items": [*nodes, obj("Node", {"name": "dead"}, status={})]} if words[0] == "get" else {}

        def text(self, *words: str) -> str:
            asked.append(words[1])
            if "node2" in words[1]:
                raise ToolError("no answer")
            return json.dumps(summary(200))

    monkeypatch.setattr(health, "Kubectl", Fake)
    assert [one.where for one in health.look(lab)] == ["node dead", "volume portal/db-1-wal", "node node2"]
    assert asked == [
        "--raw=/api/v1/nodes/node1/proxy/stats/summary",
        "--raw=/api/v1/nodes/node2/proxy/stats/summary",
    ]
