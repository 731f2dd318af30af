"""`python -m tests.bench.gateway`: requests per second through the gateway, over IPv6 and IPv4, against its backend.

The backend is an Envoy that answers by itself, published under two names of the bench's own: one without and one with
the web application firewall. `load` (lab/toolchain/load) asks for the page over the same number of connections: from
outside, over TLS, through core router, gateway and firewall; and from the backend's node at the backend's Service,
without TLS and without any of these.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import click

from infra import labels
from infra.backup.kubectl import Kubectl
from infra.components.edge.firewall import NAMESPACE as WAF
from infra.components.edge.firewall import SERVICE
from infra.components.edge.policies import grant
from infra.components.edge.public_name import PublicNameArgs, public_name
from infra.components.workload.allow import from_gateway
from infra.components.workload.namespace import NamespaceArgs, namespace, network_policies
from infra.components.workload.pod import pod
from infra.errors import TinhError
from infra.model.exposure import Exposure, RateLimit, Waf
from infra.model.site import Role, Site, load_site
from tests.bench.figures import Row
from tests.bench.machines import kubectl_of, on
from tests.bench.measure import MeasureError

SECTION = "gateway"
SPACE, PAGE = "bench-edge", "page"
IMAGE = "docker.io/envoyproxy/envoy:distroless-v1.39.3"
PORT, TEXT = 8080, "Cổng thông tin " * 64
CA = "/usr/local/share/ca-certificates/tinh-site.crt"
PROGRAM = "/usr/local/bin/tinh-load"
CONNECTIONS, SECONDS = 16, 10
MANY = RateLimit(requests=1_000_000, everybody=1_000_000)
NAMES = {"b-plain": Exposure(rate=MANY, waf=Waf(mode="off")), "b-guarded": Exposure(rate=MANY)}
#: Name -> how the table calls it.
WAYS = {"b-plain": "firewall off", "b-guarded": "firewall on"}
FAMILIES = {"ipv6": "IPv6", "ipv4": "IPv4"}
DIRECT = "directly"
Object = dict[str, Any]


def server() -> Object:
    """Return the configuration of an Envoy that answers every request with the same page."""
    kinds = "type.googleapis.com/envoy.extensions.filters"
    page = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": TEXT}}}
    router = {"name": "router", "typed_config": {"@type": f"{kinds}.http.router.v3.Router"}}
    manager = {
        "@type": f"{kinds}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": PAGE,
        "route_config": {"virtual_hosts": [{"name": PAGE, "domains": ["*"], "routes": [page]}]},
        "http_filters": [router],
    }
    address = {"socket_address": {"address": "::", "ipv4_compat": True, "port_value": PORT}}
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    return {"static_resources": {"listeners": [{"address": address, "filter_chains": [chain]}]}}


def backend() -> list[Object]:
    """Return the backend: ConfigMap, Deployment, Service."""
    metadata = {"name": PAGE, "namespace": SPACE, "labels": labels.labels(PAGE, "bench")}
    container = {
        "name": PAGE,
        "image": IMAGE,
        "command": ["/usr/local/bin/envoy"],
        "args": ["--config-path", "/config/envoy.json", "--disable-hot-restart", "--concurrency", "1"],
        "ports": [{"containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/", "port": PORT}, "periodSeconds": 1},
        "volumeMounts": [{"name": "config", "mountPath": "/config"}],
    }
    volumes = [{"name": "config", "configMap": {"name": PAGE}}]
    template = {
        "metadata": {"labels": labels.labels(PAGE, "bench")},
        "spec": pod(PAGE, 65532, [container], volumes),
    }
    port = {"port": 80, "targetPort": PORT}
    select = labels.selector(PAGE)
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": {"envoy.json": json.dumps(server())},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {"selector": {"matchLabels": select}, "template": template},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"ipFamilyPolicy": "RequireDualStack", "selector": select, "ports": [port]},
        },
    ]


def objects(site: Site, base: dict[str, str]) -> list[Object]:
    """Return namespace, backend and both names.

    Args:
        site: the site.
        base: `issuer`, `gateway` and `gateway_namespace` of layer `base`.
    """
    door = from_gateway(labels.selector(PAGE), [PORT])
    space = NamespaceArgs(name=SPACE, part_of="bench", publishes=True, allow=(door,))
    made = [namespace(space), *network_policies(space), *backend(), firewall_grant()]
    for name, exposure in NAMES.items():
        args = PublicNameArgs(
            host=site.public_name(name), namespace=SPACE, part_of="bench", service=PAGE, port=80, simulated=True,
            exposure=exposure, certificates=site.certificates, issuer=base["issuer"], gateway=base["gateway"],
            gateway_namespace=base["gateway_namespace"],
        )  # fmt: skip
        made += public_name(name, args)
    return made


def firewall_grant() -> Object:
    """Return what lets the bench's names use the firewall."""
    return grant("bench", WAF, SERVICE["name"], "EnvoyExtensionPolicy", [SPACE])


