"""Objects of the cluster that nothing else brings back: neither Pulumi nor an operator has made them.

Velero would save the same objects and, where the storage can make them, snapshots of volumes; docs/adr says why it is
not used here.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra import labels
from infra.backup.kubectl import Kubectl
from infra.backup.source import Facts, Ground, Taken, file_item, private_folder

FILE = "objects.json"
#: What changes by itself or is about machines and moments.
TRANSIENT = {
    "events",
    "events.events.k8s.io",
    "endpoints",
    "endpointslices.discovery.k8s.io",
    "leases.coordination.k8s.io",
    "pods",
    "pods.metrics.k8s.io",
    "replicasets.apps",
    "controllerrevisions.apps",
    "persistentvolumeclaims",
}
#: Set by the API server; another cluster would refuse them or set its own.
SERVER = ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink")
#: Made in every namespace by Kubernetes itself.
BUILT_IN = {("ConfigMap", "kube-root-ca.crt"), ("ServiceAccount", "default")}


@contextlib.contextmanager
def take(ground: Ground) -> Generator[Taken, None, None]:
    """See `KindModule`.

    Raises:
        ToolError: the cluster does not answer.
    """
    kubectl = Kubectl(ground.site)
    at = datetime.now(UTC)
    kinds = kubectl.text("api-resources", "--namespaced", "--verbs=list,create", "--output=name").split()
    spaces = {
        item["metadata"]["name"]
        for item in kubectl.json("get", "namespaces", "--selector", f"{labels.MANAGED}=true")["items"]
    }
    wanted = ",".join(sorted(set(kinds) - TRANSIENT))
    found = kubectl.json("get", wanted, "--all-namespaces", "--show-managed-fields", "--ignore-not-found")
    kept = [
        clean(obj) for obj in found.get("items", []) if obj["metadata"]["namespace"] in spaces and orphan(obj)
    ]
    with private_folder(ground.site.name) as work:
        kept.sort(key=lambda o: (o["metadata"]["namespace"], o["kind"], o["metadata"]["name"]))
        (work / FILE).write_text(json.dumps(kept, indent=1, ensure_ascii=False), "utf-8")
        yield Taken([file_item(FILE, work / FILE)], at, count(work))


def count(folder: Path) -> Facts:
    """See `KindModule`."""
    objs = json.loads((folder / FILE).read_text("utf-8"))
    kinds = Counter(f"{obj['metadata']['namespace']}/{obj['kind']}" for obj in objs)
    return {"objects": len(objs), "kinds": dict(sorted(kinds.items()))}


def orphan(obj: dict[str, Any]) -> bool:
    """Return whether nobody makes an object anew: it has no owner, and Pulumi has not applied it."""
    metadata = obj["metadata"]
    managers = [str(field.get("manager", "")) for field in metadata.get("managedFields", [])]
    return (
        not metadata.get("ownerReferences")
        and not any(manager.startswith("pulumi") for manager in managers)
        and (obj["kind"], metadata["name"]) not in BUILT_IN
    )


def clean(obj: dict[str, Any]) -> dict[str, Any]:
    """Return an object as it can be created in another cluster."""
    metadata = {key: value for key, value in obj["metadata"].items() if key not in SERVER}
    return {key: value for key, value in obj.items() if key != "status"} | {"metadata": metadata}
