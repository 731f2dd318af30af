"""Keycloak with its PostgreSQL cluster, published at the platform's public name.

Settings: https://www.keycloak.org/server/all-config. What is fixed when the image is built (database kind,
    health,
metrics) is in `image/Containerfile`.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from infra import labels
from infra.components.data.database import Database
from infra.components.data.mail import to_mail
from infra.components.edge.policies import grant
from infra.components.edge.public_name import publish
from infra.components.manifest import Component, Manifest, Object
from infra.components.workload.allow import between, dns, from_gateway, one_way, postgresql, to_postgresql
from infra.components.workload.namespace import Namespace, NamespaceArgs
from infra.components.workload.platform import PlatformArgs, PlatformComponent
from infra.components.workload.pod import pod
from platforms.identity.realm import ADMIN, NAME, RealmArgs, admin_secret, realm_objects, resource_name

_APP = "keycloak"
_HTTP, _MANAGEMENT = 8080, 9000
#: Ports on which the replicas' caches find and watch one another.
_CACHE_PORTS = [7800, 57800]
_ADMIN = "bootstrap-admin"
#: User of the bootstrap administrator; its password is a secret of the site.
_ADMIN_USER = "admin"


@dataclass(frozen=True, kw_only=True)
class KeycloakArgs:
    """The server itself.

    Args:
        namespace: where it runs.
        image: Keycloak's image.
        host: public name.
        replicas: number of servers.
        memory: of each server.
        database: the PostgreSQL cluster.
    """

    namespace: str
    image: str
    host: str
    replicas: int
    memory: str
    database: Database


def _environment(args: KeycloakArgs) -> list[Object]:
    """Return Keycloak's settings; passwords are references to Secrets."""
    database = args.database
    plain = {
        "KC_DB": "postgres",
        "KC_DB_URL_HOST": database.host,
        "KC_DB_URL_PORT": str(database.port),
        "KC_DB_URL_DATABASE": database.database,
        "KC_DB_URL_PROPERTIES": "?sslmode=verify-full&sslrootcert=/etc/database/ca.crt",
        "KC_HOSTNAME": f"https://{args.host}",
        # TLS ends at the gateway, which sets X-Forwarded-*; nobody else may reach this port.
        "KC_HTTP_ENABLED": "true",
        "KC_PROXY_HEADERS": "xforwarded",
        "KC_HEALTH_ENABLED": "true",
        "KC_METRICS_ENABLED": "true",
        # One server has nobody to share its caches with, and starts without looking for them.
        "KC_CACHE": "ispn" if args.replicas > 1 else "local",
        "KC_LOG_CONSOLE_OUTPUT": "json",
        "KC_RUN_IN_CONTAINER": "true",
        "JAVA_OPTS_KC_HEAP": "-XX:MaxRAMPercentage=70 -XX:InitialRAMPercentage=50",
    }
    secret = {
        "KC_DB_USERNAME": (database.credentials, "username"),
        "KC_DB_PASSWORD": (database.credentials, "password"),
        "KC_BOOTSTRAP_ADMIN_USERNAME": (_ADMIN, "username"),
        "KC_BOOTSTRAP_ADMIN_PASSWORD": (_ADMIN, "password"),
        "KC_BOOTSTRAP_ADMIN_CLIENT_ID": (ADMIN, "client"),
        "KC_BOOTSTRAP_ADMIN_CLIENT_SECRET": (ADMIN, "secret"),
    }
    return [{"name": name, "value": value} for name, value in plain.items()] + [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": source, "key": item}}}
        for name, (source, item) in secret.items()
    ]


def _probe(path: str, period: int, failures: int) -> Object:
    return {
        "httpGet": {"path": f"/health/{path}", "port": "management"},
        "periodSeconds": period,
        "timeoutSeconds": 3,
        "failureThreshold": failures,
    }


