"""Manifests with which a PostgreSQL cluster comes back beside the one that serves, or in a sealed namespace. Pure.

The copies are put into an object storage of its own for as long as it takes: what is proven and what is done in earnest
read the same sealed copies, and neither needs the cluster's own storage.
Sources: https://cloudnative-pg.io/documentation/current/recovery/,
https://cloudnative-pg.io/plugin-barman-cloud/docs/usage/#restoring-a-cluster
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from infra import labels, naming
from infra.backup.sql import point_name
from infra.components.workload.allow import (
    CNPG_CLUSTER,
    Allow,
    dns,
    postgresql,
)
from infra.components.workload.namespace import NamespaceArgs, namespace, network_policies
from infra.components.workload.pod import CONTAINER_SECURITY, pod
from infra.model.site import Site

Object = dict[str, Any]
PLUGIN = "barman-cloud.cloudnative-pg.io"
STORE_IMAGE = "docker.io/versity/versitygw:v1.7.0"
#: Port and user of the storage.
PORT, USER = 7070, 65532
#: Container that the copies are poured into, and folder of the bucket: a top folder is a bucket.
FILLER, BUCKET = "fill", "archive"
#: Of everything that a restore makes and removes again.
TEMPORARY = "tinh/restore"
#: Spec fields of a cluster that belong to where it serves, not to what it holds.
NOT_TAKEN = (
    "bootstrap",
    "externalClusters",
    "plugins",
    "managed",
    "replica",
    "backup",
    "certificates",
    "affinity",
)


def store_name(cluster: str) -> str:
    """Return the name of a restore's storage: of its pod, Service, Secret and ObjectStore."""
    return naming.name(cluster, "copies")


def sealed_namespace(site: Site, name: str, cluster: str) -> list[Object]:
    """Return a namespace from which nothing gets out but to the operator, the API and the storage inside.

    Args:
        site: the site.
        name: of the namespace.
        cluster: name of the PostgreSQL cluster in it.
    """
    args = NamespaceArgs(
        name=name, part_of="drill", allow=(dns(), *_rules(site, cluster)), labels={TEMPORARY: name}
    )
    return [namespace(args), *network_policies(args)]


def beside_policies(site: Site, space: str, cluster: str) -> list[Object]:
    """Return what a restored cluster needs in a namespace where everything else is denied already."""
    args = NamespaceArgs(name=space, part_of=space, allow=_rules(site, cluster))
    made = [policy for policy in network_policies(args) if policy["metadata"]["name"] != "default-deny"]
    for policy in made:
        policy["metadata"]["name"] = naming.name(cluster, policy["metadata"]["name"])
        policy["metadata"]["labels"] = {**policy["metadata"]["labels"], TEMPORARY: cluster}
    return made


def _rules(site: Site, cluster: str) -> tuple[Allow, ...]:
    pods, storage = {CNPG_CLUSTER: cluster}, labels.selector(store_name(cluster))
    peer = [{"podSelector": {"matchLabels": storage}}]
    port = [{"protocol": "TCP", "port": PORT}]
    return (
        *postgresql(site, cluster, labels.selector("nobody")),
        # barman's sidecar and the job that restores carry the cluster's label
        Allow("to-store", {"podSelector": {"matchLabels": pods}, "policyTypes": ["Egress"],
                           "egress": [{"to": peer, "ports": port}]}),
        Allow("store", {"podSelector": {"matchLabels": storage}, "policyTypes": ["Ingress"],
                        "ingress": [{"from": [{"podSelector": {"matchLabels": pods}}], "ports": port}]}),
    )  # fmt: skip


