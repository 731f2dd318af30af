"""Labels: one vocabulary, so that policies, selectors and objects cannot drift apart.

Keys without a vendor are the recommended ones
(https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from infra.model.data import DataStore

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
#: On what holds data, as the store's facts say (infra/model/data.py).
DATA_CLASS = "tinh/data-class"
SHARING = "tinh/sharing"
PERSONAL_DATA = "tinh/personal-data"
DATA_OWNER = "tinh/data-owner"


def of_data(store: DataStore) -> dict[str, str]:
    """Return what is written on whatever holds a store: Kubernetes objects and buckets alike."""
    return {
        DATA_CLASS: store.data_class.value,
        SHARING: store.sharing.value,
        PERSONAL_DATA: store.personal_data.value,
        DATA_OWNER: store.owner.code,
    }


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
