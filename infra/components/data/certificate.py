"""Certificates of the data services, signed by the site's issuer."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi

from infra import labels, naming
from infra.components.manifest import Object, wait_for
from infra.model.certificates import canonical

#: None of these servers reads a new certificate by itself. A year, of which the last quarter is for a restart.
_LIFE, _RENEW = canonical("8760h"), canonical("2190h")


def host(service: str, namespace: str) -> str:
    """Return the name by which pods reach a Service; the first one in its certificate."""
    return f"{service}.{namespace}.svc"


def secret_name(service: str) -> str:
    """Return the Secret with `tls.crt`, `tls.key` and `ca.crt` of a Service."""
    return naming.name(service, "tls")


def certificate(
    service: str, namespace: str, issuer: pulumi.Input[str], *, simulated: bool, more: Sequence[str] = ()
) -> Object:
    """Return the Certificate of a Service under all names that the cluster's DNS gives it.

    Args:
        service: the Service.
        namespace: its namespace, also the part that it is of.
        issuer: ClusterIssuer that signs.
        simulated: nothing is awaited on a simulated site.
        more: further DNS names.
    """
    name = host(service, namespace)
    obj: Object = {
        "apiVersion": "cert-manager.io/v1",
        "kind": "Certificate",
        "metadata": {"name": service, "namespace": namespace, "labels": labels.labels(service, namespace)},
        "spec": {
            "secretName": secret_name(service),
            "dnsNames": [name, f"{name}.cluster.local", *more],
            "duration": _LIFE,
            "renewBefore": _RENEW,
            "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
            "usages": ["digital signature", "server auth"],
            "issuerRef": {"name": issuer, "kind": "ClusterIssuer"},
        },
    }
    return wait_for(obj, "Ready", simulated=simulated)


def mounted(service: str) -> tuple[Object, Object]:
    """Return the volume with a Service's certificate, and its mount at `/tls`."""
    return (
        {"name": "tls", "secret": {"secretName": secret_name(service), "defaultMode": 0o440}},
        {"name": "tls", "mountPath": "/tls", "readOnly": True},
    )
