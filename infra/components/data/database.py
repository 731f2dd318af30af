"""A PostgreSQL cluster (CloudNativePG) of one application, archived into the object storage.

Every change reaches the archive at the latest after the recovery point of the store's facts; base backups are made when
the site's data says so for the store's class.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pulumi

from infra import labels, naming
from infra.components.data.access import Access, AccessArgs
from infra.components.data.barman import PLUGIN
from infra.components.manifest import Component, Manifest, Object, wait_for
from infra.components.workload.allow import POSTGRESQL_PORT
from infra.contract import DataContract
from infra.model.data import DataStore, Holding

_CNPG = "postgresql.cnpg.io/v1"
_POOLER_IMAGE = "ghcr.io/cloudnative-pg/pgbouncer:1.24.1"
#: Longest time in minutes until a change is archived that nobody's facts limit.
_LONGEST = 60
#: Seconds for which a primary that has just died keeps its successor from being promoted (the operator's default: 15),
#: and between two looks of a successor. A primary that only loses the API server stays primary: nobody is named its
#: successor while its pod is ready.
#: Source: https://cloudnative-pg.io/documentation/current/failover/#tuning-the-primary-lease
_LEASE = {"leaseDurationSeconds": 6, "renewDeadlineSeconds": 4, "retryPeriodSeconds": 1}
#: An instance serves as soon as it is seen to be ready. The operator's defaults look every 10 s, which every start,
#: every failover and every restore would wait for; how long a start may take follows from `startDelay`, as before.
#: Source: https://cloudnative-pg.io/documentation/current/instance_manager/#startup-liveness-and-readiness-probes
_PROBES = {"startup": {"periodSeconds": 2}, "readiness": {"periodSeconds": 3, "failureThreshold": 5}}


@dataclass(frozen=True, kw_only=True)
class DatabaseArgs:
    """The cluster.

    Args:
        holding: the store, and whose it is: its namespace.
        instances: one primary and its replicas.
        size: of each instance's volume, for example `10Gi`.
        memory: of each instance, for example `512Mi`.
        database: name of the database and of its owner.
        readers: further roles, which may read everything and change nothing.
        poolers: number of connection poolers (PgBouncer); 0: none.
        data: contract of the data layer.
        secret: returns the site's secret of a name.
        simulated: nothing is awaited on a simulated site.
    """

    holding: Holding
    instances: int
    size: str
    memory: str
    database: str
    readers: tuple[str, ...] = ()
    poolers: int = 0
    data: pulumi.Output[DataContract]
    secret: Callable[[str], pulumi.Output[str]]
    simulated: bool

    @property
    def name(self) -> str:
        """Name of the cluster."""
        return self.holding.name

    @property
    def service(self) -> str:
        """Name of the Service that clients use: the poolers', where there are some."""
        return naming.name(self.name, "pooler") if self.poolers else f"{self.name}-rw"

    def metadata(self, name: str) -> Object:
        """Return the metadata of one of the cluster's objects."""
        part_of, about = self.holding.application, labels.of_data(self.holding.store)
        return {"name": name, "namespace": part_of, "labels": about | labels.labels(self.name, part_of)}


def cluster(args: DatabaseArgs) -> Object:
    """Return the CNPG Cluster.

    The owner's password is made by the operator in the cluster (Secret `<name>-app`) and never passes through Pulumi.
    """
    several = args.instances > 1
    store = args.holding.store
    handling = args.data.apply(lambda data: data.classes[store.data_class])
    obj: Object = {
        "apiVersion": _CNPG,
        "kind": "Cluster",
        "metadata": args.metadata(args.name),
        "spec": {
            "instances": args.instances,
            "imageName": store.image,
            # The ids of user `postgres` in the image.
            "postgresUID": 26,
            "postgresGID": 26,
            "storage": {"size": args.size, "storageClass": handling.apply(lambda found: found.storage_class)},
            "resources": {
                "requests": {"cpu": "50m", "memory": args.memory},
                "limits": {"memory": args.memory},
            },
            "affinity": {"enablePodAntiAffinity": several, "topologyKey": "kubernetes.io/hostname"},
            "enablePDB": several,
            "primaryLease": _LEASE,
            "probes": _PROBES,
            # Clients with pools never leave by themselves: waiting for them (the operator's default: 180 s) while new
            # ones are refused only prolongs the outage.
            "smartShutdownTimeout": 0,
            "bootstrap": {
                "initdb": {"database": args.database, "owner": args.database, "dataChecksums": True}
            },
            "managed": {
                # Read-only Services only where there is a replica behind them.
                "services": {"disabledDefaultServices": [] if several else ["ro", "r"]},
                "roles": [_reader(args, role) for role in args.readers],
            },
            "postgresql": {
                # Nobody talks to the database in clear text; the operator's own minimum is TLS 1.3.
                "pg_hba": ["hostnossl all all all reject"],
                "parameters": {"archive_timeout": f"{archive_minutes(store)}min"},
                **(_synchronous() if several and store.synchronous else {}),
            },
            **({"certificates": {"serverAltDNSNames": _pooler_names(args)}} if args.poolers else {}),
            "plugins": [
                {
                    "name": PLUGIN,
                    "isWALArchiver": True,
                    "parameters": {"barmanObjectName": args.name, "serverName": args.name},
                }
            ],
        },
    }
    return wait_for(obj, "Ready", simulated=args.simulated)


def archive_minutes(store: DataStore) -> int:
    """Return after how many minutes a change is archived at the latest: the recovery point, from 1 to 60."""
    return min(max(store.recovery.point, 1), _LONGEST)


