"""What a layer promises to the layers above it: one typed output, plain strings only.

A contract never holds a secret or a kubeconfig: a stack that reads it reads the whole state of the other
stack.
"""

from __future__ import annotations

from typing import TypeVar

from pydantic import ValidationError

from infra.errors import TinhError
from infra.model.base import Model
from infra.model.data import DataClass, Handling

#: Name of the stack output.
OUTPUT = "contract"


class BaseContract(Model):
    """The `base` layer: names of what it installed."""

    cluster: str
    """UID of the cluster's kube-system namespace."""
    storage_class: str
    issuer: str
    """ClusterIssuer that signs the published names."""
    site_issuer: str
    """ClusterIssuer of the site's own authority, which signs what only its own services use."""
    gateway: str
    gateway_namespace: str


class DataContract(Model):
    """The `data` layer: where its services are, and what the site does for each class of data."""

    authority: str
    """Certificate (PEM) that signs what the services serve."""
    objects: str
    """URL of the object storage (S3)."""
    streams: str
    """URL of the message bus (NATS)."""
    mail: str
    """Host of the mail relay, port 587; empty: the site has none."""
    classes: dict[DataClass, Handling]


class PlatformsContract(Model):
    """The `platforms` layer: what is published where."""

    zone: str
    dns_ipv6: str
    dns_ipv4: str
    ds: tuple[str, ...] = ()
    """DS records of the public zones, for their parents."""
    urls: dict[str, str]
    """Platform id -> address of its first public name."""


C = TypeVar("C", bound=Model)


def read(model: type[C], output: object, stack: str) -> C:
    """Return another stack's contract.

    Args:
        model: the contract that is expected.
        output: value of the stack's output `contract`; None when the stack was never deployed.
        stack: the other stack's name, for the message.

    Raises:
        TinhError: when the stack has no contract or one of another form.
    """
    if output is None:
        raise TinhError(
            f"stack {stack} has exported no contract", where=f"stack {stack}", fix=f"pulumi up -s {stack}"
        )
    try:
        return model.model_validate(output)
    except ValidationError as error:
        fields = ", ".join(sorted({str(item["loc"][0]) for item in error.errors() if item["loc"]}))
        raise TinhError(
            f"the contract of stack {stack} does not fit this version of tinh: {fields or 'not a mapping'}",
            where=f"stack {stack}, output {OUTPUT}",
            fix=f"pulumi up -s {stack}",
        ) from None
