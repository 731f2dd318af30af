"""Kubernetes objects as Pulumi resources, written as Kubernetes writes them.

Plain camelCase objects instead of the SDK's classes: builders stay pure functions that a test can compare,
upstream bundles and own objects take the same road, and the program starts 0.6 s sooner (measured: no
`core.v1` import).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi

#: One Kubernetes object (apiVersion, kind, metadata, ...); leaves may be Outputs.
Object = dict[str, Any]

#: How long Pulumi waits for an object to be created, changed or deleted: never the provider's silent 10
#: minutes.
TIMEOUT = "5m"


class Manifest(pulumi.CustomResource):
    """One Kubernetes object.

    Args:
        name: name of the Pulumi resource.
        obj: the object.
        opts: parent or provider, dependencies, protection.
        timeout: how long to wait until it is ready (a Go duration).
    """

    def __init__(
        self, name: str, obj: Mapping[str, Any], opts: pulumi.ResourceOptions, timeout: str = TIMEOUT
    ) -> None:
        api = "core/v1" if obj["apiVersion"] == "v1" else obj["apiVersion"]
        waits = pulumi.CustomTimeouts(create=timeout, update=timeout, delete=timeout)
        secret = ["data", "stringData"] if obj["kind"] == "Secret" else []
        own = pulumi.ResourceOptions(custom_timeouts=waits, additional_secret_outputs=secret)
        super().__init__(
            f"kubernetes:{api}:{obj['kind']}", name, dict(obj), pulumi.ResourceOptions.merge(own, opts)
        )


def wait_for(obj: Object, condition: str, *, simulated: bool) -> Object:
    """Return the object with the annotation that makes Pulumi wait for a condition of a custom resource.

    Args:
        obj: the object; Pulumi does not await custom resources by itself.
        condition: type of the condition, for example `Ready`.
        simulated: on a simulated site no operator sets conditions, so nothing is awaited.
    """
    if simulated:
        return obj
    metadata = obj["metadata"]
    annotations = metadata.get("annotations", {}) | {"pulumi.com/waitFor": f"condition={condition}"}
    return obj | {"metadata": metadata | {"annotations": annotations}}


class Component(pulumi.ComponentResource):
    """A group of resources. Its children wait for what the group itself depends on.

    Pulumi leaves that to the program: without it, `depends_on` of a component orders nothing.

    Args:
        token: type of the component, `tinh:<folder>:<Class>`.
        name: name of the Pulumi resource.
        opts: provider or parent, dependencies.
    """

    def __init__(self, token: str, name: str, opts: pulumi.ResourceOptions | None) -> None:
        super().__init__(token, name, {}, opts)
        before = (opts.depends_on if opts else None) or []
        self._before = before if isinstance(before, list) else [before]

    def child(self, *after: pulumi.Resource, protect: bool | None = None) -> pulumi.ResourceOptions:
        """Return the options of a child.

        Args:
            after: resources that it depends on.
            protect: Pulumi refuses to delete it.
        """
        return pulumi.ResourceOptions(parent=self, depends_on=[*self._before, *after], protect=protect)
