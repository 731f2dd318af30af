"""A PostgreSQL cluster (CloudNativePG) of one platform."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from infra import labels
from infra.components.manifest import Component, Manifest, Object, wait_for
from infra.components.workload.allow import POSTGRESQL_PORT


@dataclass(frozen=True, kw_only=True)
class PostgreSQLArgs:
    """The cluster.

    Args:
        namespace: where it runs.
        part_of: platform whose data it holds.
        image: PostgreSQL's image with CloudNativePG's instance layout.
        instances: one primary and its replicas.
        size: of each instance's volume, for example `10Gi`.
        memory: of each instance, for example `512Mi`.
        storage_class: of the volumes.
        database: name of the database and of its owner.
        simulated: nothing is awaited on a simulated site.
    """

    namespace: str
    part_of: str
    image: str
    instances: int
    size: str
    memory: str
    storage_class: pulumi.Input[str]
    database: str
    simulated: bool


def postgresql(name: str, args: PostgreSQLArgs) -> Object:
    """Return the CNPG Cluster.

    Passwords are made by the operator in the cluster (Secret `<name>-app`) and never pass through Pulumi.
    """
    several = args.instances > 1
    cluster: Object = {
        "apiVersion": "postgresql.cnpg.io/v1",
        "kind": "Cluster",
        "metadata": {
            "name": name,
            "namespace": args.namespace,
            "labels": labels.labels(name, args.part_of),
        },
        "spec": {
            "instances": args.instances,
            "imageName": args.image,
            # The ids of user `postgres` in the image.
            "postgresUID": 26,
            "postgresGID": 26,
            "storage": {"size": args.size, "storageClass": args.storage_class},
            "resources": {
                "requests": {"cpu": "50m", "memory": args.memory},
                "limits": {"memory": args.memory},
            },
            "affinity": {"enablePodAntiAffinity": several, "topologyKey": "kubernetes.io/hostname"},
            "enablePDB": several,
            "bootstrap": {
                "initdb": {"database": args.database, "owner": args.database, "dataChecksums": True}
            },
            # Read-only Services only where there is a replica behind them.
            "managed": {"services": {"disabledDefaultServices": [] if several else ["ro", "r"]}},
            # Nobody talks to the database in clear text; the operator's own minimum is TLS 1.3.
            "postgresql": {"pg_hba": ["hostnossl all all all reject"]},
        },
    }
    return wait_for(cluster, "Ready", simulated=args.simulated)


class PostgreSQL(Component):
    """A protected PostgreSQL cluster and where its clients find what they need."""

    def __init__(self, name: str, args: PostgreSQLArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tinh:data:PostgreSQL", name, opts)
        self.host = f"{name}-rw.{args.namespace}.svc"
        self.port = POSTGRESQL_PORT
        self.database = args.database
        #: Secret with `username` and `password` of the owner.
        self.credentials = f"{name}-app"
        #: Secret with `ca.crt`, which signs the server's certificate.
        self.authority = f"{name}-ca"
        cluster = postgresql(name, args)
        Manifest(f"{name}-cluster", cluster, self.child(protect=True), timeout="10m")
        self.register_outputs({"host": self.host, "credentials": self.credentials})
