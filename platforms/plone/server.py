"""Plone in the cluster: the server, and the step that seeds its site before it.

Everything that must survive is in PostgreSQL, files too; a pod has only caches.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from infra import labels
from infra.components.data.database import Database
from infra.components.manifest import Object
from infra.components.workload.job import StepArgs, step
from infra.components.workload.pod import pod
from infra.model.net import DualAddress

APP, SEED = "plone", "seed"
#: Where the server listens for HTTP, in both families.
PORT = 8080
#: Secret with the client's secret; in pods a file, never an argument or a variable.
CLIENT = "client"
_USER = 1000
_DATA = "/var/lib/plone"


@dataclass(frozen=True, kw_only=True)
class PloneArgs:
    """The server of one site.

    Args:
        namespace: where it runs; also the platform, and the id of its site.
        image: Plone's image.
        host: public name.
        replicas: number of servers.
        memory: of each server, and of the step that seeds.
        database: the PostgreSQL cluster.
        declaration: text of the seed declaration.
        client_secret: the site's secret as a client of the identity platform.
        identity: public name of the identity platform.
        gateway: where public names are answered.
        certificate: Secret of the site's own certificate; it has the authority that signed both.
    """

    namespace: str
    image: str
    host: str
    replicas: int
    memory: str
    database: Database
    declaration: str
    client_secret: pulumi.Output[str]
    identity: str
    gateway: DualAddress
    certificate: str


def _environment(args: PloneArgs) -> list[Object]:
    """Return the settings; PostgreSQL's client library reads the ones that begin with PG itself."""
    database = args.database
    plain = {
        "PLONE_SITE": args.namespace,
        "PLONE_URL": f"https://{args.host}",
        "PLONE_CLIENT_SECRET_FILE": "/etc/client/secret",
        "PLONE_AUTHORITY": "/etc/authority/ca.crt",
        "PGHOST": database.host,
        "PGPORT": str(database.port),
        "PGDATABASE": database.database,
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": "/etc/database/ca.crt",
    }
    secret = {"PGUSER": "username", "PGPASSWORD": "password"}
    return [{"name": name, "value": value} for name, value in plain.items()] + [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": database.credentials, "key": key}}}
        for name, key in secret.items()
    ]


def _container(args: PloneArgs, name: str, more: Object) -> Object:
    return {
        "name": name,
        "image": args.image,
        "env": _environment(args),
        "resources": {"requests": {"cpu": "100m", "memory": args.memory}, "limits": {"memory": args.memory}},
        **more,
    }


def _mounts(*names: str) -> list[Object]:
    writable = [{"name": "data", "mountPath": _DATA}, {"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108 - in the container
    return writable + [{"name": name, "mountPath": f"/etc/{name}", "readOnly": True} for name in names]


def _volumes(args: PloneArgs) -> list[Object]:
    def certificate(name: str, secret: str, **more: bool) -> Object:
        # Only the authority's certificate: the Secrets also hold keys.
        items = [{"key": "ca.crt", "path": "ca.crt"}]
        return {"name": name, "secret": {"secretName": secret, "items": items, **more}}

    return [
        {"name": "data", "emptyDir": {"sizeLimit": "512Mi"}},
        # Uploads are held here while they come in.
        {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}},
        certificate("database", args.database.authority),
        # A public authority's certificates come without it: then the image's own list of authorities counts.
        certificate("authority", args.certificate, optional=True),
    ]


def _aliases(args: PloneArgs) -> Object:
    """Return where pods find the identity platform: at the gateway, like everybody outside.

    The cluster's DNS does not know the site's zone.
    """
    return {"hostAliases": [{"ip": ip, "hostnames": [args.identity]} for ip in args.gateway.pair()]}


def _seed(args: PloneArgs) -> Object:
    container = _container(
        args,
        SEED,
        {
            "args": ["-m", "tinh_plone.seed", "/etc/seed/seed.json"],
            "volumeMounts": _mounts("database", "authority", "seed", "client"),
        },
    )
    return step(
        StepArgs(
            name=SEED,
            namespace=args.namespace,
            part_of=args.namespace,
            user=_USER,
            container=container,
            volumes=[
                *_volumes(args),
                {"name": "seed", "configMap": {"name": SEED}},
                {"name": "client", "secret": {"secretName": CLIENT}},
            ],
            inputs=pulumi.Output.all(seed=args.declaration, client=args.client_secret, image=args.image),
        )
    )


def _deployment(args: PloneArgs, metadata: Object) -> Object:
    # `@@ok` reads the site from the database and shows nothing of it.
    ready: Object = {"httpGet": {"path": "/@@ok", "port": "http"}, "timeoutSeconds": 5}
    container = _container(
        args,
        APP,
        {
            "ports": [{"name": "http", "containerPort": PORT}],
            "startupProbe": ready | {"periodSeconds": 3, "failureThreshold": 100},
            "readinessProbe": ready | {"periodSeconds": 10, "failureThreshold": 3},
            # Not the page: a database that is away for a while is no reason to start anew.
            "livenessProbe": {"tcpSocket": {"port": "http"}, "periodSeconds": 20, "failureThreshold": 6},
            "volumeMounts": _mounts("database", "authority"),
        },
    )
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": args.replicas,
            "selector": {"matchLabels": labels.selector(APP)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {"labels": labels.labels(APP, args.namespace)},
                "spec": pod(APP, _USER, [container], _volumes(args), **_aliases(args)),
            },
        },
    }


def plone(args: PloneArgs) -> list[Object]:
    """Return declaration, secret, seeding, Service and Deployment, in the order in which they depend."""

    def metadata(name: str) -> Object:
        return {
            "name": name,
            "namespace": args.namespace,
            "labels": labels.labels(APP, args.namespace),
        }

    core: Object = {"apiVersion": "v1"}
    return [
        core | {"kind": "ConfigMap", "metadata": metadata(SEED), "data": {"seed.json": args.declaration}},
        core
        | {
            "kind": "Secret",
            "metadata": metadata(CLIENT),
            "type": "Opaque",
            "stringData": {"secret": args.client_secret},
        },
        _seed(args),
        core
        | {
            "kind": "Service",
            # The servers are awaited themselves; waiting for the Service too would only add its 10 s of settling.
            "metadata": metadata(APP) | {"annotations": {"pulumi.com/skipAwait": "true"}},
            "spec": {
                "ipFamilyPolicy": "RequireDualStack",
                "ipFamilies": ["IPv6", "IPv4"],
                "selector": labels.selector(APP),
                "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
            },
        },
        _deployment(args, metadata(APP)),
    ]
