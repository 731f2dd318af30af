"""The site's one Gateway: both families, fixed addresses, HTTP only redirects.

HTTPS listeners are not written here: each published name brings its own listener and certificate
(`PublicName`, a ListenerSet), so that a layer above never has to change this Gateway.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from infra import labels
from infra.components.edge.load_balancer import requested
from infra.components.manifest import Component, Manifest, Object, wait_for
from infra.components.workload.allow import (
    GATEWAY_PORT,
    Allow,
    between,
    dns,
    from_anywhere,
    to_managed_namespaces,
)
from infra.model.net import DualAddress

GATEWAY_API = "gateway.networking.k8s.io/v1"
CONTROLLER = "gateway.envoyproxy.io/gatewayclass-controller"
#: Where HTTP comes in at the proxies, as GATEWAY_PORT is for HTTPS.
_HTTP_PORT = 10080
#: Labels that Envoy Gateway puts on the proxies it makes.
_PROXY = {"app.kubernetes.io/component": "proxy", "app.kubernetes.io/managed-by": "envoy-gateway"}


@dataclass(frozen=True, kw_only=True)
class GatewayArgs:
    """The Gateway.

    Args:
        namespace: where it lives; the proxies run in Envoy Gateway's namespace.
        address: its fixed address.
        image: Envoy's image.
        replicas: number of proxies.
        simulated: nothing is awaited on a simulated site.
    """

    namespace: str
    address: DualAddress
    image: str
    replicas: int
    simulated: bool


def envoy_namespace_rules() -> tuple[Allow, ...]:
    """Return what Envoy Gateway's namespace allows: clients, the proxies' configuration, and the backends."""
    return (
        from_anywhere("clients", _PROXY, [_HTTP_PORT, GATEWAY_PORT]),
        # xDS, rate limit and Wasm configuration.
        *between("configuration", {}, [18000, 18001, 18002]),
        to_managed_namespaces("to-backends", _PROXY),
        dns(),
    )


def gateway(args: GatewayArgs) -> list[Object]:
    """Return EnvoyProxy, GatewayClass, Gateway and the redirect, in the order in which they depend."""

    def obj(api: str, kind: str, spec: Object, namespace: str | None = args.namespace) -> Object:
        metadata: Object = {"name": "edge", "labels": labels.labels("edge", "base")}
        if namespace:
            metadata["namespace"] = namespace
        return {"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec}

    proxy = obj(
        "gateway.envoyproxy.io/v1alpha1",
        "EnvoyProxy",
        {
            "ipFamily": "DualStack",
            "provider": {
                "type": "Kubernetes",
                "kubernetes": {
                    "envoyDeployment": {
                        "replicas": args.replicas,
                        "container": {
                            "image": args.image,
                            "resources": {
                                "requests": {"cpu": "50m", "memory": "96Mi"},
                                "limits": {"memory": "512Mi"},
                            },
                        },
                    },
                    "envoyService": {
                        "type": "LoadBalancer",
                        "annotations": requested(args.address),
                        # Keeps the client's address, which the logs must show.
                        "externalTrafficPolicy": "Local",
                        "patch": {
                            "type": "StrategicMerge",
                            "value": {
                                "spec": {
                                    "ipFamilyPolicy": "RequireDualStack",
                                    "ipFamilies": ["IPv6", "IPv4"],
                                }
                            },
                        },
                    },
                },
            },
        },
    )
    gateway_class = obj(
        GATEWAY_API,
        "GatewayClass",
        {
            "controllerName": CONTROLLER,
            "parametersRef": {
                "group": "gateway.envoyproxy.io",
                "kind": "EnvoyProxy",
                "name": "edge",
                "namespace": args.namespace,
            },
        },
        namespace=None,
    )
    edge = obj(
        GATEWAY_API,
        "Gateway",
        {
            "gatewayClassName": "edge",
            "listeners": [
                {
                    "name": "http",
                    "protocol": "HTTP",
                    "port": 80,
                    "allowedRoutes": {"namespaces": {"from": "Same"}},
                }
            ],
            "allowedListeners": {
                "namespaces": {"from": "Selector", "selector": {"matchLabels": {labels.PUBLISHES: "true"}}}
            },
        },
    )
    redirect = obj(
        GATEWAY_API,
        "HTTPRoute",
        {
            "parentRefs": [{"name": "edge", "sectionName": "http"}],
            "rules": [
                {
                    "filters": [
                        {
                            "type": "RequestRedirect",
                            "requestRedirect": {"scheme": "https", "statusCode": 301},
                        }
                    ]
                }
            ],
        },
    )
    return [proxy, gateway_class, wait_for(edge, "Programmed", simulated=args.simulated), redirect]


class Gateway(Component):
    """The Gateway with its class and its proxy's settings."""

    def __init__(self, name: str, args: GatewayArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tinh:edge:Gateway", name, opts)
        made: list[pulumi.Resource] = []
        for obj in gateway(args):
            made.append(Manifest(f"{name}-{obj['kind']}", obj, self.child(*made)))
        self.register_outputs({})
