"""A database of the bench's own while it is there: made in a namespace of its own, and removed in the end."""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from infra import paths
from infra.backup.kinds import postgresql as kind
from infra.backup.kubectl import Kubectl
from infra.backup.store import Store, reached
from infra.components.data.buckets import ADMINISTRATOR, ENDPOINT, BucketArgs, policy
from infra.components.workload.allow import OBJECTS
from infra.contract import DataContract
from infra.model.data import Holding, load_data
from infra.model.platform import load_platforms
from infra.model.site import Site, SiteKind
from stacks.data import SIDECAR_IMAGE
from tests.bench.machines import kubectl_of
from tests.bench.manifests import DATABASE, SPACE, Object, client_pod, door, holding, objects
from tests.bench.measure import MeasureError

CLUSTERS = "clusters.postgresql.cnpg.io"
#: Seconds until the database is ready, and until all of it is gone.
READY, GONE = 600, 300


@dataclass(frozen=True)
class BenchDatabase:
    """The database while it is there.

    Args:
        site: the site.
        kubectl: its cluster.
        name: of the CNPG Cluster.
        image: of its instances.
    """

    site: Site
    kubectl: Kubectl
    name: str
    image: str

    @property
    def cluster(self) -> Object:
        """The cluster as it is now."""
        return self.kubectl.json("--namespace", SPACE, "get", CLUSTERS, self.name)

    @property
    def primary(self) -> str:
        """Pod of the primary."""
        return kind.primary(self.kubectl, SPACE, self.name)

    def instances(self) -> list[Object]:
        """Return the pods of the instances."""
        words = ("get", "pods", "--selector", f"cnpg.io/cluster={self.name},cnpg.io/podRole=instance")
        return self.kubectl.json("--namespace", SPACE, *words)["items"]

    def sql(self, text: str, pod: str = "") -> str:
        """Return what the primary, or another instance, answers to SQL in the bench's database."""
        words = ("psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", DATABASE)
        at = pod or self.primary
        return self.kubectl.execute(SPACE, at, kind.CONTAINER, *words, stdin=text).strip()

    @contextlib.contextmanager
    def running(self, obj: Object) -> Generator[str, None, None]:
        """Have a pod run, return its name, and remove it in the end."""
        name = obj["metadata"]["name"]
        at = ("--namespace", SPACE)
        self.kubectl.apply([obj])
        try:
            ready = ("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=180s")
            self.kubectl.text(*at, *ready, seconds=200)
            yield name
        finally:
            self.kubectl.text(*at, "delete", "pod", name, "--ignore-not-found", seconds=120)

    def application(self, command: list[str]) -> contextlib.AbstractContextManager[str]:
        """Have a pod run a command with Python and what the database's application is given."""

        def of(key: str) -> Object:
            return {"secretKeyRef": {"name": f"{self.name}-app", "key": key}}

        user = {"PGUSER": of("username"), "PGPASSWORD": of("password"), "PGDATABASE": of("dbname")}
        return self.running(client_pod("application", SIDECAR_IMAGE, self.name, command, [], **user))


def settled(
    cluster: Mapping[str, Any], pods: list[Object], instances: int, *, gone: str = "", primary: str = ""
) -> bool:
    """Return whether all instances of a cluster are ready again.

    Args:
        cluster: as it is in Kubernetes.
        pods: of its instances.
        instances: how many there must be.
        gone: uid of a pod that was killed: a state with it is an old one.
        primary: which one must be the primary; empty: any.
    """
    status = cluster.get("status", {})
    ready = [
        pod
        for pod in pods
        if any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))
        and "deletionTimestamp" not in pod["metadata"]
    ]
    return (
        all(pod["metadata"]["uid"] != gone for pod in pods)
        and len(ready) == len(pods) == instances == status.get("readyInstances")
        and status.get("currentPrimary") == status.get("targetPrimary")
        and primary in ("", status.get("currentPrimary"))
    )


def wait(condition: Callable[[], bool], seconds: float, what: str, pause: float = 1.0) -> float:
    """Wait for something and return the seconds until it was so.

    Raises:
        MeasureError: it takes too long.
    """
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        if condition():
            return time.monotonic() - began
        time.sleep(pause)
    raise MeasureError(f"not within {seconds:.0f} s: {what}")


@contextlib.contextmanager
def database(site: Site, instances: int, size: str) -> Generator[BenchDatabase, None, None]:
    """Make the database, and remove all of it in the end, Ctrl-C or not.

    Raises:
        MeasureError: it does not come up, or the site is no lab.
        TinhError: the cluster or its object storage does not answer.
    """
    if site.kind is not SiteKind.LAB:
        raise MeasureError(f"site {site.name} is no lab")
    kubectl = kubectl_of(site)
    image = next(
        store.image
        for platform in load_platforms(site)
        for store in platform.data
        if store.engine == "postgresql"
    )
    held = holding(image)
    key = _administrator(kubectl)
    promise = DataContract(
        authority=(paths.state(site.name).pki / "ca.crt").read_text("utf-8"),
        objects=ENDPOINT,
        streams="",
        mail="",
        classes=load_data(site).classes,
    )
    made = BenchDatabase(site, kubectl, held.name, image)
    try:
        _remove(kubectl)  # what a killed one has left
        with reached(site, kubectl, ADMINISTRATOR, key) as store:
            _empty(store, held.bucket)
            _make_bucket(store, held)
        kubectl.apply([door(), *objects(site, held, promise, key, instances, size)])
        wait(
            lambda: settled(made.cluster, made.instances(), instances),
            READY,
            f"database {made.name} is ready",
            2,
        )
        yield made
    finally:
        _remove(kubectl)
        with reached(site, kubectl, ADMINISTRATOR, key) as store:
            _empty(store, held.bucket)


def _administrator(kubectl: Kubectl) -> str:
    """Return the key of the storage's administrator."""
    secret = kubectl.json("--namespace", OBJECTS, "get", "secret", ADMINISTRATOR)
    return base64.b64decode(secret["data"]["ROOT_SECRET_KEY"]).decode()


def _make_bucket(store: Store, held: Holding) -> None:
    """Make the archive's bucket as layer `data` does, but without locks: it is to go away."""
    from minio.commonconfig import ENABLED
    from minio.versioningconfig import VersioningConfig

    bucket = BucketArgs(name=held.bucket, tags={}, secret=cast("Any", None), lock_days=0, removable=False)
    store.client.make_bucket(held.bucket)
    store.client.set_bucket_versioning(held.bucket, VersioningConfig(ENABLED))
    rules = policy(bucket)
    # Its own account does not exist.
    rules["Statement"] = [each for each in rules["Statement"] if each["Principal"]["AWS"] != [held.bucket]]
    store.client.set_bucket_policy(held.bucket, json.dumps(rules))


def _empty(store: Store, bucket: str) -> None:
    """Remove a bucket with every version in it; several at once are refused to everybody."""
    if not store.client.bucket_exists(bucket):
        return
    for found in store.client.list_objects(bucket, recursive=True, include_version=True):
        store.client.remove_object(bucket, str(found.object_name), version_id=found.version_id)
    store.client.remove_bucket(bucket)


def _remove(kubectl: Kubectl) -> None:
    """Remove the namespace with all that is in it, and the way into the object storage."""
    words = ("namespace", SPACE, "--ignore-not-found", f"--timeout={GONE}s")
    kubectl.text("delete", *words, seconds=GONE + 10)
    name = door()["metadata"]["name"]
    kubectl.text("--namespace", OBJECTS, "delete", "networkpolicy", name, "--ignore-not-found")