def keycloak(args: KeycloakArgs) -> list[Object]:
    """Return Service and Deployment."""
    metadata = {"name": _APP, "namespace": args.namespace, "labels": labels.labels(_APP, args.namespace)}
    container = {
        "name": _APP,
        "image": args.image,
        "args": ["start", "--optimized"],
        "env": _environment(args),
        "ports": [
            {"name": "http", "containerPort": _HTTP},
            {"name": "management", "containerPort": _MANAGEMENT},
        ],
        # `started` answers before Keycloak has made its database schema, `ready` only after: minutes on a
        # busy machine at the first start (163 s measured at a load of 20 on 2 cores), seconds later.
        "startupProbe": _probe("ready", 3, 200),
        "readinessProbe": _probe("ready", 5, 3),
        "livenessProbe": _probe("live", 10, 6),
        "resources": {
            "requests": {"cpu": "200m", "memory": args.memory},
            "limits": {"memory": args.memory},
        },
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - in the container
            {"name": "cache", "mountPath": "/opt/keycloak/data"},
            {"name": "database-ca", "mountPath": "/etc/database", "readOnly": True},
        ],
    }
    volumes: list[Object] = [
        {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
        {"name": "cache", "emptyDir": {"sizeLimit": "256Mi"}},
        {
            # Only the certificate: the Secret also holds the authority's key.
            "name": "database-ca",
            "secret": {
                "secretName": args.database.authority,
                "items": [{"key": "ca.crt", "path": "ca.crt"}],
            },
        },
    ]
    deployment: Object = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": args.replicas,
            "selector": {"matchLabels": labels.selector(_APP)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {"labels": labels.labels(_APP, args.namespace)},
                "spec": pod(_APP, 1000, [container], volumes),
            },
        },
    }
    service: Object = {
        "apiVersion": "v1",
        "kind": "Service",
        # The servers are awaited themselves; waiting for the Service too would only add its 10 s of settling.
        "metadata": metadata | {"annotations": {"pulumi.com/skipAwait": "true"}},
        "spec": {
            "ipFamilyPolicy": "RequireDualStack",
            "ipFamilies": ["IPv6", "IPv4"],
            "selector": labels.selector(_APP),
            "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
        },
    }
    return [service, deployment]


class Identity(Component):
    """The identity platform: namespace, database, server, public name."""

    def __init__(self, name: str, args: PlatformArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tinh:platform:Identity", name, opts)
        size, app = args.sizing, labels.selector(_APP)
        stored = args.database("db", database=_APP)
        space = Namespace(
            f"{name}-namespace",
            NamespaceArgs(
                name=name,
                part_of=name,
                publishes=True,
                protect=True,
                allow=(
                    dns(),
                    from_gateway(app, [_HTTP]),
                    *between("cache", app, _CACHE_PORTS),
                    to_mail(app),
                    *one_way("realm", labels.selector(NAME), app, [_HTTP]),
                    to_postgresql(stored.name, app),
                    *postgresql(args.site, stored.name, app),
                ),
            ),
            self.child(),
        )
        inside = self.child(space)
        database = Database(stored.name, stored, inside)
        admin = Manifest(
            f"{name}-{_ADMIN}",
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": _ADMIN, "namespace": name, "labels": labels.labels(_APP, name)},
                "type": "kubernetes.io/basic-auth",
                "stringData": {"username": _ADMIN_USER, "password": args.secret(f"{name}-admin")},
            },
            self.child(space),
        )
        service_account = Manifest(
            f"{name}-{ADMIN}", admin_secret(name, args.secret(f"{name}-{ADMIN}")), self.child(space)
        )
        made: list[pulumi.Resource] = [space, database, admin, service_account]
        for obj in keycloak(
            KeycloakArgs(
                namespace=name,
                image=args.facts.image,
                host=args.host,
                replicas=size.replicas,
                memory=size.memory,
                database=database,
            )
        ):
            made.append(Manifest(f"{name}-{obj['kind']}", obj, self.child(*made), timeout="15m"))
        if args.facts.realm:
            self._realm(name, args, args.facts.realm, made)
        # The certificate takes seconds, the server a minute: side by side.
        publish(args, _APP, 80, inside)
        if sign_ins := [each.id for each in args.platforms if each.signs_in]:
            # The gateway's proxy asks the server for the tokens of those who come back from signing in.
            users = grant("sign-in", name, _APP, "SecurityPolicy", sign_ins)
            Manifest(f"{name}-sign-in", users, inside)
        self.register_outputs({"url": f"https://{args.host}"})

    def _realm(self, name: str, args: PlatformArgs, realm: str, server: list[pulumi.Resource]) -> None:
        """Declare the realm of the province's people, once Keycloak answers."""
        declared = RealmArgs(
            namespace=name,
            image=args.facts.image,
            server=f"http://{_APP}.{name}.svc",
            site=args.site,
            realm=realm,
            platforms=args.platforms,
            secret=args.secret,
        )
        made = [*server]
        for obj in realm_objects(declared):
            made.append(Manifest(resource_name(name, obj), obj, self.child(*made), timeout="15m"))


COMPONENT: PlatformComponent = Identity
