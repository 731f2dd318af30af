"""How a request to the Kubernetes API that broke off is told from one that was refused."""

from __future__ import annotations

#: How client-go, the API server and etcd say that a request broke off, not that it was refused.
BROKEN = (
    "apiserver is shutting down",
    "apiserver not ready",
    "client connection lost",
    "connection refused",
    "connection reset by peer",
    "etcdserver: leader changed",
    "etcdserver: no leader",
    "etcdserver: request timed out",
    "no route to host",
    "server sent GOAWAY",
    "TLS handshake timeout",
    "unexpected EOF",
)


def broke_off(kind: str, error: str) -> bool:
    """Return whether a request for a resource broke off: it may be repeated as it is.

    Args:
        kind: full type of the resource; what is no Kubernetes object, such as a router, is not waited for.
        error: what the engine says.
    """
    return kind.startswith("kubernetes:") and any(text in error for text in BROKEN)
