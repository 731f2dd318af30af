"""How a published name meets its clients, as Envoy Gateway's policies: pure functions from data to objects.

Source: Envoy Gateway 1.9.0, api/v1alpha1. Policies that aim at a ListenerSet or an HTTPRoute replace those of the
Gateway, they are not merged with them: each says everything.
"""

from __future__ import annotations

from collections.abc import Sequence

from infra import labels
from infra.components.manifest import Object
from infra.model.exposure import Clients, Exposure, RateLimit

GATEWAY_API = "gateway.networking.k8s.io/v1"
POLICY_API = "gateway.envoyproxy.io/v1alpha1"
#: TLS 1.2 only with forward secrecy and authenticated encryption (RFC 9325, 4.2; Circular 12/2022 asks for strong
#: ciphers); those of TLS 1.3 are all of this kind.
CIPHERS = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
]
FAMILIES = ("::/0", "0.0.0.0/0")


def target(kind: str, name: str) -> list[Object]:
    """Return what a policy aims at: one object of its own namespace."""
    return [{"group": "gateway.networking.k8s.io", "kind": kind, "name": name}]


def client_traffic(exposure: Exposure, authority: str = "") -> Object:
    """Return the spec of a ClientTrafficPolicy without its target: TLS, headers of answers, slow clients.

    Args:
        exposure: settings of the name.
        authority: ConfigMap with the authority of the clients' certificates (key `ca.crt`); empty: no mutual TLS.
    """
    times = exposure.timeouts
    http = {
        "requestHeadersReceivedTimeout": times.headers,
        "idleTimeout": times.idle,
        "streamIdleTimeout": times.idle,
    }
    if exposure.body is not None:
        http["requestReceivedTimeout"] = times.request
    late: Object = {"set": [{"name": "Strict-Transport-Security", "value": exposure.hsts.value}]}
    if exposure.headers:
        late["addIfAbsent"] = [{"name": name, "value": value} for name, value in exposure.headers.items()]
    tls: Object = {"minVersion": "1.2", "ciphers": CIPHERS}
    headers: Object = {
        "lateResponseHeaders": late,  # also on answers that the gateway gives by itself
        # They differ from one answer to the next, and tell how much is still allowed.
        "disableRateLimitHeaders": True,
    }
    if exposure.clients:
        tls["clientValidation"] = _clients(exposure.clients, authority)
        # The backend is told who it is; what a client claims itself is dropped.
        headers["xForwardedClientCert"] = {"mode": "SanitizeSet", "certDetailsToAdd": ["Subject", "DNS"]}
    return {
        "tls": tls,
        "headers": headers,
        "timeout": {"tcp": {"tlsHandshakeTimeout": times.headers}, "http": http},
    }


def _clients(clients: Clients, authority: str) -> Object:
    names = [{"type": "Exact", "value": name} for name in clients.names]
    return {
        "mode": "RequireAndVerify",
        "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": authority}],
        **({"subjectAltNames": {"dnsNames": names}} if names else {}),
    }


def backend_traffic(exposure: Exposure) -> Object:
    """Return the spec of a BackendTrafficPolicy without its target: rate, size of bodies, the backend's time."""
    spec: Object = {"rateLimit": {"local": {"rules": _rates(exposure.rate)}}}
    if exposure.body is not None:
        spec["requestBuffer"] = {"limit": exposure.body}
        spec["timeout"] = {"http": {"requestTimeout": exposure.timeouts.response}}
    return spec


def _rates(rate: RateLimit) -> list[Object]:
    """Each address has a limit of its own, and each family one for all of its addresses together."""

    def rule(family: str, kind: str, requests: int) -> Object:
        return {
            "clientSelectors": [{"sourceCIDR": {"type": kind, "value": family}}],
            "limit": {"requests": requests, "unit": rate.per.capitalize()},
        }

    return [
        *(rule(family, "Distinct", rate.requests) for family in FAMILIES),
        *(rule(family, "Exact", rate.everybody) for family in FAMILIES),
    ]


def firewall_first(exposure: Exposure, service: Object) -> Object:
    """Return the spec of an EnvoyExtensionPolicy without its target: the web application firewall looks first.

    Args:
        exposure: settings of the name.
        service: reference to the firewall's Service.
    """
    request: Object = {"attributes": ["source.address", "request.protocol"]}
    if exposure.body is not None:
        request["body"] = "Buffered"
    return {
        "extProc": [
            {
                "backendRefs": [service],
                "processingMode": {"request": request},
                "failOpen": exposure.waf.when_down == "pass",
                # `waf.text` keeps the rules far below this; a firewall with too much to do is not waited for longer.
                "messageTimeout": "5s",
                "statusOnError": 503,
            }
        ]
    }


def grant(name: str, namespace: str, service: str, kind: str, users: Sequence[str]) -> Object:
    """Return the ReferenceGrant by which policies of other namespaces may use a Service.

    Args:
        name: of the grant.
        namespace: where the Service is.
        service: its name.
        kind: kind of the policies.
        users: the other namespaces.
    """
    return {
        "apiVersion": GATEWAY_API,
        "kind": "ReferenceGrant",
        "metadata": {"name": name, "namespace": namespace, "labels": labels.labels(name, namespace)},
        "spec": {
            "from": [
                {"group": "gateway.envoyproxy.io", "kind": kind, "namespace": user} for user in sorted(users)
            ],
            "to": [{"group": "", "kind": "Service", "name": service}],
        },
    }
