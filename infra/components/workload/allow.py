"""Exceptions from default deny, as pure functions from intent to NetworkPolicy specs.

Peers are pods and namespaces wherever possible: such a rule covers both address families by nature. Only host
addresses (the API server) need ipBlocks, and those are always written for both families.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from infra import labels
from infra.components.manifest import Object
from infra.model.net import DualAddress
from infra.model.site import Role, Site

#: Pods of a CloudNativePG cluster carry its name under this label.
CNPG_CLUSTER = "cnpg.io/cluster"
ENVOY_NAMESPACE = "envoy-gateway-system"
CNPG_NAMESPACE = "cnpg-system"
POSTGRESQL_PORT = 5432
#: Where the gateway's proxies listen for HTTPS: Envoy Gateway moves ports below 1024 up by 10000.
GATEWAY_PORT = 10443
#: HTTPS status port of every PostgreSQL instance; the operator and the other instances ask it.
CNPG_STATUS_PORT = 8000
#: Of instances and of poolers.
_CNPG_METRICS_PORTS = (9187, 9127)
#: Namespace, Service and workload of the object storage, and its pods' port.
OBJECTS = "objects"
OBJECTS_PORT = 7070
#: Who may read metrics.
SCRAPER_NAMESPACE = "observability"


@dataclass(frozen=True)
class Allow:
    """One exception: the policy's name and its spec."""

    name: str
    spec: Object


def _ports(ports: Sequence[int | str]) -> list[Object]:
    """Turn `53/UDP` or 443 into NetworkPolicy ports; TCP unless said otherwise."""
    result = []
    for port in ports:
        number, _, protocol = str(port).partition("/")
        result.append({"protocol": protocol or "TCP", "port": int(number)})
    return result


def _spec(direction: str, pods: dict[str, str], peers: list[Object], ports: Sequence[int | str]) -> Object:
    rule: dict[str, Any] = {}
    if ports:
        rule["ports"] = _ports(ports)
    if peers:
        rule["from" if direction == "Ingress" else "to"] = peers
    return {
        "podSelector": {"matchLabels": pods} if pods else {},
        "policyTypes": [direction],
        direction.lower(): [rule],
    }


def _in_namespace(namespace: str, pods: dict[str, str] | None = None) -> Object:
    peer: Object = {"namespaceSelector": {"matchLabels": {labels.NAMESPACE: namespace}}}
    if pods:
        peer["podSelector"] = {"matchLabels": pods}
    return peer


def _api_servers(site: Site) -> list[Object]:
    """Both families of the API's virtual address and of every control plane machine."""
    hosts = [site.cluster.api, *(machine.primary for machine in site.by_role(Role.CONTROL_PLANE))]
    return [
        {"ipBlock": {"cidr": f"{address}/{length}"}}
        for host in hosts
        for address, length in ((host.ipv6, 128), (host.ipv4, 32))
    ]


def dns() -> Allow:
    """Let pods resolve names at the cluster's DNS."""
    peer = _in_namespace("kube-system", {"k8s-app": "kube-dns"})
    return Allow("dns", _spec("Egress", {}, [peer], ["53/UDP", "53/TCP"]))


def to_api_server(site: Site, pods: dict[str, str] | None = None) -> Allow:
    """Let pods use the Kubernetes API.

    The rule names the servers' own addresses: policies are enforced after the Service address is translated.
    """
    return Allow("to-api-server", _spec("Egress", pods or {}, _api_servers(site), [site.cluster.api_port]))


def from_api_server(site: Site, ports: Sequence[int], pods: dict[str, str] | None = None) -> Allow:
    """Let the API server call admission webhooks."""
    return Allow("from-api-server", _spec("Ingress", pods or {}, _api_servers(site), ports))


def from_gateway(pods: dict[str, str], ports: Sequence[int]) -> Allow:
    """Let the site's gateway reach a workload."""
    return Allow("from-gateway", _spec("Ingress", pods, [_in_namespace(ENVOY_NAMESPACE)], ports))


def from_anywhere(name: str, pods: dict[str, str], ports: Sequence[int | str]) -> Allow:
    """Let everybody, also from outside the cluster, reach a workload that is published."""
    return Allow(name, _spec("Ingress", pods, [], ports))


def from_namespaces(
    name: str, pods: dict[str, str], namespaces: Sequence[str], ports: Sequence[int | str]
) -> Allow:
    """Let named namespaces reach a workload.

    Raises:
        ValueError: no namespace is named; such a rule would let everybody in.
    """
    if not namespaces:
        raise ValueError(f"rule {name} names no namespace")
    return Allow(name, _spec("Ingress", pods, [_in_namespace(item) for item in namespaces], ports))