@dataclass(frozen=True)
class Front:
    """The names while they are published.

    Args:
        site: the site.
        client: machine outside.
        node: machine of the backend.
        services: addresses of the backend's Service by family.
    """

    site: Site
    client: str
    node: str
    services: dict[str, str]

    def ask(self, way: str, family: str, seconds: int = SECONDS) -> float:
        """Return the requests per second of one way.

        Raises:
            MeasureError: not every answer was the page.
        """
        if way == DIRECT:
            machine, begin = self.node, ""
            words = f"-url http://{PAGE}/ -to {pair(self.services[family], 80)}"
        else:
            machine, begin = self.client, f"ip netns exec {family} "
            gateway = str(getattr(self.site.front_door.gateway, family))
            words = f"-url https://{self.site.public_name(way)}/ -to {pair(gateway, 443)} -ca {CA}"
        command = f"{begin}{PROGRAM} {words} -connections {CONNECTIONS} -seconds {seconds}"
        return rate(json.loads(on(self.site, machine, command, seconds=seconds + 60)), f"{way}, {family}")


def pair(address: str, port: int) -> str:
    """Return address and port as one text."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def rate(answer: dict[str, Any], what: str) -> float:
    """Return the requests per second in what `load` has printed.

    Raises:
        MeasureError: not every answer was the page.
    """
    if answer["errors"] or set(answer["status"]) != {"200"}:
        raise MeasureError(
            f"{what}: {answer['errors']} errors, answers {answer['status']}, {answer.get('error', '')}"
        )
    return answer["requests"] / answer["seconds"]


@contextlib.contextmanager
def front(site: Site) -> Generator[Front, None, None]:
    """Publish both names, and remove them in the end."""
    from lab.toolchain import artifact, ensure

    ensure(["load"])
    kubectl = kubectl_of(site)
    program = artifact("load") / "bin" / "load"
    with contextlib.ExitStack() as stack:
        stack.callback(_remove, kubectl)
        kubectl.apply(objects(site, _base(kubectl)))
        at = ("--namespace", SPACE)
        kubectl.text(*at, "rollout", "status", f"deployment/{PAGE}", "--timeout=120s", seconds=130)
        kubectl.text(
            *at, "wait", "certificates", "--all", "--for=condition=Ready", "--timeout=120s", seconds=130
        )
        kubectl.text(
            *at, "wait", "listenersets", "--all", "--for=condition=Programmed", "--timeout=120s", seconds=130
        )
        (found,) = kubectl.json(*at, "get", "pods", "--selector", f"{labels.NAME}={PAGE}")["items"]
        service = kubectl.json(*at, "get", "service", PAGE)["spec"]["clusterIPs"]
        addresses = {"ipv6" if ":" in address else "ipv4": address for address in service}
        made = Front(site, site.by_role(Role.INTERNET)[0].name, found["spec"]["nodeName"], addresses)
        for machine in (made.client, made.node):
            stack.callback(on, site, machine, f"rm -f {PROGRAM}")
            on(site, machine, f"cat > {PROGRAM} && chmod 0755 {PROGRAM}", stdin=program)
        _answers(made)
        yield made


def _base(kubectl: Kubectl) -> dict[str, str]:
    """Return how layer `base` publishes names, as seen at a name that is published."""
    found = kubectl.json("get", "listenersets", "--all-namespaces")["items"]
    if not found:
        raise MeasureError("no name is published: layer `platforms` is not up")
    parent, space = found[0]["spec"]["parentRef"], found[0]["metadata"]["namespace"]
    certificate = kubectl.json("--namespace", space, "get", "certificates", found[0]["metadata"]["name"])
    return {
        "issuer": certificate["spec"]["issuerRef"]["name"],
        "gateway": parent["name"],
        "gateway_namespace": parent["namespace"],
    }


def _answers(made: Front) -> None:
    """Wait until every way answers: a name is served some seconds after it is programmed.

    Raises:
        MeasureError: one does not.
    """
    for way in (DIRECT, *NAMES):
        for family in FAMILIES:
            end = time.monotonic() + 60
            while True:
                try:
                    made.ask(way, family, 1)
                    break
                except MeasureError:
                    if time.monotonic() > end:
                        raise
                    time.sleep(1)


def _remove(kubectl: Kubectl) -> None:
    grant_name = firewall_grant()["metadata"]["name"]
    kubectl.text("--namespace", WAF, "delete", "referencegrant", grant_name, "--ignore-not-found")
    kubectl.text("delete", "namespace", SPACE, "--ignore-not-found", "--timeout=300s", seconds=310)


def measure(site_name: str, rounds: int) -> list[Row]:
    """Measure every way in both families, in turns."""
    seen: dict[tuple[str, str], list[float]] = {}
    with front(load_site(site_name)) as made:
        for _ in range(rounds):
            for family in FAMILIES:
                for way in (DIRECT, *NAMES):
                    seen.setdefault((way, family), []).append(made.ask(way, family))
    return rows(seen)


def rows(seen: dict[tuple[str, str], list[float]]) -> list[Row]:
    """Return the rows of all ways.

    Args:
        seen: way and family -> requests per second of each round.
    """
    return [
        Row(
            section=SECTION, what=f"{WAYS[name]}, TLS, {title}", unit="requests/s", values=tuple(seen[name, family]),
            instead=tuple(seen[DIRECT, family]), way="backend, no TLS",
        )
        for name in NAMES
        for family, title in FAMILIES.items()
    ]  # fmt: skip


@click.command()
@click.option("--site", default="lab", show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
def main(site: str, rounds: int) -> None:
    """Measure the gateway against its backend."""
    try:
        for row in measure(site, rounds):
            click.echo(json.dumps(row.data()))
    except (MeasureError, TinhError) as error:
        click.echo(f"error: could not measure: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
