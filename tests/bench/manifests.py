"""Objects of the bench's database, by the product's functions. Pure.

It archives into a bucket of its own with the account of the storage's administrator: accounts are one Secret of layer
`data`, which a benchmark must not change. So it is for labs only.
"""

from __future__ import annotations

from typing import Any, cast

from infra import labels
from infra.components.data import database as product
from infra.components.data.access import access
from infra.components.data.buckets import ADMINISTRATOR
from infra.components.workload.allow import (
    OBJECTS,
    OBJECTS_PORT,
    dns,
    from_namespaces,
    postgresql,
    to_postgresql,
)
from infra.components.workload.namespace import NamespaceArgs, exception, namespace, network_policies
from infra.components.workload.pod import pod
from infra.contract import DataContract
from infra.model.data import DataStore, Holding
from infra.model.site import Site
from tests.known import Known, plain

Object = dict[str, Any]
SPACE = "bench-data"
DATABASE = "bench"
#: Pods that use the database carry it as their name.
CLIENT = "client"


def holding(image: str) -> Holding:
    """Return the bench's store as a platform would have it in its facts."""
    return Holding(
        SPACE,
        DataStore.model_validate(
            {
                "name": "db",
                "engine": "postgresql",
                "image": image,
                "holds": {"vi": "Dữ liệu đo thử", "en": "Data of the benchmark"},
                "data_class": "other",
                "sharing": "own",
                "personal_data": "none",
                "owner": {"code": "bench", "name": {"vi": "Đo thử", "en": "Benchmark"}},
                "recovery": {"point": 5, "time": 60},
            }
        ),
    )


def objects(
    site: Site, held: Holding, promise: DataContract, key: str, instances: int, size: str
) -> list[Object]:
    """Return namespace, policies, access to the archive, archive and cluster, in the order in which they depend.

    Args:
        site: the site.
        held: the store.
        promise: contract of the data layer.
        key: of the storage's administrator.
        instances: of the cluster.
        size: of each instance's volume.
    """
    args = product.DatabaseArgs(
        holding=held,
        instances=instances,
        size=size,
        memory="384Mi",
        database=DATABASE,
        data=cast("Any", Known(promise)),
        secret=cast("Any", None),
        simulated=True,  # Pulumi's annotations mean nothing here
    )
    client = labels.selector(CLIENT)
    space = NamespaceArgs(
        name=SPACE,
        part_of="bench",
        allow=(dns(), *postgresql(site, held.name, client), to_postgresql(held.name, client)),
    )
    content = access(held, promise, key) | {"access_key_id": ADMINISTRATOR}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": args.metadata(held.bucket),
        "stringData": content,
    }
    return [
        namespace(space),
        *network_policies(space),
        secret,
        plain(product.object_store(args, held.bucket)),
        plain(product.cluster(args)),
    ]


def door() -> Object:
    """Return the policy that lets the bench's namespace reach the object storage."""
    rule = from_namespaces("bench", labels.selector(OBJECTS), [SPACE], [OBJECTS_PORT])
    return exception(rule, OBJECTS, "bench")


def client_pod(
    name: str, image: str, cluster: str, command: list[str], volumes: list[Object], **env: Any
) -> Object:
    """Return a pod of level `restricted` that uses the database over TLS.

    Args:
        name: of the pod.
        image: what it runs.
        cluster: the database.
        command: what it does.
        volumes: further volumes, each mounted at /<name>.
        env: variable -> value, or where it is from.
    """
    given = {
        "PGHOST": f"{cluster}-rw",
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": "/authority/ca.crt",
        **env,
    }
    authority = {"secretName": f"{cluster}-ca", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    mounted = [{"name": "authority", "secret": authority}, *volumes]
    container = {
        "name": CLIENT,
        "image": image,
        "command": command,
        "env": [
            {"name": key, **({"value": value} if isinstance(value, str) else {"valueFrom": value})}
            for key, value in given.items()
        ],
        "volumeMounts": [{"name": volume["name"], "mountPath": f"/{volume['name']}"} for volume in mounted],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": SPACE, "labels": labels.labels(CLIENT, "bench")},
        "spec": pod(CLIENT, 26, [container], mounted, terminationGracePeriodSeconds=0, restartPolicy="Never"),
    }
