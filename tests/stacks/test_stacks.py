"""Whole stacks against golden files, and the rules that hold for every stack."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra import contract, paths
from infra.contract import BaseContract, DataContract, PlatformsContract
from lab.toolchain import catalogue
from tests.conftest import SECRET, Engine

GOLDEN = Path(__file__).parent / "golden"
STACKS = [f"{layer}.{site}" for layer in ("base", "data", "platforms") for site in ("lab", "sim")]
Declare = Callable[[str], Engine]


def snapshot(engine: Engine, state: Path) -> list[dict[str, Any]]:
    """Return what was declared, in an order and form that do not depend on the run."""

    def steady(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: steady(item) for key, item in value.items()}
        if isinstance(value, list):
            return [steady(item) for item in value]
        return value.replace(str(state), "STATE") if isinstance(value, str) else value

    return sorted(
        (
            {"type": item.type, "name": item.name}
            | ({"inputs": steady(item.inputs)} if item.inputs else {})
            | ({"protect": True} if item.protect else {})
            for item in engine.resources
        ),
        key=lambda item: (item["type"], item["name"]),
    )


@pytest.mark.parametrize("stack", STACKS)
def test_a_stack_declares_what_its_golden_file_says(
    stack: str, declare: Declare, state: Path, golden: Callable[[Path, object], None]
) -> None:
    golden(GOLDEN / f"{stack}.yaml", snapshot(declare(stack), state))


@pytest.mark.parametrize("stack", STACKS)
def test_every_object_uses_the_one_provider_and_has_a_limited_wait(stack: str, declare: Declare) -> None:
    engine = declare(stack)
    providers = [item.name for item in engine.resources if item.type.startswith("pulumi:providers:")]
    assert providers == ["cluster"]
    assert engine.objects()
    for item in engine.objects():
        assert "::cluster::" in item.provider, item.name
        assert item.timeout in {"5m", "10m", "15m"}, item.name


@pytest.mark.parametrize("stack", STACKS)
def test_the_provider_is_told_where_the_kubeconfig_is_and_never_what_is_in_it(
    stack: str, declare: Declare
) -> None:
    provider = next(item for item in declare(stack).resources if item.type.startswith("pulumi:providers:"))
    site = stack.split(".")[1]
    assert provider.inputs["kubeconfig"] == str(paths.state(site).kubeconfig)


@pytest.mark.parametrize("stack", STACKS)
def test_every_namespace_enforces_pod_security_and_denies_both_directions(
    stack: str, declare: Declare
) -> None:
    engine = declare(stack)
    for space in engine.objects("Namespace"):
        metadata = space.inputs["metadata"]
        assert metadata["labels"]["pod-security.kubernetes.io/enforce"]
        deny = engine.one("NetworkPolicy", "default-deny", metadata["name"])
        assert deny.inputs["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.parametrize("stack", STACKS)
def test_host_addresses_in_policies_come_in_both_families(stack: str, declare: Declare) -> None:
    for policy in declare(stack).objects("NetworkPolicy"):
        spec = policy.inputs["spec"]
        peers = [
            peer["ipBlock"]["cidr"]
            for rule in (*spec.get("ingress", []), *spec.get("egress", []))
            for peer in (*rule.get("from", []), *rule.get("to", []))
            if "ipBlock" in peer
        ]
        assert sum(":" in cidr for cidr in peers) * 2 == len(peers), policy.name


@pytest.mark.parametrize("stack", STACKS)
def test_every_service_asks_for_both_families(stack: str, declare: Declare) -> None:
    for service in declare(stack).objects("Service"):
        policy = service.inputs["spec"]["ipFamilyPolicy"]
        assert policy in {"PreferDualStack", "RequireDualStack"}, service.name


@pytest.mark.parametrize("stack", STACKS)
def test_no_secret_value_leaves_in_clear_text(stack: str, declare: Declare) -> None:
    engine = declare(stack)
    clear = str([item.inputs for item in engine.resources]) + str(engine.exports)
    assert "KEY" not in clear.replace("KEYS", "").split("'")
    assert "secret of" not in clear


def test_the_authoritys_key_reaches_the_cluster_as_a_secret(declare: Declare) -> None:
    key = declare("base.lab").one("Secret", "site-ca", "cert-manager")
    assert SECRET in str(key.inputs["stringData"])


def test_the_simulated_site_awaits_no_operator_and_has_no_webhook(declare: Declare) -> None:
    for stack in ("base.sim", "data.sim", "platforms.sim"):
        engine = declare(stack)
        assert "pulumi.com/waitFor" not in str([item.inputs for item in engine.objects()])
        assert not engine.objects("ValidatingWebhookConfiguration")
        assert not engine.objects("APIService")


def test_the_lab_awaits_certificate_gateway_and_database(declare: Declare) -> None:
    awaited = {
        item.kind: item.inputs["metadata"]["annotations"]["pulumi.com/waitFor"]
        for stack in ("base.lab", "data.lab", "platforms.lab")
        for item in declare(stack).objects()
        if "pulumi.com/waitFor" in item.inputs["metadata"].get("annotations", {})
    }
    assert awaited == {
        "ClusterIssuer": "condition=Ready",
        "Gateway": "condition=Programmed",
        "Certificate": "condition=Ready",
        "ListenerSet": "condition=Programmed",
        "Cluster": "condition=Ready",
    }


def test_custom_resources_come_after_the_operator_that_serves_them(declare: Declare) -> None:
    engine = declare("base.lab")
    pool = engine.one("IPAddressPool", "reserved")
    assert any("metallb/Deployment/metallb-system/controller" in urn for urn in pool.depends_on)


def test_only_data_is_protected(declare: Declare) -> None:
    assert [item.name for item in declare("base.lab").resources if item.protect] == []
    below = {item.name for item in declare("data.lab").resources if item.protect}
    assert below == {
        "mail-PersistentVolumeClaim",
        "mail-namespace",
        "objects-PersistentVolumeClaim",
        "objects-namespace",
        "streams-StatefulSet-streams",
        "streams-namespace",
    }
    protected = {item.name for item in declare("platforms.lab").resources if item.protect}
    assert protected == {
        f"{name}-{what}" for name in ("identity", "portal", "gazette") for what in ("namespace", "db-cluster")
    }


def test_layers_export_contracts_that_the_next_layer_can_read(declare: Declare) -> None:
    base = contract.read(BaseContract, declare("base.lab").exports["contract"], "base.lab")
    assert (base.issuer, base.gateway, base.storage_class) == ("site-ca", "edge", "local-path")
    data = contract.read(DataContract, declare("data.lab").exports["contract"], "data.lab")
    assert (data.objects, data.mail) == ("https://objects.objects.svc", "mail.mail.svc")
    top = contract.read(PlatformsContract, declare("platforms.lab").exports["contract"], "platforms.lab")
    assert top.urls == {
        "identity": "https://id.lab.tinh.test",
        "portal": "https://portal.lab.tinh.test",
        "gazette": "https://congbao.lab.tinh.test",
    }


def test_published_names_use_the_issuer_and_gateway_of_the_contract(declare: Declare) -> None:
    engine = declare("platforms.lab")
    assert engine.one("Certificate", "id").inputs["spec"]["issuerRef"]["name"] == "site-ca"
    parent = engine.one("ListenerSet", "id").inputs["spec"]["parentRef"]
    assert parent == {"name": "edge", "namespace": "edge"}


def test_the_database_password_never_passes_through_pulumi(declare: Declare) -> None:
    engine = declare("platforms.lab")
    of_databases = {
        name for item in engine.objects("Secret") if "-db-" in (name := item.inputs["metadata"]["name"])
    }
    # What opens their archives, and nothing else.
    assert all(name.endswith("-db-archive") for name in of_databases)
    pod = engine.one("Deployment", "keycloak").inputs["spec"]["template"]["spec"]
    password = next(item for item in pod["containers"][0]["env"] if item["name"] == "KC_DB_PASSWORD")
    assert password["valueFrom"]["secretKeyRef"] == {"name": "identity-db-app", "key": "password"}


def images(value: Any) -> set[str]:
    """Return every image that is named anywhere in an object."""
    if isinstance(value, dict):
        own = {item for key, item in value.items() if key in {"image", "imageName"} and isinstance(item, str)}
        return own.union(*map(images, value.values()))
    return set().union(*map(images, value)) if isinstance(value, list) else set()


def test_every_image_that_a_stack_names_is_one_that_the_toolchain_provides(declare: Declare) -> None:
    known = {catalogue.image_ref(tool) for tool in catalogue.load()}
    used = {
        image
        for stack in ("base.lab", "data.lab", "platforms.lab")
        for item in declare(stack).objects()
        for image in images(item.inputs)
    }
    assert len(used) == 12
    assert used <= known
