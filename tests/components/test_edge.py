"""The front door: address pools, gateway, published names, DNS."""

from __future__ import annotations

from typing import Any

import pytest

from infra.components.edge.dns import DnsArgs, dns_server
from infra.components.edge.gateway import GatewayArgs, gateway
from infra.components.edge.load_balancer import pools
from infra.components.edge.public_name import PublicNameArgs, public_name
from infra.components.manifest import Object
from infra.model.site import Site
from infra.render.zones import ZoneFile


def of(objs: list[Object], kind: str) -> Object:
    (found,) = [obj for obj in objs if obj["kind"] == kind]
    return found


def test_fixed_addresses_are_only_given_on_request(lab: Site) -> None:
    reserved, dynamic, advertisement = pools(lab.front_door)
    assert reserved["spec"] == {
        "addresses": ["fd77::c8/128", "fd77::c9/128", "10.77.0.200/32", "10.77.0.201/32"],
        "autoAssign": False,
    }
    assert dynamic["spec"] == {
        "addresses": [
            "fd77::c0-fd77::c7",
            "fd77::ca-fd77::df",
            "10.77.0.192-10.77.0.199",
            "10.77.0.202-10.77.0.223",
        ]
    }
    assert advertisement["spec"] == {"ipAddressPools": ["reserved", "dynamic"]}


@pytest.fixture
def edge(lab: Site) -> list[Object]:
    args = GatewayArgs(
        namespace="edge",
        address=lab.front_door.gateway,
        image="envoy:1",
        replicas=1,
        simulated=False,
    )
    return gateway(args)


def test_the_proxys_service_has_fixed_addresses_of_both_families(edge: list[Object]) -> None:
    service = of(edge, "EnvoyProxy")["spec"]["provider"]["kubernetes"]["envoyService"]
    assert service["annotations"] == {"metallb.io/loadBalancerIPs": "fd77::c8,10.77.0.200"}
    assert service["externalTrafficPolicy"] == "Local"
    assert service["patch"]["value"]["spec"]["ipFamilyPolicy"] == "RequireDualStack"


def test_plain_http_is_only_redirected(edge: list[Object]) -> None:
    (listener,) = of(edge, "Gateway")["spec"]["listeners"]
    assert (listener["protocol"], listener["allowedRoutes"]) == ("HTTP", {"namespaces": {"from": "Same"}})
    (rule,) = of(edge, "HTTPRoute")["spec"]["rules"]
    assert "backendRefs" not in rule
    assert rule["filters"][0]["requestRedirect"] == {"scheme": "https", "statusCode": 301}


def test_only_namespaces_that_publish_may_attach_listeners(edge: list[Object]) -> None:
    allowed = of(edge, "Gateway")["spec"]["allowedListeners"]["namespaces"]
    assert allowed == {"from": "Selector", "selector": {"matchLabels": {"tinh/publishes": "true"}}}


@pytest.fixture
def published() -> list[Object]:
    args = PublicNameArgs(
        host="id.x.test",
        namespace="identity",
        part_of="identity",
        service="keycloak",
        port=80,
        issuer="site-ca",
        gateway="edge",
        gateway_namespace="edge",
        simulated=False,
    )
    return public_name("id", args)


def test_a_name_has_a_certificate_of_its_own_and_its_listener_uses_it(published: list[Object]) -> None:
    certificate = of(published, "Certificate")["spec"]
    (listener,) = of(published, "ListenerSet")["spec"]["listeners"]
    assert certificate["dnsNames"] == [listener["hostname"]] == ["id.x.test"]
    assert listener["tls"]["certificateRefs"] == [{"name": certificate["secretName"]}]


def test_a_name_is_only_served_over_https_and_says_so_for_a_year(published: list[Object]) -> None:
    route = of(published, "HTTPRoute")["spec"]
    assert [(ref["kind"], ref["sectionName"]) for ref in route["parentRefs"]] == [("ListenerSet", "https")]
    headers = of(published, "ClientTrafficPolicy")["spec"]["headers"]["lateResponseHeaders"]
    assert headers["set"] == [{"name": "Strict-Transport-Security", "value": "max-age=31536000"}]


@pytest.fixture
def server(lab: Site) -> list[Object]:
    return dns_server(dns_args(lab))


def dns_args(lab: Site, text: str = "zone", tags: tuple[int, ...] = (7,)) -> DnsArgs:
    return DnsArgs(
        namespace="dns",
        zones=[ZoneFile(lab.zone, text, public=True), ZoneFile("units.x.test", "units", public=False)],
        keys={"1.pem": "PEM"},
        tags=tags,
        resolvers=[lab.segments["servers"].prefix],
        address=lab.front_door.dns,
        image="knot:1",
        replicas=1,
    )


def test_the_dns_server_answers_both_transports_on_fixed_addresses_of_both_families(
    server: list[Object],
) -> None:
    service = of(server, "Service")
    assert service["metadata"]["annotations"] == {"metallb.io/loadBalancerIPs": "fd77::c9,10.77.0.201"}
    assert service["spec"]["ipFamilyPolicy"] == "RequireDualStack"
    assert {(port["port"], port["protocol"]) for port in service["spec"]["ports"]} == {
        (53, "UDP"),
        (53, "TCP"),
    }


def test_the_dns_server_knows_its_zones_and_no_others(server: list[Object]) -> None:
    data = of(server, "ConfigMap")["data"]
    assert set(data) == {"knot.conf", "lab.tinh.test.zone", "units.x.test.zone"}
    zones = data["knot.conf"].split("\nzone:\n")[1]
    assert zones == "  - domain: lab.tinh.test\n  - domain: units.x.test\n    module: mod-queryacl/inside\n"
    assert "address: [fd77::/64, 10.77.0.0/24]" in data["knot.conf"]


def test_keys_are_seen_by_the_import_alone_and_a_server_without_signatures_is_not_ready(
    server: list[Object],
) -> None:
    assert of(server, "Secret")["stringData"] == {"1.pem": "PEM"}
    pod = of(server, "Deployment")["spec"]["template"]["spec"]
    (container,), (first,) = pod["containers"], pod["initContainers"]
    assert "keys" in {mount["name"] for mount in first["volumeMounts"]}
    assert "keys" not in {mount["name"] for mount in container["volumeMounts"]}
    assert first["securityContext"] == container["securityContext"]
    assert "RRSIG" in container["readinessProbe"]["exec"]["command"][-1]


def test_a_changed_zone_or_key_starts_new_servers(lab: Site) -> None:
    def annotation(*more: Any) -> str:
        template = of(dns_server(dns_args(lab, *more)), "Deployment")["spec"]["template"]
        return template["metadata"]["annotations"]["tinh/config"]

    assert annotation("one") == annotation("one") != annotation("other")
    assert annotation("one", (7,)) != annotation("one", (7, 8))
