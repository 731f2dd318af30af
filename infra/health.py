"""What is not as it ought to be in a site's cluster: nodes, databases, servers, volumes; and what one does about it.

The findings are pure functions of what Kubernetes and the kubelets say. Operators mend most of it by themselves; what
is named is there now.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from infra.backup.kubectl import Kubectl
from infra.errors import ToolError
from infra.model.site import Site

#: What is looked at.
KINDS = (
    "nodes,persistentvolumeclaims,deployments.apps,statefulsets.apps,clusters.postgresql.cnpg.io,"
    "endpointslices.discovery.k8s.io"
)
#: Percent of a volume from which on somebody must look.
FULL = 90
#: Phase of a database that does not start because two segments of its log have no room (CloudNativePG 1.30,
#: internal/controller/cluster_controller.go).
NO_ROOM = "Not enough disk space"

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """Something that is not as it ought to be.

    Args:
        where: kind, namespace and name.
        what: is wrong.
        fix: what one does.
    """

    where: str
    what: str
    fix: str

    def data(self) -> dict[str, str]:
        """Return it as plain data."""
        return asdict(self)

    def __str__(self) -> str:
        """Return one line for people."""
        return f"RED {self.where}: {self.what}; {self.fix}"


def look(site: Site) -> list[Finding]:
    """Return what is not as it ought to be in a site's cluster; what cannot be asked is a finding too.

    Raises:
        TinhError: the cluster is missing, does not answer, or is not the site's.
    """
    kubectl = Kubectl(site)
    objs = kubectl.json("get", KINDS, "--all-namespaces")["items"]
    found = findings(objs)
    for node in (obj["metadata"]["name"] for obj in objs if obj["kind"] == "Node" and not _node(obj)):
        try:
            summary = json.loads(kubectl.text("get", f"--raw=/api/v1/nodes/{node}/proxy/stats/summary"))
        except ToolError as error:
            found.append(
                Finding(f"node {node}", f"its volumes are not known: {error.what}", "see its kubelet")
            )
        else:
            found += volumes(summary)
    return found


def findings(objs: Iterable[Object]) -> list[Finding]:
    """Return what is wrong with objects of the cluster, nodes first. Pure."""
    order = list(JUDGES)
    known = sorted((obj for obj in objs if obj["kind"] in JUDGES), key=lambda obj: order.index(obj["kind"]))
    return [finding for obj in known for finding in JUDGES[obj["kind"]](obj)]


def volumes(summary: Object) -> list[Finding]:
    """Return the claims that are nearly full, from what a kubelet says about its pods (`/stats/summary`). Pure.

    A kubelet measures volumes of drivers and of type `local`; folders of a node (`hostPath`) have no size of their own.
    """
    found = {}
    for pod in summary.get("pods", ()):
        for volume in pod.get("volume", ()):
            claim, size = volume.get("pvcRef"), volume.get("capacityBytes")
            if not claim or not size:
                continue
            percent = volume.get("usedBytes", 0) * 100 // size
            if percent >= FULL:
                where = f"volume {claim['namespace']}/{claim['name']}"
                found[where] = Finding(
                    where, f"{percent} % of {size >> 20} MiB are used",
                    "enlarge it; a database's fills up while its log does not reach the archive",
                )  # fmt: skip
    return list(found.values())


def _node(node: Object) -> list[Finding]:
    ready = _condition(node, "Ready")
    if ready.get("status") == "True":
        return []
    since = ready.get("lastTransitionTime", "it is there")
    return [
        Finding(
            f"node {node['metadata']['name']}", f"not ready since {since}: {ready.get('message', 'no reason')}",
            "see that the machine runs; what is on its own disk comes back with it",
        )
    ]  # fmt: skip


def _database(cluster: Object) -> list[Finding]:
    at, status = cluster["metadata"], cluster.get("status", {})
    space, name = at["namespace"], at["name"]
    where, found = f"database {space}/{name}", []
    ready, wanted = status.get("readyInstances", 0), cluster["spec"]["instances"]
    phase = status.get("phase", "nothing is known")
    if phase == NO_ROOM:
        found.append(
            Finding(
                where, "its volume has no room for its log (WAL): it does not run",
                "enlarge the volume and see why archiving fails; it starts by itself then; remove nothing from pg_wal",
            )
        )  # fmt: skip
    elif ready < wanted:
        found.append(
            Finding(
                where, f"{ready} of {wanted} instances are ready: {phase}",
                f"lost ones are made anew by themselves; see kubectl -n {space} get pods -l cnpg.io/cluster={name}",
            )
        )  # fmt: skip
    archive, backup = _condition(cluster, "ContinuousArchiving"), _condition(cluster, "LastBackupSucceeded")
    if archive.get("status") == "False":
        found.append(
            Finding(
                where, f"its log (WAL) does not reach the archive: {_short(archive)}",
                "see that the object storage runs and has room; until then the log fills the database's volume",
            )
        )  # fmt: skip
    if backup.get("status") == "False":
        found.append(
            Finding(where, f"its last base backup failed: {_short(backup)}", f"tinh backup run {name}")
        )
    return found


def _servers(workload: Object) -> list[Finding]:
    at, kind = workload["metadata"], workload["kind"].lower()
    wanted = workload["spec"].get("replicas", 1)
    ready = workload.get("status", {}).get("readyReplicas", 0)
    if ready >= wanted:
        return []
    space, name = at["namespace"], at["name"]
    return [
        Finding(
            f"{kind} {space}/{name}", f"{ready} of {wanted} servers are ready",
            f"see kubectl -n {space} describe {kind} {name}",
        )
    ]  # fmt: skip


def _service(endpoints: Object) -> list[Finding]:
    """Name a Service that no pod belongs to: whoever serves it was removed. What is not ready, `_servers` names.

    A database has Services for what it may not have, such as one of only replicas; `_database` names what it lacks.
    """
    at = endpoints["metadata"]
    name = at.get("labels", {}).get("kubernetes.io/service-name")
    if not name or endpoints.get("endpoints") or "cnpg.io/cluster" in at["labels"]:
        return []
    return [
        Finding(
            f"service {at['namespace']}/{name}", f"no pod serves it over {endpoints['addressType']}",
            "if its server was removed: pulumi refresh of its layer (docs/deploying.md), then tinh up",
        )
    ]  # fmt: skip


def _claim(claim: Object) -> list[Finding]:
    at = claim["metadata"]
    where = f"volume {at['namespace']}/{at['name']}"
    if "deletionTimestamp" in at:
        return [
            Finding(
                where, "it was deleted and goes as soon as its pod ends",
                "this cannot be taken back: see that a second instance or a backup has the data, then end the pod",
            )
        ]  # fmt: skip
    if claim.get("status", {}).get("phase") == "Lost":
        return [Finding(where, "what it stood for is gone", "restore its data set: tinh restore")]
    return []


#: Kind -> what judges it, in the order in which it is shown.
JUDGES: dict[str, Callable[[Object], list[Finding]]] = {
    "Node": _node,
    "Cluster": _database,
    "Deployment": _servers,
    "StatefulSet": _servers,
    "EndpointSlice": _service,
    "PersistentVolumeClaim": _claim,
}


def _condition(obj: Object, name: str) -> Object:
    conditions = obj.get("status", {}).get("conditions", ())
    return next((item for item in conditions if item["type"] == name), {})


def _short(condition: Object) -> str:
    """Return the first line of what a condition says."""
    return (condition.get("message") or condition.get("reason") or "no reason given").splitlines()[0][:200]
