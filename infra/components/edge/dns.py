"""The authoritative DNS server of the site's zone: CoreDNS, both families, UDP and TCP."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import pulumi

from infra import labels
from infra.components.edge.load_balancer import requested
from infra.components.manifest import Component, Manifest, Object
from infra.components.workload.allow import from_anywhere
from infra.components.workload.namespace import Namespace, NamespaceArgs
from infra.components.workload.pod import CONTAINER_SECURITY, pod
from infra.model.net import DualAddress

#: Above 1024: the server needs no privilege for it.
_PORT = 1053
_APP = "coredns"


@dataclass(frozen=True, kw_only=True)
class DnsArgs:
    """The server.

    Args:
        namespace: where it runs.
        zone: the zone's name without trailing dot.
        zone_file: the rendered zone.
        address: its fixed address.
        image: CoreDNS' image.
        replicas: number of servers.
    """

    namespace: str
    zone: str
    zone_file: str
    address: DualAddress
    image: str
    replicas: int


def dns_server(args: DnsArgs) -> list[Object]:
    """Return ConfigMap, Deployment and Service, in the order in which they depend."""

    def obj(api: str, kind: str, rest: Object, annotations: dict[str, str] | None = None) -> Object:
        metadata: Object = {"name": _APP, "namespace": args.namespace, "labels": labels.labels(_APP, "dns")}
        if annotations:
            metadata["annotations"] = annotations
        return {"apiVersion": api, "kind": kind, "metadata": metadata, **rest}

    # Every other name is refused: the server answers for its zone and resolves nothing for anybody.
    corefile = (
        f"{args.zone}:{_PORT} {{\n    file /etc/coredns/zone\n    errors\n"
        "    health :8080\n    ready :8181\n    prometheus :9153\n}\n"
    )
    files = {"Corefile": corefile, "zone": args.zone_file}
    checksum = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()
    container = {
        "name": _APP,
        "image": args.image,
        "args": ["-conf", "/etc/coredns/Corefile"],
        "ports": [
            {"name": "dns", "containerPort": _PORT, "protocol": "UDP"},
            {"name": "dns-tcp", "containerPort": _PORT, "protocol": "TCP"},
        ],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 3},
        "livenessProbe": {"httpGet": {"path": "/health", "port": 8080}},
        "resources": {"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"memory": "96Mi"}},
        # Upstream's binary carries this file capability and does not start where it is out of reach.
        "securityContext": CONTAINER_SECURITY
        | {"capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns", "readOnly": True}],
    }
    deployment = {
        "replicas": args.replicas,
        "selector": {"matchLabels": labels.selector(_APP)},
        "template": {
            # A new zone starts new servers: the change is complete when `pulumi up` returns.
            "metadata": {"labels": labels.labels(_APP, "dns"), "annotations": {"tinh/config": checksum}},
            "spec": pod(_APP, 65532, [container], [{"name": "config", "configMap": {"name": _APP}}]),
        },
    }
    service = {
        "type": "LoadBalancer",
        "ipFamilyPolicy": "RequireDualStack",
        "ipFamilies": ["IPv6", "IPv4"],
        # Keeps the client's address, which the logs must show.
        "externalTrafficPolicy": "Local",
        "selector": labels.selector(_APP),
        "ports": [
            {"name": "dns", "port": 53, "targetPort": "dns", "protocol": "UDP"},
            {"name": "dns-tcp", "port": 53, "targetPort": "dns-tcp", "protocol": "TCP"},
        ],
    }
    return [
        obj("v1", "ConfigMap", {"data": files}),
        obj("apps/v1", "Deployment", {"spec": deployment}),
        obj("v1", "Service", {"spec": service}, requested(args.address)),
    ]


class Dns(Component):
    """The zone's server in a namespace of its own, open to everybody on port 53 and to nothing else."""

    def __init__(self, name: str, args: DnsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tinh:edge:Dns", name, opts)
        space = Namespace(
            f"{name}-namespace",
            NamespaceArgs(
                name=args.namespace,
                part_of="dns",
                allow=(from_anywhere("clients", labels.selector(_APP), [f"{_PORT}/UDP", f"{_PORT}/TCP"]),),
            ),
            self.child(),
        )
        made: list[pulumi.Resource] = [space]
        for obj in dns_server(args):
            made.append(Manifest(f"{name}-{obj['kind']}", obj, self.child(*made)))
        self.register_outputs({})
