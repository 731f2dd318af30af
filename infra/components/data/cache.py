"""Caches (Redis 7.0, BSD licence): one for each application, so that none sees or evicts another's.

TLS only, one account, nothing on disk: what is in a cache may be lost at any time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import pulumi

from infra import labels
from infra.components.data.certificate import certificate, mounted
from infra.components.manifest import Component, Manifest, Object
from infra.components.workload.allow import Allow, from_namespaces, to_namespace
from infra.components.workload.pod import pod
from infra.model.data import Holding

#: Namespace of all caches.
CACHES = "caches"
PORT = 6379
_USER = 999


@dataclass(frozen=True, kw_only=True)
class CacheArgs:
    """One cache.

    Args:
        holding: the store, and whose it is.
        image: Redis' image.
        issuer: ClusterIssuer of the server's certificate.
        memory: what it may hold; the least recently used goes first.
        secret: returns the site's secret of a name.
        simulated: nothing is awaited on a simulated site.
    """

    holding: Holding
    image: str
    issuer: pulumi.Input[str]
    memory: str
    secret: Callable[[str], pulumi.Output[str]]
    simulated: bool


def settings(memory: str) -> str:
    """Return redis.conf (https://redis.io/docs/latest/operate/oss_and_stack/management/config-file/).

    Args:
        memory: as Kubernetes writes it, for example `64Mi`.
    """
    amount, unit = int(memory[:-2]), memory[-2:]
    megabytes = amount * {"Mi": 1, "Gi": 1024, "Ti": 1024 * 1024}[unit]
    return "\n".join(
        (
            "bind * -::*",
            "protected-mode no",  # there is no user without a password, see users.acl
            "port 0",
            f"tls-port {PORT}",
            "tls-cert-file /tls/tls.crt",
            "tls-key-file /tls/tls.key",
            "tls-ca-cert-file /tls/ca.crt",
            "tls-auth-clients no",
            'tls-protocols "TLSv1.2 TLSv1.3"',
            "aclfile /users/users.acl",
            f"maxmemory {megabytes}mb",
            "maxmemory-policy allkeys-lru",
            'save ""',
            "appendonly no",
            "dir /tmp",
            "",
        )
    )


def users(name: str, password: str) -> str:
    """Return the account file: one account for all keys, without what changes or stops the server; no other.

    Source: https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/
    """
    digest = hashlib.sha256(password.encode()).hexdigest()
    return (
        f"user default off\nuser {name} on #{digest} ~* &* +@all -@admin -@dangerous +info +keys +flushdb\n"
    )


def cache(args: CacheArgs) -> list[Object]:
    """Return ConfigMap, Service and Deployment."""
    name, about = args.holding.name, labels.of_data(args.holding.store)
    metadata = {"name": name, "namespace": CACHES, "labels": about | labels.labels(name, CACHES)}
    volume, mount = mounted(name)
    config = settings(args.memory)
    probe = {"tcpSocket": {"port": "redis"}, "periodSeconds": 3}
    container = {
        "name": "redis",
        "image": args.image,
        "command": ["redis-server", "/config/redis.conf"],
        "ports": [{"name": "redis", "containerPort": PORT}],
        "readinessProbe": probe,
        "livenessProbe": probe | {"periodSeconds": 10},
        # Redis needs some memory beside what it holds: buffers of clients, fragmentation.
        "resources": {
            "requests": {"cpu": "20m", "memory": args.memory},
            "limits": {"memory": f"{int(args.memory[:-2]) * 2}{args.memory[-2:]}"},
        },
        "volumeMounts": [
            mount,
            {"name": "config", "mountPath": "/config", "readOnly": True},
            {"name": "users", "mountPath": "/users", "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - in the container
        ],
    }
    volumes: list[Object] = [
        volume,
        {"name": "config", "configMap": {"name": name}},
        {"name": "users", "secret": {"secretName": name, "defaultMode": 0o440}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "16Mi"}},
    ]
    annotations = {"tinh/config": hashlib.sha256(config.encode()).hexdigest()}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"redis.conf": config}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata | {"annotations": {"pulumi.com/skipAwait": "true"}},
            "spec": {
                "ipFamilyPolicy": "RequireDualStack",
                "ipFamilies": ["IPv6", "IPv4"],
                "selector": labels.selector(name),
                "ports": [{"name": "redis", "port": PORT, "targetPort": "redis"}],
            },
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": labels.selector(name)},
                "template": {
                    "metadata": {"labels": labels.labels(name, CACHES), "annotations": annotations},
                    "spec": pod(name, _USER, [container], volumes),
                },
            },
        },
    ]


def to_cache(pods: dict[str, str], holding: Holding) -> Allow:
    """Let a workload use its cache."""
    return to_namespace(f"to-{holding.name}", pods, CACHES, labels.selector(holding.name), [PORT])


def rules(holdings: tuple[Holding, ...]) -> tuple[Allow, ...]:
    """Return who reaches which cache: each application its own."""
    return tuple(
        from_namespaces(held.name, labels.selector(held.name), [held.application], [PORT])
        for held in holdings
    )


class Cache(Component):
    """A cache in the namespace of all caches."""

    def __init__(self, name: str, args: CacheArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tinh:data:Cache", name, opts)
        held = args.holding
        account: Object = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": held.name,
                "namespace": CACHES,
                "labels": labels.labels(held.name, CACHES),
            },
            "stringData": {"users.acl": args.secret(held.secret).apply(lambda key: users(held.name, key))},
        }
        signed = certificate(held.name, CACHES, args.issuer, simulated=args.simulated)
        made: list[pulumi.Resource] = [
            Manifest(f"{name}-Secret", account, self.child()),
            Manifest(f"{name}-Certificate", signed, self.child()),
        ]
        for obj in cache(args):
            made.append(Manifest(f"{name}-{obj['kind']}", obj, self.child(*made)))
        self.register_outputs({})
