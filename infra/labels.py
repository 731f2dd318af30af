"""Labels: one vocabulary, so that policies, selectors and objects cannot drift apart.

Keys without a vendor are the recommended ones
(https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/).
"""

from __future__ import annotations

NAME = "app.kubernetes.io/name"
PART_OF = "app.kubernetes.io/part-of"
MANAGED_BY = "app.kubernetes.io/managed-by"
#: Set by the API server on every namespace.
NAMESPACE = "kubernetes.io/metadata.name"
#: On namespaces that tinh made: admission policies and the gateway's egress select them by it.
MANAGED = "tinh/managed"
#: On namespaces that may attach listeners to the site's gateway.
PUBLISHES = "tinh/publishes"
POD_SECURITY = "pod-security.kubernetes.io"


def selector(name: str) -> dict[str, str]:
    """Return what selects the pods of one workload; it never changes during the workload's life."""
    return {NAME: name}


def labels(name: str, part_of: str) -> dict[str, str]:
    """Return the labels of one object.

    Args:
        name: the workload, for example `keycloak`.
        part_of: the platform or layer it belongs to, for example `identity`.
    """
    return {**selector(name), PART_OF: part_of, MANAGED_BY: "tinh"}