def _synchronous() -> Object:
    """Return the setting with which no acknowledged write is lost: without a second instance none is acknowledged.

    Source: https://cloudnative-pg.io/documentation/current/replication/#synchronous-replication
    """
    return {
        "synchronous": {"method": "any", "number": 1, "dataDurability": "required", "failoverQuorum": True}
    }


def _reader(args: DatabaseArgs, role: str) -> Object:
    return {
        "name": role,
        "ensure": "present",
        "login": True,
        "inRoles": ["pg_read_all_data"],
        "passwordSecret": {"name": naming.name(args.name, role)},
    }


def reader_secrets(args: DatabaseArgs) -> list[Object]:
    """Return the passwords of the readers."""
    result = []
    for role in args.readers:
        metadata = args.metadata(naming.name(args.name, role))
        metadata["labels"] = metadata["labels"] | {"cnpg.io/reload": "true"}
        password = args.secret(f"data-{naming.name(args.name, role)}")
        result.append(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": metadata,
                "type": "kubernetes.io/basic-auth",
                "stringData": {"username": role, "password": password},
            }
        )
    return result


def object_store(args: DatabaseArgs, access: str) -> Object:
    """Return where and how the cluster is archived.

    No `retentionPolicy`: it would need credentials that can delete backups inside production.

    Args:
        args: the cluster.
        access: Secret with the account of its bucket.
    """

    def ref(key: str) -> Object:
        return {"name": access, "key": key}

    return {
        "apiVersion": "barmancloud.cnpg.io/v1",
        "kind": "ObjectStore",
        "metadata": args.metadata(args.name),
        "spec": {
            "configuration": {
                "destinationPath": f"s3://{args.holding.bucket}/",
                "endpointURL": args.data.apply(lambda data: data.objects),
                "endpointCA": ref("ca.crt"),
                "s3Credentials": {
                    "accessKeyId": ref("access_key_id"),
                    "secretAccessKey": ref("secret_access_key"),
                    "region": ref("region"),
                },
                "wal": {"compression": "zstd", "maxParallel": 2},
                # The quickest compression of those that the plugin takes for base backups; and no wait for a checkpoint
                # that PostgreSQL spreads over minutes.
                "data": {"compression": "lz4", "jobs": 2, "immediateCheckpoint": True},
            },
            "instanceSidecarConfiguration": {
                "resources": {
                    # PostgreSQL waits for each file that is archived or looked for, above all when a primary is
                    # replaced.
                    "requests": {"cpu": "100m", "memory": "64Mi"},
                    # A base backup holds some parts of 8 MiB and more of it in memory.
                    "limits": {"memory": "384Mi"},
                },
            },
        },
    }


def scheduled_backup(args: DatabaseArgs) -> Object:
    """Return when base backups are made; the first one at once."""
    store = args.holding.store
    return {
        "apiVersion": _CNPG,
        "kind": "ScheduledBackup",
        "metadata": args.metadata(args.name),
        "spec": {
            "cluster": {"name": args.name},
            "schedule": args.data.apply(lambda data: data.classes[store.data_class].schedule),
            "immediate": True,
            "method": "plugin",
            "pluginConfiguration": {"name": PLUGIN},
            # The records of backups outlive their schedule.
            "backupOwnerReference": "none",
        },
    }


def _pooler_names(args: DatabaseArgs) -> list[str]:
    """Return what clients call the poolers, which show the server's certificate."""
    inside = f"{args.service}.{args.holding.application}"
    return [args.service, inside, f"{inside}.svc"]


def pooler(args: DatabaseArgs) -> Object:
    """Return the poolers of the primary: transactions share connections, clients must use TLS.

    Its pods have the label of the cluster and so everything that `allow.postgresql` lets pass to and from instances.
    """
    return {
        "apiVersion": _CNPG,
        "kind": "Pooler",
        "metadata": args.metadata(args.service),
        "spec": {
            "cluster": {"name": args.name},
            "type": "rw",
            "instances": args.poolers,
            "pgbouncer": {
                "image": _POOLER_IMAGE,
                "poolMode": "transaction",
                "parameters": {"client_tls_sslmode": "require"},
            },
            # The operator asks for none and sets no limit.
            "template": {
                "spec": {
                    "containers": [
                        {
                            "name": "pgbouncer",
                            "resources": {
                                "requests": {"cpu": "20m", "memory": "32Mi"},
                                "limits": {"memory": "128Mi"},
                            },
                        }
                    ]
                }
            },
        },
    }


class Database(Component):
    """A protected PostgreSQL cluster with its archive, and where its clients find what they need."""

    def __init__(self, name: str, args: DatabaseArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tinh:data:Database", name, opts)
        namespace = args.holding.application
        self.host = f"{args.service}.{namespace}.svc"
        self.port = POSTGRESQL_PORT
        self.database = args.database
        #: Secret with `username` and `password` of the owner.
        self.credentials = f"{args.name}-app"
        #: Secret with `ca.crt`, which signs the server's certificate.
        self.authority = f"{args.name}-ca"
        account = AccessArgs(holding=args.holding, data=args.data, secret=args.secret)
        access = Access(naming.name(name, "archive"), account, self.child())
        archive = Manifest(f"{name}-ObjectStore", object_store(args, access.secret), self.child(access))
        readers = [
            Manifest(f"{name}-{obj['metadata']['name']}", obj, self.child()) for obj in reader_secrets(args)
        ]
        # Its first start archives already.
        before = (access, archive, *readers)
        made = Manifest(f"{name}-cluster", cluster(args), self.child(*before, protect=True), timeout="10m")
        Manifest(f"{name}-ScheduledBackup", scheduled_backup(args), self.child(made))
        if args.poolers:
            Manifest(f"{name}-Pooler", pooler(args), self.child(made))
        self.register_outputs({"host": self.host, "credentials": self.credentials})
