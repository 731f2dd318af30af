"""A namespace as every one that tinh makes: Pod Security, default deny, and named exceptions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import pulumi

from infra import labels
from infra.components.manifest import Component, Manifest, Object
from infra.components.workload.allow import Allow

PodSecurity = Literal["privileged", "baseline", "restricted"]


@dataclass(frozen=True, kw_only=True)
class NamespaceArgs:
    """What a namespace is.

    Args:
        name: its name in the cluster.
        part_of: platform or layer that it belongs to.
        pod_security: level of the Pod Security Standards; less than `restricted` needs a reason at the
            caller.
        publishes: its workloads may attach listeners to the site's gateway.
        allow: exceptions from default deny.
        protect: it holds data: Pulumi refuses to delete it.
        labels: further labels.
    """

    name: str
    part_of: str
    pod_security: PodSecurity = "restricted"
    publishes: bool = False
    allow: tuple[Allow, ...] = ()
    protect: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)


def namespace(args: NamespaceArgs) -> Object:
    """Return the Namespace object.

    `audit` and `warn` follow `enforce`: a level that is only warned about teaches people to ignore warnings.
    """
    levels = {f"{labels.POD_SECURITY}/{mode}": args.pod_security for mode in ("enforce", "audit", "warn")}
    publishes = {labels.PUBLISHES: "true"} if args.publishes else {}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": args.name,
            "labels": {
                **args.labels,
                **labels.labels(args.name, args.part_of),
                labels.MANAGED: "true",
                **publishes,
                **levels,
            },
        },
    }


def network_policies(args: NamespaceArgs) -> list[Object]:
    """Return default deny for both directions and one policy per exception.

    Raises:
        ValueError: when two exceptions have the same name: one would silently replace the other.
    """
    deny = Allow("default-deny", {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})
    names = [allow.name for allow in args.allow]
    if len(names) != len(set(names)):
        raise ValueError(f"namespace {args.name}: exceptions with the same name: {sorted(names)}")
    return [
        _policy(deny.name, deny, args.name, args.part_of),
        *(exception(allow, args.name, args.part_of) for allow in args.allow),
    ]


def exception(allow: Allow, namespace: str, part_of: str) -> Object:
    """Return the policy of one exception; a layer above adds its own to a namespace of a layer below."""
    return _policy(f"allow-{allow.name}", allow, namespace, part_of)


def _policy(name: str, allow: Allow, namespace: str, part_of: str) -> Object:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace, "labels": labels.labels(namespace, part_of)},
        "spec": allow.spec,
    }


class Namespace(Component):
    """The namespace and its network policies. What is put inside depends on this component."""

    def __init__(self, name: str, args: NamespaceArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tinh:workload:Namespace", name, opts)
        self.name = args.name
        made = Manifest(name, namespace(args), self.child(protect=args.protect))
        for policy in network_policies(args):
            Manifest(f"{name}-{policy['metadata']['name']}", policy, self.child(made))
        self.register_outputs({"name": args.name})
