"""What an application is given of a data service: address, account and authority, in one Secret of its namespace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pulumi

from infra import labels
from infra.components.data.cache import CACHES, PORT
from infra.components.data.certificate import host
from infra.components.manifest import Component, Manifest
from infra.contract import DataContract
from infra.model.data import Holding

#: What S3 clients sign with; the engine has one region (versitygw's default).
REGION = "us-east-1"


@dataclass(frozen=True, kw_only=True)
class AccessArgs:
    """What is given.

    Args:
        holding: the store, and whose it is.
        data: contract of the data layer.
        secret: returns the site's secret of a name.
    """

    holding: Holding
    data: pulumi.Output[DataContract]
    secret: Callable[[str], pulumi.Output[str]]


def access(holding: Holding, data: DataContract, key: str) -> dict[str, str]:
    """Return the Secret's content.

    Args:
        holding: a bucket, a database (its archive), a cache or a stream.
        data: contract of the data layer.
        key: what opens the store.

    Raises:
        ValueError: the engine is none of those.
    """
    authority = {"ca.crt": data.authority}
    if holding.store.engine in ("bucket", "postgresql"):
        return authority | {
            "endpoint": data.objects,
            "region": REGION,
            "bucket": holding.bucket,
            "access_key_id": holding.bucket,
            "secret_access_key": key,
        }
    if holding.store.engine == "cache":
        at = {"host": host(holding.name, CACHES), "port": str(PORT)}
    elif holding.store.engine == "stream":
        at = {"url": data.streams}
    else:
        raise ValueError(f"{holding.name}: nothing is shared about engine {holding.store.engine}")
    return authority | at | {"username": holding.name, "password": key}


class Access(Component):
    """The Secret, named as the store in the whole site."""

    def __init__(self, name: str, args: AccessArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tinh:data:Access", name, opts)
        holding = args.holding
        content = pulumi.Output.all(args.data, args.secret(holding.secret)).apply(
            lambda got: access(holding, got[0], got[1])
        )
        Manifest(
            f"{name}-Secret",
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {
                    "name": name,
                    "namespace": holding.application,
                    "labels": labels.of_data(holding.store)
                    | labels.labels(holding.name, holding.application),
                },
                "stringData": content,
            },
            self.child(),
        )
        self.secret = name
        self.register_outputs({"secret": name})
