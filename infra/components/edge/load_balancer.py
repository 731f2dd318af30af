"""The load balancer's address pools (MetalLB, layer 2) from the site's front door."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

import pulumi

from infra import labels
from infra.components.manifest import Component, Manifest, Object
from infra.model.net import DualAddress, without
from infra.model.site import FrontDoor

NAMESPACE = "metallb-system"
#: Annotation with which a Service asks for its addresses, both families separated by a comma.
ADDRESSES = "metallb.io/loadBalancerIPs"


def requested(address: DualAddress) -> dict[str, str]:
    """Return the annotation by which a Service asks for a fixed address in both families."""
    return {ADDRESSES: ",".join(address.pair())}


def pools(front_door: FrontDoor) -> list[Object]:
    """Return two pools and their announcement.

    `reserved` holds the fixed addresses, which are only given to who asks for them; `dynamic` holds the
    rest. The two may not overlap, which MetalLB checks.
    """
    fixed, pool = (front_door.gateway, front_door.dns), front_door.pool
    fixed6, fixed4 = [IPv6Network(item.ipv6) for item in fixed], [IPv4Network(item.ipv4) for item in fixed]
    dynamic = [
        f"{first}-{last}" for first, last in (*without(pool.ipv6, fixed6), *without(pool.ipv4, fixed4))
    ]
    reserved = [str(item) for item in (*fixed6, *fixed4)]
    result: list[Object] = [
        _object("IPAddressPool", "reserved", {"addresses": reserved, "autoAssign": False}),
    ]
    if dynamic:
        result.append(_object("IPAddressPool", "dynamic", {"addresses": dynamic}))
    names = [pool["metadata"]["name"] for pool in result]
    return [*result, _object("L2Advertisement", "front-door", {"ipAddressPools": names})]


def _object(kind: str, name: str, spec: Object) -> Object:
    metadata = {"name": name, "namespace": NAMESPACE, "labels": labels.labels(name, "base")}
    return {"apiVersion": "metallb.io/v1beta1", "kind": kind, "metadata": metadata, "spec": spec}


@dataclass(frozen=True, kw_only=True)
class LoadBalancerArgs:
    """The front door whose addresses are handed out."""

    front_door: FrontDoor


class LoadBalancer(Component):
    """Address pools and their announcement on the segment."""

    def __init__(self, name: str, args: LoadBalancerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tinh:edge:LoadBalancer", name, opts)
        for obj in pools(args.front_door):
            Manifest(f"{name}-{obj['metadata']['name']}", obj, self.child())
        self.register_outputs({})