def store(space: str, cluster: str, image: str, key: str, size: str) -> list[Object]:
    """Return an object storage for the copies: Secret, Service, Pod, and how the cluster finds it.

    Args:
        space: namespace.
        cluster: the PostgreSQL cluster that reads from it.
        image: with a shell and tar: the cluster's own, which is there already.
        key: secret key of its only account.
        size: of what it may hold, for example `2Gi`.
    """
    name = store_name(cluster)
    metadata = {
        "name": name,
        "namespace": space,
        "labels": labels.labels(name, space) | {TEMPORARY: cluster},
    }
    mount = {"name": "data", "mountPath": "/data"}
    server = {
        "name": "versitygw", "image": STORE_IMAGE,
        "args": ["--port", f":{PORT}", "--health", "/healthz", "posix", "/data/s3"],
        "envFrom": [{"secretRef": {"name": name}}],
        "ports": [{"containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": PORT}, "periodSeconds": 2},
        "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        "volumeMounts": [mount],
    }  # fmt: skip
    filler = {
        "name": FILLER, "image": image, "command": ["sleep", "infinity"],
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "128Mi"}},
        "volumeMounts": [mount],
    }  # fmt: skip
    folders = filler | {"name": "folders", "command": ["mkdir", "-p", f"/data/s3/{BUCKET}"]}
    spec = pod(
        name, USER, [server, filler], [{"name": "data", "emptyDir": {"sizeLimit": size}}],
        initContainers=[folders | {"securityContext": CONTAINER_SECURITY}],
        # Nothing in it has to be saved, and `sleep` does not end by itself: a restore would wait for it for 30 s.
        terminationGracePeriodSeconds=1,
    )  # fmt: skip
    access = {"ACCESS_KEY_ID": name, "ACCESS_SECRET_KEY": key}
    secret = {"ROOT_ACCESS_KEY": name, "ROOT_SECRET_KEY": key, **access}
    return [
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": secret},
        {
            "apiVersion": "v1", "kind": "Service", "metadata": metadata,
            "spec": {
                "ipFamilyPolicy": "PreferDualStack", "selector": labels.selector(name), "ports": [{"port": PORT}]
            },
        },
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec},
        {
            "apiVersion": "barmancloud.cnpg.io/v1", "kind": "ObjectStore", "metadata": metadata,
            "spec": {
                "configuration": {
                    "destinationPath": f"s3://{BUCKET}/",
                    # Sealed in: only pods of this cluster reach it, and what it holds goes with its pod.
                    "endpointURL": f"http://{name}.{space}.svc:{PORT}",
                    "s3Credentials": {
                        "accessKeyId": {"name": name, "key": "ACCESS_KEY_ID"},
                        "secretAccessKey": {"name": name, "key": "ACCESS_SECRET_KEY"},
                    },
                    "wal": {"maxParallel": 4},
                }
            },
        },
    ]  # fmt: skip


def base_of(names: Iterable[str]) -> str:
    """Return the id of the newest base backup among the names of an archive's objects; empty without one."""
    return max((part.split("/")[0] for name in names for part in name.split("/base/")[1:]), default="")


def recovered(
    live: Mapping[str, Any], name: str, space: str, server: str, *, to: datetime | None, point: str, base: str
) -> Object:
    """Return a cluster that comes back from the storage above, made as the one that serves.

    It has one instance and archives nothing: it is there to be looked at, or to be copied from.

    Args:
        live: the cluster that serves, as it is in Kubernetes.
        name: of the new one.
        space: its namespace.
        server: name under which the archive was written.
        to: as of this moment; None: see `point`.
        point: name of the backup as of whose restore point; empty: as new as the archive is.
        base: id of the base backup to begin with, which a named point needs: its time is not known before.
    """
    spec = {key: value for key, value in copy.deepcopy(dict(live["spec"])).items() if key not in NOT_TAKEN}
    postgresql_spec = {
        key: value for key, value in spec.get("postgresql", {}).items()
        if key not in ("synchronous", "syncReplicaElectionConstraint")
    }  # fmt: skip
    # Without these, a database `app` that the live one does not have would be made.
    named = live["spec"].get("bootstrap", {}).get("initdb", {})
    recovery: Object = {"source": "copies"} | {
        key: named[key] for key in ("database", "owner") if key in named
    }
    if to:
        recovery["recoveryTarget"] = {"targetTime": to.isoformat(timespec="microseconds")}
    elif point:
        recovery["recoveryTarget"] = {"targetName": point_name(point), "backupID": base}
    return {
        "apiVersion": live["apiVersion"],
        "kind": "Cluster",
        "metadata": {
            "name": name, "namespace": space, "labels": labels.labels(name, space) | {TEMPORARY: name},
            # It has no archive. While it comes up the operator's command fails where there is none, and both times that
            # PostgreSQL is stopped it waits for three tries.
            "annotations": {"cnpg.io/skipWalArchiving": "enabled"},
        },
        "spec": spec | {
            "instances": 1,
            "enablePDB": False,
            "affinity": {"enablePodAntiAffinity": False},
            "managed": {"services": {"disabledDefaultServices": ["ro", "r"]}},
            "postgresql": postgresql_spec,
            "bootstrap": {"recovery": recovery},
            "externalClusters": [
                {
                    "name": "copies",
                    "plugin": {
                        "name": PLUGIN,
                        "parameters": {"barmanObjectName": store_name(name), "serverName": server},
                    },
                }
            ],
        },
    }  # fmt: skip


def restorable(items: Sequence[str], server: str) -> list[str]:
    """Return the names of a backup's items that belong below the bucket of the storage."""
    return [name for name in items if name.startswith(f"{server}/")]
