"""Namespaces, network policies and admission rules."""

from __future__ import annotations

import pytest

from infra.components.workload import allow
from infra.components.workload.admission import Admission
from infra.components.workload.namespace import Namespace, NamespaceArgs, network_policies
from infra.model.site import Site
from tests.conftest import Deploy

APP = {"app": "x"}


def test_a_namespace_is_restricted_unless_it_says_otherwise(deploy: Deploy) -> None:
    engine = deploy(lambda: Namespace("space", NamespaceArgs(name="x", part_of="y")))
    labels = engine.one("Namespace", "x").inputs["metadata"]["labels"]
    modes = ("enforce", "audit", "warn")
    assert [labels[f"pod-security.kubernetes.io/{mode}"] for mode in modes] == ["restricted"] * 3
    assert "tinh/publishes" not in labels


def test_without_exceptions_there_is_only_default_deny(deploy: Deploy) -> None:
    engine = deploy(lambda: Namespace("space", NamespaceArgs(name="x", part_of="y")))
    (policy,) = engine.objects("NetworkPolicy")
    assert policy.inputs["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_policies_wait_for_their_namespace(deploy: Deploy) -> None:
    engine = deploy(lambda: Namespace("space", NamespaceArgs(name="x", part_of="y", allow=(allow.dns(),))))
    for policy in engine.objects("NetworkPolicy"):
        assert any(urn.endswith("Namespace::space") for urn in policy.depends_on), policy.name


def test_a_namespace_with_data_is_protected_and_its_policies_are_not(deploy: Deploy) -> None:
    engine = deploy(lambda: Namespace("space", NamespaceArgs(name="x", part_of="y", protect=True)))
    assert [item.kind for item in engine.objects() if item.protect] == ["Namespace"]


def test_two_exceptions_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="same name"):
        network_policies(NamespaceArgs(name="x", part_of="y", allow=(allow.dns(), allow.dns())))


def test_the_api_server_is_reached_at_every_address_in_both_families(lab: Site) -> None:
    (rule,) = allow.to_api_server(lab).spec["egress"]
    assert [peer["ipBlock"]["cidr"] for peer in rule["to"]] == [
        "fd77::a/128",
        "10.77.0.10/32",
        "fd77::b/128",
        "10.77.0.11/32",
    ]
    assert rule["ports"] == [{"protocol": "TCP", "port": 6443}]


def test_dns_is_allowed_over_both_transports() -> None:
    (rule,) = allow.dns().spec["egress"]
    assert {port["protocol"] for port in rule["ports"]} == {"UDP", "TCP"}


def test_a_database_is_open_to_its_clients_operator_replicas_and_scraper_only(lab: Site) -> None:
    rules = allow.postgresql(lab, "db", APP)
    ingress = [peer for rule in rules for item in rule.spec.get("ingress", []) for peer in item["from"]]
    assert ingress == [
        {"podSelector": {"matchLabels": APP}},
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "cnpg-system"}}},
        {"podSelector": {"matchLabels": {"cnpg.io/cluster": "db"}}},
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "observability"}}},
    ]


def test_what_is_open_to_everybody_names_its_ports() -> None:
    (rule,) = allow.from_anywhere("clients", APP, ["53/UDP"]).spec["ingress"]
    assert rule == {"ports": [{"protocol": "UDP", "port": 53}]}


def test_admission_rules_deny_and_audit(deploy: Deploy) -> None:
    engine = deploy(lambda: Admission("admission"))
    bindings = engine.objects("ValidatingAdmissionPolicyBinding")
    assert len(bindings) == 2
    for binding in bindings:
        assert binding.inputs["spec"]["validationActions"] == ["Deny", "Audit"]
        engine.one("ValidatingAdmissionPolicy", binding.inputs["spec"]["policyName"])


def test_only_namespaces_of_kubernetes_itself_need_no_level(deploy: Deploy) -> None:
    engine = deploy(lambda: Admission("admission"))
    spec = engine.one("ValidatingAdmissionPolicy", "tinh-namespace-pod-security").inputs["spec"]
    exempt = [item["expression"] for item in spec["matchConditions"]]
    assert exempt == [
        "!object.metadata.name.startsWith('kube-')",
        "!has(object.metadata.deletionTimestamp)",
    ]
