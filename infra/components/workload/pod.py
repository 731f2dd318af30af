"""Pods as Pod Security level `restricted` wants them: the one template of every workload that `tinh` writes.

Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
"""

from __future__ import annotations

from collections.abc import Sequence

from infra import labels
from infra.components.manifest import Object

#: Of a container, in addition to what the pod says.
CONTAINER_SECURITY: Object = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def pod(
    app: str, user: int, containers: Sequence[Object], volumes: Sequence[Object], **more: object
) -> Object:
    """Return the spec of a pod.

    Args:
        app: name by which its replicas are spread over nodes.
        user: uid and gid (also of its volumes); never 0.
        containers: each without `securityContext` gets `CONTAINER_SECURITY`.
        volumes: volumes.
        more: further fields of the spec.
    """
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": user,
            "runAsGroup": user,
            "fsGroup": user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": labels.selector(app)},
            }
        ],
        "containers": [{"securityContext": CONTAINER_SECURITY} | container for container in containers],
        "volumes": list(volumes),
        **more,
    }
