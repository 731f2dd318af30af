"""The identity platform: Keycloak and its database."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pulumi
import pytest

from infra.components.edge.public_name import publish
from infra.components.identity.login import clients
from infra.components.manifest import Object
from infra.components.workload.platform import PlatformArgs
from infra.model.exposure import Exposure, SignIn
from infra.model.platform import Platform, load_platform
from infra.model.site import Site
from platforms.identity.component import Identity
from platforms.identity.realm import files
from tests.components.below import base, data
from tests.conftest import SECRET, Deploy, Engine


def declare(site: Site) -> None:
    args = PlatformArgs(
        site=site,
        facts=load_platform("identity"),
        data=data(site),
        base=base(),
        secret=lambda name: pulumi.Output.secret(f"secret of {name}"),
    )
    Identity("identity", args)


@pytest.fixture
def engine(deploy: Deploy, lab: Site) -> Engine:
    return deploy(lambda: declare(lab))


@pytest.fixture
def pod(engine: Engine) -> Object:
    return engine.one("Deployment", "keycloak").inputs["spec"]["template"]["spec"]


def setting(pod: Object, name: str) -> Object:
    (found,) = [item for item in pod["containers"][0]["env"] if item["name"] == name]
    return found


def test_keycloak_verifies_the_databases_certificate(pod: Object) -> None:
    assert "sslmode=verify-full" in setting(pod, "KC_DB_URL_PROPERTIES")["value"]
    assert setting(pod, "KC_DB_URL_HOST")["value"] == "identity-db-rw.identity.svc"


def test_keycloak_sees_the_authoritys_certificate_and_not_its_key(pod: Object) -> None:
    (volume,) = [item["secret"] for item in pod["volumes"] if "secret" in item]
    assert volume == {"secretName": "identity-db-ca", "items": [{"key": "ca.crt", "path": "ca.crt"}]}


def test_the_pod_fits_the_restricted_pod_security_level(pod: Object) -> None:
    container = pod["containers"][0]["securityContext"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["allowPrivilegeEscalation"] is False
    assert container["capabilities"] == {"drop": ["ALL"]}
    assert container["readOnlyRootFilesystem"] is True


def test_keycloak_is_started_only_when_it_is_ready(pod: Object) -> None:
    container = pod["containers"][0]
    assert container["startupProbe"]["httpGet"] == {"path": "/health/ready", "port": "management"}
    assert container["args"] == ["start", "--optimized"]


def test_the_management_port_is_not_published(engine: Engine) -> None:
    ports = [port["targetPort"] for port in engine.one("Service", "keycloak").inputs["spec"]["ports"]]
    assert ports == ["http"]
    (rule,) = engine.one("NetworkPolicy", "allow-from-gateway").inputs["spec"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 8080}]


def test_the_bootstrap_password_is_a_secret(engine: Engine) -> None:
    assert SECRET in str(engine.one("Secret", "bootstrap-admin").inputs["stringData"])


def test_the_database_refuses_clear_text_and_is_protected(engine: Engine) -> None:
    cluster = engine.one("Cluster", "identity-db")
    assert cluster.protect
    assert cluster.inputs["spec"]["postgresql"]["pg_hba"] == ["hostnossl all all all reject"]
    assert cluster.inputs["spec"]["storage"] == {"size": "1Gi", "storageClass": "local-path"}


def test_one_instance_has_no_read_only_services_and_no_disruption_budget(engine: Engine) -> None:
    spec = engine.one("Cluster", "identity-db").inputs["spec"]
    assert spec["managed"]["services"]["disabledDefaultServices"] == ["ro", "r"]
    assert (spec["enablePDB"], spec["affinity"]["enablePodAntiAffinity"]) == (False, False)


def test_several_replicas_share_their_caches(deploy: Deploy, sim: Site) -> None:
    engine = deploy(lambda: declare(sim))
    spec = engine.one("Deployment", "keycloak").inputs["spec"]
    assert spec["replicas"] == 2
    assert setting(spec["template"]["spec"], "KC_CACHE")["value"] == "ispn"
    (rule,) = engine.one("NetworkPolicy", "allow-cache-in").inputs["spec"]["ingress"]
    assert [port["port"] for port in rule["ports"]] == [7800, 57800]


# --- the realm of the province's people ---


ALL = tuple(load_platform(name) for name in ("identity", "portal", "gazette"))


def given(site: Site, name: str, platforms: tuple[Platform, ...]) -> PlatformArgs:
    return PlatformArgs(
        site=site,
        facts=next(platform for platform in platforms if platform.id == name),
        base=base(),
        data=data(site),
        secret=lambda name: pulumi.Output.secret(f"secret of {name}"),
        platforms=platforms,
    )


def with_clients(site: Site, platforms: tuple[Platform, ...] = ALL) -> None:
    Identity("identity", given(site, "identity", platforms))


@pytest.fixture
def realm(deploy: Deploy, lab: Site) -> Engine:
    return deploy(lambda: with_clients(lab))


def test_the_realm_is_declared(lab: Site, golden_text: Callable[[Path, str], None]) -> None:
    declared = {each.declared["id"]: each.declared for each in clients(lab, ALL)}
    texts = files("province", ALL) | {"clients.json": json.dumps(declared, indent=1) + "\n"}
    golden_text(
        Path(__file__).parent / "golden" / "realm.txt", "".join(f"--- {n}\n{t}" for n, t in texts.items())
    )


def test_every_platform_with_users_is_a_client_with_its_secret(realm: Engine) -> None:
    assert realm.one("Secret", "realm-clients").inputs["stringData"] == {
        "portal.json": SECRET,
        "gazette.json": SECRET,
    }


@pytest.fixture
def signed_in() -> tuple[Platform, ...]:
    """The platforms, of which the gazette lets the gateway sign people in."""
    exposure = {"congbao": Exposure(sign_in=SignIn())}
    return (*ALL[:2], ALL[2].model_copy(update={"exposure": exposure}))


def test_a_name_at_which_the_gateway_signs_people_in_is_a_client(
    deploy: Deploy, lab: Site, signed_in: tuple[Platform, ...]
) -> None:
    found = next(each for each in clients(lab, signed_in) if each.declared["id"] == "congbao-sign-in")
    assert found.secret == "congbao-sign-in"
    assert found.declared["redirectUris"] == ["https://congbao.lab.tinh.test/oauth2/callback"]
    assert "protocolMappers" not in found.declared
    realm = deploy(lambda: with_clients(lab, signed_in))
    assert set(realm.one("Secret", "realm-clients").inputs["stringData"]) == {
        "portal.json",
        "gazette.json",
        "congbao-sign-in.json",
    }
    grant = realm.one("ReferenceGrant", "sign-in").inputs["spec"]
    assert [source["namespace"] for source in grant["from"]] == ["gazette"]
    assert {source["kind"] for source in grant["from"]} == {"SecurityPolicy"}


def test_gateway_and_realm_are_given_one_client_with_one_secret(
    deploy: Deploy, lab: Site, signed_in: tuple[Platform, ...]
) -> None:
    asked: list[str] = []

    def secret(name: str) -> pulumi.Output[str]:
        asked.append(name)
        return pulumi.Output.secret(name)

    args = replace(given(lab, "gazette", signed_in), secret=secret)
    door = deploy(lambda: publish(args, "plone", 80, pulumi.ResourceOptions()) and None)
    assert asked == ["congbao-sign-in"]
    policy = door.one("SecurityPolicy", "congbao").inputs["spec"]["oidc"]
    assert policy["clientID"] == policy["clientSecret"]["name"] == "congbao-sign-in"
    assert policy["provider"]["issuer"] == "https://id.lab.tinh.test/realms/province"
    assert door.one("Secret", "congbao-sign-in").inputs["stringData"] == {"client-secret": SECRET}


def test_without_such_a_name_nobody_may_use_the_server(realm: Engine) -> None:
    assert not realm.objects("ReferenceGrant")


def test_no_secret_is_an_argument_or_in_clear_text(realm: Engine) -> None:
    job = realm.one("Job", "realm").inputs["spec"]["template"]["spec"]
    (container,) = job["containers"]
    assert container["command"] == ["/bin/sh", "/realm/apply.sh"]
    assert "secret of" not in json.dumps(job)
    assert "secret of" not in json.dumps(realm.one("ConfigMap", "realm").inputs)


def test_the_realm_comes_after_the_server_and_again_when_a_client_changes(
    deploy: Deploy, lab: Site, realm: Engine
) -> None:
    def stamp(engine: Engine) -> str:
        return engine.one("Job", "realm").inputs["spec"]["template"]["metadata"]["annotations"]["tinh/input"]

    assert any(urn.endswith("identity-Deployment") for urn in realm.one("Job", "realm").depends_on)
    assert stamp(deploy(lambda: with_clients(lab))) == stamp(realm)
    moved = lab.model_copy(update={"zone": "other.tinh.test"})
    assert stamp(deploy(lambda: with_clients(moved))) != stamp(realm)


def test_keycloak_and_the_step_share_the_service_account(realm: Engine) -> None:
    server = realm.one("Deployment", "keycloak").inputs["spec"]["template"]["spec"]
    wanted = {"secretKeyRef": {"name": "realm-admin", "key": "secret"}}
    assert setting(server, "KC_BOOTSTRAP_ADMIN_CLIENT_SECRET")["valueFrom"] == wanted
    job = realm.one("Job", "realm").inputs["spec"]["template"]["spec"]
    assert setting(job, "KC_CLI_CLIENT_SECRET")["valueFrom"] == wanted
    (rule,) = realm.one("NetworkPolicy", "allow-realm-in").inputs["spec"]["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "realm"}}}]
