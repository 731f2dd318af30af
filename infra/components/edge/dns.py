"""The authoritative DNS server of the site's zones: Knot DNS, signing, both families, UDP and TCP."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi

from infra import labels
from infra.components.edge.load_balancer import requested
from infra.components.manifest import Component, Manifest, Object
from infra.components.workload.allow import from_anywhere
from infra.components.workload.namespace import Namespace, NamespaceArgs
from infra.components.workload.pod import CONTAINER_SECURITY, pod
from infra.dnssec import ALGORITHM, BITS
from infra.model.net import DualAddress, DualPrefix
from infra.render.zones import ZoneFile, render_knot

#: Above 1024: the server needs no privilege for it.
_PORT = 1053
_APP = "knot"
_USER = 65532
_CONFIG, _KEYS = "/etc/knot", "/etc/knot-keys"
#: What the server writes; it begins anew with each pod, since keys and zones come from outside.
_SCRATCH = {"data": "/var/lib/knot", "run": "/run/knot", "tmp": "/tmp"}  # noqa: S108 - in the container
#: The keys become the server's own. All that are there sign.
_IMPORT = f"""\
for zone in $ZONES; do for key in {_KEYS}/*.pem; do
  keymgr -c {_CONFIG}/knot.conf "$zone" import-pem "$key" algorithm={ALGORITHM} size={BITS} ksk=yes zsk=yes
done; done
"""
#: The server is process 1 of its container every time: in the number of one that was killed it would see itself.
_START = f"rm -f /run/knot/knot.pid; exec knotd --config {_CONFIG}/knot.conf"
#: A server that answers without signatures is not ready.
_READY = f'kdig @::1 -p {_PORT} +dnssec +time=2 "$ZONE" SOA | grep -q RRSIG'


@dataclass(frozen=True, kw_only=True)
class DnsArgs:
    """The server.

    Args:
        namespace: where it runs.
        zones: what it answers for; the first one is the site's.
        keys: PEM of the keys that sign, by name; secret.
        tags: their key tags, by which servers notice that a key came or went.
        resolvers: who may ask for the zones that are not public.
        address: its fixed address.
        image: Knot's image.
        replicas: number of servers.
    """

    namespace: str
    zones: Sequence[ZoneFile]
    keys: pulumi.Input[dict[str, str]]
    tags: Sequence[int]
    resolvers: Sequence[DualPrefix]
    address: DualAddress
    image: str
    replicas: int


def dns_server(args: DnsArgs) -> list[Object]:
    """Return Secret, ConfigMap, Deployment and Service, in the order in which they depend."""

    def obj(
        api: str, kind: str, rest: Object, name: str = _APP, annotations: dict[str, str] | None = None
    ) -> Object:
        metadata: Object = {"name": name, "namespace": args.namespace, "labels": labels.labels(_APP, "dns")}
        if annotations:
            metadata["annotations"] = annotations
        return {"apiVersion": api, "kind": kind, "metadata": metadata, **rest}

    files = {"knot.conf": render_knot(args.zones, args.resolvers, _PORT, _CONFIG)}
    files |= {f"{zone.name}.zone": zone.text for zone in args.zones}
    checksum = hashlib.sha256(repr([files, sorted(args.tags)]).encode()).hexdigest()
    deployment = {
        "replicas": args.replicas,
        "selector": {"matchLabels": labels.selector(_APP)},
        "template": {
            # A new zone or key starts new servers: the change is complete when `pulumi up` returns.
            "metadata": {"labels": labels.labels(_APP, "dns"), "annotations": {"tinh/config": checksum}},
            "spec": _pod(args),
        },
    }
    service = {
        "type": "LoadBalancer",
        "ipFamilyPolicy": "RequireDualStack",
        "ipFamilies": ["IPv6", "IPv4"],
        # Keeps the client's address, by which the server knows the resolver and limits others.
        "externalTrafficPolicy": "Local",
        "selector": labels.selector(_APP),
        "ports": [
            {"name": "dns", "port": 53, "targetPort": "dns", "protocol": "UDP"},
            {"name": "dns-tcp", "port": 53, "targetPort": "dns-tcp", "protocol": "TCP"},
        ],
    }
    return [
        obj("v1", "Secret", {"stringData": args.keys}, f"{_APP}-keys"),
        obj("v1", "ConfigMap", {"data": files}),
        obj("apps/v1", "Deployment", {"spec": deployment}),
        obj("v1", "Service", {"spec": service}, annotations=requested(args.address)),
    ]


def _pod(args: DnsArgs) -> Object:
    """Return the servers' pod: keys are imported before the server starts."""
    shared: list[Object] = [{"name": name, "mountPath": path} for name, path in _SCRATCH.items()]
    shared.append({"name": "config", "mountPath": _CONFIG, "readOnly": True})
    keys = {
        "name": "keys",
        "image": args.image,
        "command": ["/bin/sh", "-ec", _IMPORT],
        "env": [{"name": "ZONES", "value": " ".join(zone.name for zone in args.zones)}],
        "resources": {"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
        "volumeMounts": [*shared, {"name": "keys", "mountPath": _KEYS, "readOnly": True}],
        "securityContext": CONTAINER_SECURITY,
    }
    server = {
        "name": _APP,
        "image": args.image,
        "command": ["/bin/sh", "-ec", _START],
        "env": [{"name": "ZONE", "value": args.zones[0].name}],
        "ports": [
            {"name": "dns", "containerPort": _PORT, "protocol": "UDP"},
            {"name": "dns-tcp", "containerPort": _PORT, "protocol": "TCP"},
        ],
        "readinessProbe": {
            "exec": {"command": ["/bin/sh", "-c", _READY]},
            "periodSeconds": 5,
            "timeoutSeconds": 3,
        },
        "livenessProbe": {"tcpSocket": {"port": "dns-tcp"}, "initialDelaySeconds": 5},
        "resources": {"requests": {"cpu": "20m", "memory": "48Mi"}, "limits": {"memory": "256Mi"}},
        "volumeMounts": shared,
    }
    volumes = [
        *({"name": name, "emptyDir": {}} for name in _SCRATCH),
        {"name": "config", "configMap": {"name": _APP}},
        {"name": "keys", "secret": {"secretName": f"{_APP}-keys", "defaultMode": 0o440}},
    ]
    return pod(_APP, _USER, [server], volumes, initContainers=[keys])


class Dns(Component):
    """The zones' server in a namespace of its own, open to everybody on port 53 and to nothing else."""

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
            # A Service of another name would wait for the address that the one before it has.
            first = pulumi.ResourceOptions(delete_before_replace=obj["kind"] == "Service")
            options = pulumi.ResourceOptions.merge(self.child(*made), first)
            made.append(Manifest(f"{name}-{obj['kind']}", obj, options))
        self.register_outputs({})