def to_namespace(
    name: str, pods: dict[str, str], namespace: str, target: dict[str, str], ports: Sequence[int | str]
) -> Allow:
    """Let a workload use another namespace's workload, which needs an ingress rule of its own."""
    return Allow(name, _spec("Egress", pods, [_in_namespace(namespace, target)], ports))


def to_objects(name: str, pods: dict[str, str]) -> Allow:
    """Let a workload use the object storage."""
    return to_namespace(name, pods, OBJECTS, labels.selector(OBJECTS), [OBJECTS_PORT])


def to_host(name: str, pods: dict[str, str], address: DualAddress, port: int) -> Allow:
    """Let a workload use a host outside the cluster, over both families."""
    peers: list[Object] = [
        {"ipBlock": {"cidr": f"{address.ipv6}/128"}},
        {"ipBlock": {"cidr": f"{address.ipv4}/32"}},
    ]
    return Allow(name, _spec("Egress", pods, peers, [port]))


def between(name: str, pods: dict[str, str], ports: Sequence[int]) -> tuple[Allow, Allow]:
    """Let the selected pods of one namespace talk with one another."""
    peers: list[Object] = [{"podSelector": {"matchLabels": pods} if pods else {}}]
    return (
        Allow(f"{name}-in", _spec("Ingress", pods, peers, ports)),
        Allow(f"{name}-out", _spec("Egress", pods, peers, ports)),
    )


def one_way(
    name: str, source: dict[str, str], target: dict[str, str], ports: Sequence[int]
) -> tuple[Allow, Allow]:
    """Let some pods of one namespace use others of it."""
    return (
        Allow(f"{name}-in", _spec("Ingress", target, [{"podSelector": {"matchLabels": source}}], ports)),
        Allow(f"{name}-out", _spec("Egress", source, [{"podSelector": {"matchLabels": target}}], ports)),
    )


def to_gateway(pods: dict[str, str]) -> Allow:
    """Let pods use published names, over HTTPS through the gateway like everybody else.

    The ports are the proxies' own: policies are enforced after the Service address is translated.
    """
    return Allow("to-gateway", _spec("Egress", pods, [_in_namespace(ENVOY_NAMESPACE)], [GATEWAY_PORT]))


def to_managed_namespaces(
    name: str, pods: dict[str, str], ports: Sequence[int] = (), target: dict[str, str] | None = None
) -> Allow:
    """Let a shared service (gateway, operator) reach pods in every namespace that tinh made.

    The receiving namespace still decides: it needs an ingress rule of its own.
    """
    peer: Object = {"namespaceSelector": {"matchLabels": {labels.MANAGED: "true"}}}
    if target:
        peer["podSelector"] = {"matchLabels": target}
    return Allow(name, _spec("Egress", pods, [peer], ports))


def to_postgresql(cluster: str, pods: dict[str, str], name: str = "to-postgresql") -> Allow:
    """Let a workload use a PostgreSQL cluster of its own namespace."""
    peers: list[Object] = [{"podSelector": {"matchLabels": {CNPG_CLUSTER: cluster}}}]
    return Allow(name, _spec("Egress", pods, peers, [POSTGRESQL_PORT]))


def postgresql(site: Site, cluster: str, *clients: dict[str, str]) -> tuple[Allow, ...]:
    """Let a CloudNativePG cluster work: clients, operator, replication, archive, metrics, and its use of the API.

    Args:
        site: the site.
        cluster: name of the CNPG Cluster.
        clients: labels of the pods of the same namespace that use the database, for each workload.
    """
    pods = {CNPG_CLUSTER: cluster}
    client: list[Object] = [{"podSelector": {"matchLabels": each}} for each in clients]
    operator = [_in_namespace(CNPG_NAMESPACE)]
    return (
        Allow("postgresql-from-clients", _spec("Ingress", pods, client, [POSTGRESQL_PORT])),
        Allow("postgresql-from-operator", _spec("Ingress", pods, operator, [CNPG_STATUS_PORT])),
        *between("postgresql-replication", pods, [POSTGRESQL_PORT, CNPG_STATUS_PORT]),
        Allow("postgresql-to-api-server", to_api_server(site, pods).spec),
        to_objects("postgresql-to-archive", pods),
        from_namespaces("postgresql-metrics", pods, [SCRAPER_NAMESPACE], _CNPG_METRICS_PORTS),
    )
