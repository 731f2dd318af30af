"""The site's one Gateway: both families, fixed addresses, HTTP only redirects.

HTTPS listeners are not written here: each published name brings its own listener and certificate
(`PublicName`, a ListenerSet), so that a layer above never has to change this Gateway.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from infra import labels
from infra.components.edge.load_balancer import requested
from infra.components.edge.policies import GATEWAY_API, POLICY_API, client_traffic, target
from infra.components.manifest import Component, Manifest, Object, wait_for
from infra.components.workload.allow import (
    GATEWAY_PORT,
    Allow,
    between,
    dns,
    from_anywhere,
    to_managed_namespaces,
)
from infra.model.exposure import Exposure
from infra.model.net import DualAddress

CONTROLLER = "gateway.envoyproxy.io/gatewayclass-controller"
#: One line for each request, as JSON. The address and port are those of the connection, which no header can change;
#: the query is left out, because it may hold somebody's data or a token.
#: Source: https://www.envoyproxy.io/docs/envoy/v1.39.0/configuration/observability/access_log/usage
ACCESS_LOG = {
    "time": "%START_TIME%",
    "client_address": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%",
    "client_port": "%DOWNSTREAM_DIRECT_REMOTE_PORT%",
    "client_certificate": "%DOWNSTREAM_PEER_SUBJECT%",
    "host": "%REQ(:AUTHORITY)%",
    "method": "%REQ(:METHOD)%",
    "path": "%PATH(NQ:ORIG_OR_PATH)%",
    "protocol": "%PROTOCOL%",
    "route": "%ROUTE_NAME%",
    "status": "%RESPONSE_CODE%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration_ms": "%DURATION%",
    "tls_version": "%DOWNSTREAM_TLS_VERSION%",
    "tls_cipher": "%DOWNSTREAM_TLS_CIPHER%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
}
#: A line for each connection that ends before there is a request: no certificate, a wrong one, an old TLS version.
CONNECTION_LOG = {
    "time": "%START_TIME%",
    "client_address": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%",
    "client_port": "%DOWNSTREAM_DIRECT_REMOTE_PORT%",
    "host": "%REQUESTED_SERVER_NAME%",
    "tls_failure": "%DOWNSTREAM_TRANSPORT_FAILURE_REASON%",
    "tls_version": "%DOWNSTREAM_TLS_VERSION%",
}
#: Too many requests are refused before anything costly: a filter goes before each of these that a name has.
_FILTERS = "envoy.filters.http"
_AFTER_RATE_LIMIT = ("ext_proc", "buffer", "oauth2")
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
        solvers: port 80 also serves routes of namespaces that publish: proofs for an ACME authority. The
            Gateway's own namespace must be one of them then, for the redirect.
    """

    namespace: str
    address: DualAddress
    image: str
    replicas: int
    simulated: bool
    solvers: bool = False


def envoy_namespace_rules() -> tuple[Allow, ...]:
    """Return what Envoy Gateway's namespace allows: clients, the proxies' configuration, and the backends."""
    return (
        from_anywhere("clients", _PROXY, [_HTTP_PORT, GATEWAY_PORT]),
        # xDS, rate limit and Wasm configuration.
        *between("configuration", {}, [18000, 18001, 18002]),
        to_managed_namespaces("to-backends", _PROXY),
        dns(),
    )


def _logs() -> list[Object]:
    """What the proxies write to their standard output."""

    def setting(fields: Object, **more: object) -> Object:
        sinks = [{"type": "File", "file": {"path": "/dev/stdout"}}]
        return {"format": {"type": "JSON", "json": fields}, "sinks": sinks, **more}

    failed = "has(connection.transport_failure_reason)"
    return [setting(ACCESS_LOG), setting(CONNECTION_LOG, type="Listener", matches=[failed])]


def gateway(args: GatewayArgs) -> list[Object]:
    """Return EnvoyProxy, GatewayClass, Gateway, its policy and the redirect, in the order in which they depend."""

    def obj(api: str, kind: str, spec: Object, namespace: str | None = args.namespace) -> Object:
        metadata: Object = {"name": "edge", "labels": labels.labels("edge", "base")}
        if namespace:
            metadata["namespace"] = namespace
        return {"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec}

    proxy = obj(
        POLICY_API,
        "EnvoyProxy",
        {
            "ipFamily": "DualStack",
            "filterOrder": [
                {"name": f"{_FILTERS}.local_ratelimit", "before": f"{_FILTERS}.{later}"}
                for later in _AFTER_RATE_LIMIT
            ],
            "telemetry": {"accessLog": {"settings": _logs()}},
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
    publishers = {"from": "Selector", "selector": {"matchLabels": {labels.PUBLISHES: "true"}}}
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
                    "allowedRoutes": {"namespaces": publishers if args.solvers else {"from": "Same"}},
                }
            ],
            "allowedListeners": {"namespaces": publishers},
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
    # Names bring policies of their own; this one is for port 80.
    slow = obj(
        POLICY_API,
        "ClientTrafficPolicy",
        {"targetRefs": target("Gateway", "edge"), "timeout": client_traffic(Exposure())["timeout"]},
    )
    return [
        proxy, gateway_class, slow, wait_for(edge, "Programmed", simulated=args.simulated), redirect,
    ]  # fmt: skip


class Gateway(Component):
    """The Gateway with its class and its proxy's settings."""

    def __init__(self, name: str, args: GatewayArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tinh:edge:Gateway", name, opts)
        made: list[pulumi.Resource] = []
        for obj in gateway(args):
            made.append(Manifest(f"{name}-{obj['kind']}", obj, self.child(*made)))
        self.register_outputs({})
