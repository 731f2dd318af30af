"""The admission rules in a real API server: what they refuse is refused, what they allow works."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from infra.components.workload import admission
from infra.components.workload.namespace import NamespaceArgs, namespace
from lab.sim.api import Api
from lab.sim.engine import Sim

pytestmark = pytest.mark.sim

_COLLECTIONS = {
    "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
    "MutatingAdmissionPolicy": "mutatingadmissionpolicies",
    "MutatingAdmissionPolicyBinding": "mutatingadmissionpolicybindings",
}
MANAGED = "managed"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A sim of its own with the admission rules, once they are in force."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINH_STATE", str(tmp_path_factory.mktemp("state")))
        patch.setenv("TINH_INSTANCE", "rules")
        sim = Sim()
        try:
            sim.up()
            api = Api(sim.state.kubeconfig)
            for rule in (
                admission.namespaces_state_pod_security(),
                admission.services_are_dual_stack(),
                admission.services_default_to_dual_stack(),
            ):
                for obj in rule:
                    api.call(
                        "POST", f"/apis/admissionregistration.k8s.io/v1/{_COLLECTIONS[obj['kind']]}", obj
                    )
            api.call("POST", "/api/v1/namespaces", namespace(NamespaceArgs(name=MANAGED, part_of="test")))
            _until_in_force(api)
            yield api
        finally:
            sim.down(purge=True)


def _until_in_force(api: Api) -> None:
    """Wait until every rule acts: the API server reads new policies one by one, within a second or so."""
    for number in range(300):
        try:
            spec = post(api, service(f"probe-{number}"))["spec"]
        except requests.HTTPError:
            continue  # refused for what another rule does not add yet
        try:
            api.call("POST", "/api/v1/namespaces", bare(f"probe-{number}"))
        except requests.HTTPError:
            if spec["ipFamilyPolicy"] == "PreferDualStack" and _refused(api, f"single-{number}"):
                return
    raise AssertionError("the admission rules never came into force")


def _refused(api: Api, name: str) -> bool:
    try:
        post(api, service(name, ipFamilyPolicy="SingleStack"))
    except requests.HTTPError:
        return True
    return False


def bare(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def service(name: str, **spec: object) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"ports": [{"port": 80}], "selector": {"app": "x"}, **spec},
    }


def post(api: Api, obj: dict[str, Any], where: str = MANAGED) -> dict[str, Any]:
    return api.call("POST", f"/api/v1/namespaces/{where}/services", obj)


def test_a_namespace_without_a_pod_security_level_is_refused(api: Api) -> None:
    with pytest.raises(requests.HTTPError) as refused:
        api.call("POST", "/api/v1/namespaces", bare("plain"))
    assert "tinh-namespace-pod-security" in refused.value.response.text


def test_a_namespace_cannot_lose_its_level(api: Api) -> None:
    change = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": None}}}
    with pytest.raises(requests.HTTPError) as refused:
        api.call("PATCH", f"/api/v1/namespaces/{MANAGED}", change, "application/merge-patch+json")
    assert "tinh-namespace-pod-security" in refused.value.response.text


def test_namespaces_of_kubernetes_can_still_be_changed(api: Api) -> None:
    change = {"metadata": {"labels": {"touched": "yes"}}}
    changed = api.call("PATCH", "/api/v1/namespaces/kube-public", change, "application/merge-patch+json")
    assert changed["metadata"]["labels"]["touched"] == "yes"


def test_a_single_stack_service_is_refused_in_a_managed_namespace(api: Api) -> None:
    with pytest.raises(requests.HTTPError) as refused:
        post(api, service("single", ipFamilyPolicy="SingleStack"))
    assert "tinh-service-dual-stack" in refused.value.response.text


def test_a_service_that_says_nothing_gets_both_families(api: Api) -> None:
    spec = post(api, service("silent"))["spec"]
    assert sorted(spec["ipFamilies"]) == ["IPv4", "IPv6"]
    assert len(spec["clusterIPs"]) == 2


def test_a_name_of_an_outside_host_needs_no_family(api: Api) -> None:
    outside = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "outside"},
        "spec": {"type": "ExternalName", "externalName": "a.example"},
    }
    assert post(api, outside)["spec"]["type"] == "ExternalName"


def test_namespaces_that_tinh_did_not_make_are_left_alone(api: Api) -> None:
    assert post(api, service("single", ipFamilyPolicy="SingleStack"), "default")["spec"]["ipFamilies"]
