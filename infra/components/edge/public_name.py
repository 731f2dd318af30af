"""A published name: its certificate, its HTTPS listener and its route, in the namespace of who publishes it.

The listener is a ListenerSet (Gateway API v1.5+), so every name has a certificate of its own whose key never
leaves the platform's namespace, and publishing a name does not touch the shared Gateway.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from infra import labels, naming
from infra.components.edge.gateway import GATEWAY_API
from infra.components.manifest import Component, Manifest, Object, wait_for

#: Seconds; one year, the minimum of the browsers' preload lists.
HSTS = 31_536_000


@dataclass(frozen=True, kw_only=True)
class PublicNameArgs:
    """A published name.

    Args:
        host: full DNS name.
        namespace: of the backend.
        part_of: platform that publishes it.
        service: backend Service.
        port: its port.
        issuer: ClusterIssuer that signs the certificate.
        gateway: name of the Gateway.
        gateway_namespace: its namespace.
        simulated: nothing is awaited on a simulated site.
    """

    host: str
    namespace: str
    part_of: str
    service: str
    port: int
    issuer: pulumi.Input[str]
    gateway: pulumi.Input[str]
    gateway_namespace: pulumi.Input[str]
    simulated: bool


def public_name(name: str, args: PublicNameArgs) -> list[Object]:
    """Return Certificate, ListenerSet and HTTPRoute, in the order in which they depend."""
    secret = naming.name(name, "tls")

    def obj(api: str, kind: str, spec: Object) -> Object:
        metadata = {"name": name, "namespace": args.namespace, "labels": labels.labels(name, args.part_of)}
        return {"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec}

    certificate = obj(
        "cert-manager.io/v1",
        "Certificate",
        {
            "secretName": secret,
            "dnsNames": [args.host],
            # A new key with each certificate; a stolen key is worth one period at most.
            "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
            "usages": ["digital signature", "server auth"],
            "issuerRef": {"name": args.issuer, "kind": "ClusterIssuer"},
        },
    )
    listener = obj(
        GATEWAY_API,
        "ListenerSet",
        {
            "parentRef": {"name": args.gateway, "namespace": args.gateway_namespace},
            "listeners": [
                {
                    "name": "https",
                    "hostname": args.host,
                    "port": 443,
                    "protocol": "HTTPS",
                    "tls": {"mode": "Terminate", "certificateRefs": [{"name": secret}]},
                    "allowedRoutes": {"namespaces": {"from": "Same"}},
                }
            ],
        },
    )
    group, _ = GATEWAY_API.split("/")
    route = obj(
        GATEWAY_API,
        "HTTPRoute",
        {
            "parentRefs": [{"group": group, "kind": "ListenerSet", "name": name, "sectionName": "https"}],
            "hostnames": [args.host],
            "rules": [
                {
                    "filters": [
                        {
                            "type": "ResponseHeaderModifier",
                            "responseHeaderModifier": {
                                "set": [
                                    {"name": "Strict-Transport-Security", "value": f"max-age={HSTS}"},
                                ]
                            },
                        }
                    ],
                    "backendRefs": [{"name": args.service, "port": args.port}],
                }
            ],
        },
    )
    return [
        wait_for(certificate, "Ready", simulated=args.simulated),
        wait_for(listener, "Programmed", simulated=args.simulated),
        route,
    ]


class PublicName(Component):
    """One name, published over HTTPS in both address families."""

    def __init__(self, name: str, args: PublicNameArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tinh:edge:PublicName", name, opts)
        self.url = f"https://{args.host}"
        made: list[pulumi.Resource] = []
        for obj in public_name(name, args):
            made.append(Manifest(f"{name}-{obj['kind']}", obj, self.child(*made)))
        self.register_outputs({"url": self.url})
