"""What the layers below promise to a platform's component under test."""

from __future__ import annotations

import pulumi

from infra.contract import BaseContract, DataContract
from infra.model.data import load_data
from infra.model.site import Site

BASE = BaseContract(
    cluster="c", storage_class="fast", issuer="ca", site_issuer="ca", gateway="edge", gateway_namespace="edge"
)


def base() -> pulumi.Output[BaseContract]:
    """Return the contract of layer `base`."""
    return pulumi.Output.from_input(BASE.model_dump()).apply(BaseContract.model_validate)


def data(site: Site) -> pulumi.Output[DataContract]:
    """Return the contract of layer `data`."""
    promise = DataContract(
        authority="CERTIFICATE", objects="https://o", streams="", mail="", classes=load_data(site).classes
    )
    return pulumi.Output.from_input(promise.model_dump(mode="json")).apply(DataContract.model_validate)
