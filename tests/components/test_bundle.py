"""Upstream bundles: what is left out, what is changed, in which order."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from infra.components.bundle import Bundle, BundleArgs, load, prepare
from infra.components.manifest import Object
from infra.errors import IntegrityError
from infra.model.site import SiteKind
from tests.conftest import Deploy

METALLB = Path(__file__).parent.parent / "stacks" / "bundles" / "metallb.yaml"


@pytest.fixture
def objs() -> list[Object]:
    return load(METALLB)


def one(objs: list[Object], kind: str) -> Object:
    (found,) = [obj for obj in objs if obj["kind"] == kind]
    return found


def kinds(objs: list[Object]) -> set[str]:
    return {obj["kind"] for obj in objs}


def test_the_lab_gets_everything_but_the_namespace(objs: list[Object]) -> None:
    assert kinds(prepare(objs, SiteKind.LAB)) == kinds(objs) - {"Namespace"}


def test_the_simulated_site_gets_no_webhook_of_any_kind(objs: list[Object]) -> None:
    prepared = prepare(objs, SiteKind.SIM)
    assert "ValidatingWebhookConfiguration" not in kinds(prepared)
    assert "conversion" not in one(prepared, "CustomResourceDefinition")["spec"]


def test_the_lab_keeps_conversion_without_the_placeholder_of_its_authority(objs: list[Object]) -> None:
    prepared = prepare(objs, SiteKind.LAB)
    conversion = one(prepared, "CustomResourceDefinition")["spec"]["conversion"]
    assert conversion["webhook"]["clientConfig"] == {
        "service": {"name": "webhook", "namespace": "metallb-system"}
    }
    webhook = one(prepared, "ValidatingWebhookConfiguration")["webhooks"][0]
    assert "caBundle" not in webhook["clientConfig"]


def test_a_schema_loses_its_descriptions_but_not_a_property_of_that_name(objs: list[Object]) -> None:
    crd = one(prepare(objs, SiteKind.LAB), "CustomResourceDefinition")
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert schema == {"type": "object", "properties": {"description": {"type": "string"}}}


def test_a_default_value_with_a_description_stays(objs: list[Object]) -> None:
    crd = one(objs, "CustomResourceDefinition")
    default = {"description": "kept"}
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["default"] = default
    schema = prepare([crd], SiteKind.LAB)[0]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert schema["default"] == {"description": "kept"}


def test_services_ask_for_both_families_and_are_not_awaited(objs: list[Object]) -> None:
    service = one(prepare(objs, SiteKind.LAB), "Service")
    assert service["spec"]["ipFamilyPolicy"] == "PreferDualStack"
    assert service["metadata"]["annotations"] == {"pulumi.com/skipAwait": "true"}


def test_a_certificate_is_written_as_it_is_stored() -> None:
    spec = {"secretName": "tls", "duration": "2160h", "renewBefore": "360h", "isCA": False}
    made = {"apiVersion": "cert-manager.io/v1", "kind": "Certificate", "metadata": {"name": "a"}}
    (prepared,) = prepare([made | {"spec": spec}], SiteKind.LAB)
    stored = {"secretName": "tls", "duration": "2160h0m0s", "renewBefore": "360h0m0s"}
    assert prepared["spec"] == stored
    (authority,) = prepare([made | {"spec": {"isCA": True}}], SiteKind.LAB)
    assert authority["spec"] == {"isCA": True}


def test_a_finished_job_stays() -> None:
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "j"},
        "spec": {"ttlSecondsAfterFinished": 30},
    }
    assert prepare([job], SiteKind.LAB)[0]["spec"] == {}


@pytest.mark.parametrize("kind", list(SiteKind))
def test_preparing_changes_no_input_and_twice_is_once(objs: list[Object], kind: SiteKind) -> None:
    before = copy.deepcopy(objs)
    prepared = prepare(objs, kind)
    assert objs == before
    assert prepare(prepared, kind) == prepared


def test_workloads_wait_for_what_they_need_also_for_the_webhooks_that_they_complete(
    objs: list[Object], deploy: Deploy
) -> None:
    engine = deploy(lambda: Bundle("metallb", BundleArgs(objs=objs, kind=SiteKind.LAB)))
    before = {
        item.kind: {urn.split("::")[-1].split("/")[1] for urn in item.depends_on} for item in engine.objects()
    }
    assert before == {
        "CustomResourceDefinition": set(),
        "Service": set(),
        "ValidatingWebhookConfiguration": set(),
        "Deployment": {"CustomResourceDefinition", "Service", "ValidatingWebhookConfiguration"},
    }


def test_a_patch_changes_its_object(objs: list[Object], deploy: Deploy) -> None:
    patches = {"Deployment/controller": lambda obj: obj | {"spec": "patched"}}
    engine = deploy(lambda: Bundle("metallb", BundleArgs(objs=objs, kind=SiteKind.LAB, patches=patches)))
    assert engine.one("Deployment", "controller").inputs["spec"] == "patched"


def test_a_patch_without_a_target_is_refused_and_named(objs: list[Object], deploy: Deploy) -> None:
    patches = {"Deployment/renamed": lambda obj: obj}
    with pytest.raises(IntegrityError, match="Deployment/renamed"):
        deploy(lambda: Bundle("metallb", BundleArgs(objs=objs, kind=SiteKind.LAB, patches=patches)))


def test_a_document_that_is_no_object_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "manifest.yaml"
    file.write_text("kind: Pod\n")
    with pytest.raises(IntegrityError, match="document 0"):
        load(file)
