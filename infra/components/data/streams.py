"""The message bus: NATS with streams on disk (JetStream), TLS only, one account for each application's stream store.

Accounts share nothing: subjects and streams of one do not exist for another
(https://docs.nats.io/running-a-nats-service/configuration/securing_nats/accounts).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pulumi

from infra import labels
from infra.components.data.certificate import certificate, host, mounted
from infra.components.manifest import Component, Manifest, Object
from infra.components.workload.allow import Allow, between, dns, from_namespaces, to_namespace
from infra.components.workload.namespace import Namespace, NamespaceArgs
from infra.components.workload.pod import pod
from infra.model.data import Holding

#: Namespace, Service and workload.
STREAMS = "streams"
PORT = 4222
URL = f"tls://{host(STREAMS, STREAMS)}:{PORT}"
_PEERS = "peers"
_PEER_PORT, _HEALTH_PORT = 6222, 8222
_USER = 65532


@dataclass(frozen=True, kw_only=True)
class StreamsArgs:
    """The bus.

    Args:
        image: the server's image.
        issuer: ClusterIssuer of the servers' certificate.
        replicas: number of servers, odd: streams are kept by a majority.
        storage_class: of the volumes.
        size: of each volume, and what all streams of a server may take of it.
        memory: of each server.
        holdings: stores of engine `stream`.
        secret: returns the site's secret of a name.
        simulated: nothing is awaited on a simulated site.
    """

    image: str
    issuer: pulumi.Input[str]
    replicas: int
    storage_class: str
    size: str
    memory: str
    holdings: Sequence[Holding]
    secret: Callable[[str], pulumi.Output[str]]
    simulated: bool


def _peer(number: int) -> str:
    return f"{STREAMS}-{number}.{host(_PEERS, STREAMS)}"


def settings(replicas: int, size: str, keys: dict[str, str], peers_key: str) -> str:
    """Return the server's configuration, which NATS also reads as JSON.

    Args:
        replicas: number of servers.
        size: of the volume, as Kubernetes writes it; a tenth stays free.
        keys: account -> password.
        peers_key: password of the servers among themselves.
    """
    unit = {"Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}[size[-2:]]
    tls: Object = {"cert_file": "/tls/tls.crt", "key_file": "/tls/tls.key", "min_version": "1.2"}
    config: Object = {
        "host": "::",
        "port": PORT,
        "http": f"[::]:{_HEALTH_PORT}",
        "tls": tls,
        "jetstream": {
            "store_dir": "/data",
            "max_memory_store": 0,
            "max_file_store": int(size[:-2]) * unit * 9 // 10,
        },
        "system_account": "SYS",
        "accounts": {
            "SYS": {},
            **{
                name: {"jetstream": "enabled", "users": [{"user": name, "password": key}]}
                for name, key in sorted(keys.items())
            },
        },
    }
    if replicas > 1:
        config["cluster"] = {
            "name": STREAMS,
            "listen": f"[::]:{_PEER_PORT}",
            "tls": tls | {"ca_file": "/tls/ca.crt"},
            "authorization": {"user": "peer", "password": peers_key},
            "routes": [f"nats-route://peer:{peers_key}@{_peer(n)}:{_PEER_PORT}" for n in range(replicas)],
        }
    return json.dumps(config, indent=1)


def servers(args: StreamsArgs) -> list[Object]:
    """Return Services and StatefulSet."""
    volume, mount = mounted(STREAMS)

    def metadata(name: str) -> Object:
        return {
            "name": name,
            "namespace": STREAMS,
            "labels": labels.labels(STREAMS, STREAMS),
            "annotations": {"pulumi.com/skipAwait": "true"},
        }

    families: Object = {"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6", "IPv4"]}
    container = {
        "name": "nats",
        "image": args.image,
        "command": ["/nats-server", "--config", "/config/nats.conf", "--name", "$(POD_NAME)"],
        "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "ports": [{"name": "nats", "containerPort": PORT}, {"name": "health", "containerPort": _HEALTH_PORT}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": "health"}, "periodSeconds": 3},
        "livenessProbe": {
            "httpGet": {"path": "/healthz?js-server-only=true", "port": "health"},
            "periodSeconds": 10,
            "initialDelaySeconds": 30,
        },
        "resources": {"requests": {"cpu": "20m", "memory": args.memory}, "limits": {"memory": args.memory}},
        "volumeMounts": [
            mount,
            {"name": "config", "mountPath": "/config", "readOnly": True},
            {"name": "data", "mountPath": "/data"},
        ],
    }
    accounts = ",".join(sorted(held.name for held in args.holdings))
    annotations = {
        "tinh/config": hashlib.sha256(f"{accounts} {args.replicas} {args.size}".encode()).hexdigest()
    }
    config: Object = {"name": "config", "secret": {"secretName": STREAMS, "defaultMode": 0o440}}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata(STREAMS),
            "spec": families
            | {
                "selector": labels.selector(STREAMS),
                "ports": [{"name": "nats", "port": PORT, "targetPort": "nats"}],
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata(_PEERS),
            "spec": families
            | {
                "clusterIP": "None",
                # Servers find one another before they are ready.
                "publishNotReadyAddresses": True,
                "selector": labels.selector(STREAMS),
                "ports": [{"name": "peers", "port": _PEER_PORT}],
            },
        },
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {
                "name": STREAMS,
                "namespace": STREAMS,
                "labels": labels.labels(STREAMS, STREAMS),
            },
            "spec": {
                "serviceName": _PEERS,
                "replicas": args.replicas,
                "podManagementPolicy": "Parallel",
                "selector": {"matchLabels": labels.selector(STREAMS)},
                "template": {
                    "metadata": {"labels": labels.labels(STREAMS, STREAMS), "annotations": annotations},
                    "spec": pod(STREAMS, _USER, [container], [volume, config]),
                },
                "volumeClaimTemplates": [
                    {
                        "metadata": {"name": "data", "labels": labels.labels(STREAMS, STREAMS)},
                        "spec": {
                            "accessModes": ["ReadWriteOnce"],
                            "storageClassName": args.storage_class,
                            "resources": {"requests": {"storage": args.size}},
                        },
                    }
                ],
            },
        },
    ]


def to_streams(pods: dict[str, str]) -> Allow:
    """Let a workload use the bus."""
    return to_namespace("to-streams", pods, STREAMS, labels.selector(STREAMS), [PORT])


def rules(holdings: Sequence[Holding]) -> tuple[Allow, ...]:
    """Return what the namespace allows: applications with a stream, and the servers among themselves."""
    app = labels.selector(STREAMS)
    clients = sorted({held.application for held in holdings})
    return (
        dns(),
        *between("peers", app, [_PEER_PORT]),
        *((from_namespaces("clients", app, clients, [PORT]),) if clients else ()),
    )


class Streams(Component):
    """The bus in its namespace. The namespace and the servers with their volumes are protected."""

    def __init__(self, name: str, args: StreamsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tinh:data:Streams", name, opts)
        space = Namespace(
            f"{name}-namespace",
            NamespaceArgs(name=STREAMS, part_of=STREAMS, protect=True, allow=rules(args.holdings)),
            self.child(),
        )
        keys = {held.name: args.secret(held.secret) for held in args.holdings}
        config = pulumi.Output.all(
            peers=args.secret("data-streams-peers"), keys=pulumi.Output.all(**keys)
        ).apply(lambda got: settings(args.replicas, args.size, got["keys"] or {}, got["peers"]))
        secret: Object = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": STREAMS,
                "namespace": STREAMS,
                "labels": labels.labels(STREAMS, STREAMS),
            },
            "stringData": {"nats.conf": config},
        }
        more = [_peer(number) for number in range(args.replicas)]
        signed = certificate(STREAMS, STREAMS, args.issuer, simulated=args.simulated, more=more)
        made: list[pulumi.Resource] = [
            space,
            Manifest(f"{name}-Secret", secret, self.child(space)),
            Manifest(f"{name}-Certificate", signed, self.child(space)),
        ]
        for obj in servers(args):
            protect = obj["kind"] == "StatefulSet"
            label = f"{name}-{obj['kind']}-{obj['metadata']['name']}"
            made.append(Manifest(label, obj, self.child(*made, protect=protect)))
        self.register_outputs({"url": URL})
