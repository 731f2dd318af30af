"""Portal and gazette: Plone, its database, its seed, and how people sign in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pulumi
import pytest
from kubernetes.utils.quantity import parse_quantity

from infra.components.identity.login import clients, groups, issuer
from infra.components.manifest import Object
from infra.components.workload.platform import PlatformArgs
from infra.errors import TinhError
from infra.model.platform import PLATFORMS, Platform, load_platform
from infra.model.province import Province, load_province
from infra.model.site import Site, SiteKind
from platforms.gazette.component import Gazette
from platforms.plone.seed import Item, declaration, read_pages, to_json
from platforms.portal.component import Portal
from platforms.portal.content import sub_sites
from tests.components.below import base, data
from tests.conftest import SECRET, Deploy, Engine

GOLDEN = Path(__file__).parent / "golden"
ALL = tuple(load_platform(name) for name in ("identity", "portal", "gazette"))
COMPONENTS = {"portal": Portal, "gazette": Gazette}


def arguments(site: Site, name: str, platforms: tuple[Platform, ...] = ALL) -> PlatformArgs:
    return PlatformArgs(
        site=site,
        facts=load_platform(name),
        base=base(),
        data=data(site),
        secret=lambda secret: pulumi.Output.secret(f"secret of {secret}"),
        platforms=platforms,
        province=load_province("lab", "2023"),
    )


@pytest.fixture(params=["portal", "gazette"])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def engine(deploy: Deploy, lab: Site, name: str) -> Engine:
    return deploy(lambda: COMPONENTS[name](name, arguments(lab, name)))


def pods(engine: Engine) -> list[Object]:
    found = [engine.one("Deployment", "plone"), engine.one("Job", "seed")]
    return [item.inputs["spec"]["template"]["spec"] for item in found]


# --- the declaration ---


@pytest.mark.parametrize(("site", "epoch"), [("lab", "2023"), ("lab", "2025"), ("quang-binh", "2023")])
def test_the_portal_is_declared_from_the_units_of_the_epoch(
    lab: Site, site: str, epoch: str, golden_text: Callable[[Path, str], None]
) -> None:
    content = [*read_pages(PLATFORMS / "portal").of(lab), *sub_sites(load_province(site, epoch))]
    text = to_json(declaration(lab, load_platform("portal"), ALL, content))
    golden_text(GOLDEN / f"portal.{site}.{epoch}.json", text)


def test_the_gazette_is_declared(lab: Site, golden_text: Callable[[Path, str], None]) -> None:
    content = read_pages(PLATFORMS / "gazette").of(lab)
    declared = declaration(lab, load_platform("gazette"), ALL, content, profiles=["tinh_plone:gazette"])
    golden_text(GOLDEN / "gazette.json", to_json(declared))


def ids(province: Province) -> list[str]:
    return [f"{item.parent}/{item.id}" for item in sub_sites(province)]


def test_districts_have_sub_sites_until_there_are_none_and_communes_since() -> None:
    assert ids(load_province("lab", "2023")) == ["don-vi/mot-998", "co-quan/so-hai", "co-quan/so-mot"]
    now = ids(load_province("lab", "2025"))
    assert "don-vi/mot-998" not in now
    assert {"don-vi/dong-99801", "don-vi/tay-nam-99803", "don-vi/phuong-bac-99804"} <= set(now)


def test_the_data_centre_and_units_below_districts_have_none() -> None:
    found = ids(load_province("quang-binh", "2023"))
    assert len([each for each in found if each.startswith("don-vi/")]) == 8
    assert "co-quan/dc" not in found
    assert not [each for each in found if "18853" in each]


def test_a_renamed_unit_keeps_its_key() -> None:
    before = {item.key: item.values["title"] for item in sub_sites(load_province("quang-binh", "2023"))}
    after = {item.key: item.values["title"] for item in sub_sites(load_province("quang-binh", "2025"))}
    assert before["unit-so-noi-vu"] == after["unit-so-noi-vu"]
    assert len(after) == len(set(after))


def test_invented_content_is_for_labs_only(lab: Site) -> None:
    real = lab.model_copy(update={"kind": SiteKind.DATACENTRE})
    for name in COMPONENTS:
        pages = read_pages(PLATFORMS / name)
        assert pages.samples
        assert len(pages.of(real)) == len(pages.of(lab)) - len(pages.samples)


def test_containers_come_before_what_is_in_them(lab: Site) -> None:
    for name in COMPONENTS:
        seen = {""}
        pages = read_pages(PLATFORMS / name).of(lab)
        content = [*pages, *sub_sites(load_province("lab", "2023"))] if name == "portal" else pages
        for item in content:
            assert item.parent in seen
            seen.add(f"{item.parent}/{item.id}".lstrip("/"))


def test_the_same_key_twice_is_refused(lab: Site) -> None:
    one = Item(key="a", id="a", type="Folder", values={"title": "A"})
    with pytest.raises(ValueError, match="repeats itself"):
        declaration(lab, load_platform("portal"), ALL, [one, one.model_copy(update={"id": "b"})])


def test_malformed_pages_are_refused_at_their_place(tmp_path: Path) -> None:
    (tmp_path / "content.yaml").write_text("pages: [{key: a, id: A b, type: Folder, values: {title: A}}]")
    with pytest.raises(TinhError, match=r"pages\.0\.id"):
        read_pages(tmp_path)


# --- signing in ---


def test_without_identity_nobody_could_sign_in(deploy: Deploy, lab: Site, name: str) -> None:
    alone = (load_platform(name),)
    with pytest.raises(TinhError, match="switched off"):
        deploy(lambda: COMPONENTS[name](name, arguments(lab, name, alone)))


def test_issuer_and_callback_are_published_addresses(lab: Site) -> None:
    assert issuer(lab, ALL[0]) == "https://id.lab.tinh.test/realms/province"
    (found,) = clients(lab, [load_platform("gazette")])
    declared = found.declared
    assert declared["redirectUris"] == ["https://congbao.lab.tinh.test/acl_users/oidc/callback"]
    assert declared["attributes"]["pkce.code.challenge.method"] == "S256"
    assert not declared["directAccessGrantsEnabled"]
    assert "secret" not in declared


def test_groups_of_the_realm_are_those_that_have_roles() -> None:
    assert [group["name"] for group in groups(ALL)] == [
        f"{name}-{who}" for name in ("gazette", "portal") for who in ("admins", "editors", "reviewers")
    ]


def test_nobody_is_manager_of_a_site() -> None:
    for platform in ALL[1:]:
        assert platform.login
        assert "Manager" not in {role for group in platform.login.groups for role in group.roles}


def test_pods_find_identity_at_the_gateway_in_both_families(engine: Engine) -> None:
    server, _ = pods(engine)
    assert server["hostAliases"] == [
        {"ip": "fd77::c8", "hostnames": ["id.lab.tinh.test"]},
        {"ip": "10.77.0.200", "hostnames": ["id.lab.tinh.test"]},
    ]


def test_the_clients_secret_is_a_file_of_the_seeding_step_only(engine: Engine) -> None:
    assert engine.one("Secret", "client").inputs["stringData"] == {"secret": SECRET}
    server, seed = pods(engine)
    assert [v["secret"]["secretName"] for v in seed["volumes"] if v["name"] == "client"] == ["client"]
    assert "client" not in [volume["name"] for volume in server["volumes"]]
    assert "secret of" not in json.dumps([pod["containers"] for pod in (server, seed)])


# --- workloads ---


def test_pods_fit_the_restricted_pod_security_level(engine: Engine) -> None:
    for pod in pods(engine):
        assert pod["securityContext"]["runAsNonRoot"] is True
        (container,) = pod["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert "command" not in container


def test_the_database_is_reached_over_verified_tls_and_never_by_a_password_in_sight(
    engine: Engine, name: str
) -> None:
    for pod in pods(engine):
        env = {item["name"]: item for item in pod["containers"][0]["env"]}
        assert env["PGSSLMODE"]["value"] == "verify-full"
        assert env["PGHOST"]["value"] == f"{name}-db-rw.{name}.svc"
        assert env["PGPASSWORD"]["valueFrom"]["secretKeyRef"] == {"name": f"{name}-db-app", "key": "password"}


def test_only_certificates_are_mounted_from_secrets_that_hold_keys(engine: Engine, name: str) -> None:
    for pod in pods(engine):
        volumes = {volume["name"]: volume.get("secret") for volume in pod["volumes"]}
        for volume, secret in (("database", f"{name}-db-ca"), ("authority", None)):
            assert volumes[volume]["items"] == [{"key": "ca.crt", "path": "ca.crt"}]
            assert secret in (None, volumes[volume]["secretName"])


def test_the_site_is_seeded_before_the_server_starts(engine: Engine) -> None:
    server = engine.one("Deployment", "plone")
    assert any(urn.endswith("seed-Job") for urn in server.depends_on)


def test_another_declaration_runs_the_step_again_and_the_same_does_not(deploy: Deploy, lab: Site) -> None:
    def stamp(site: Site) -> str:
        engine = deploy(lambda: Portal("portal", arguments(site, "portal")))
        return engine.one("Job", "seed").inputs["spec"]["template"]["metadata"]["annotations"]["tinh/input"]

    first = stamp(lab)
    assert len(first) == 32
    assert stamp(lab) == first
    title = lab.title.model_copy(update={"vi": "Khác"})
    assert stamp(lab.model_copy(update={"title": title})) != first


def test_the_seeding_step_may_use_the_database_and_nothing_else(engine: Engine) -> None:
    seed = {"app.kubernetes.io/name": "seed"}
    out = [
        policy.inputs["metadata"]["name"]
        for policy in engine.objects("NetworkPolicy")
        if policy.inputs["spec"]["podSelector"].get("matchLabels") == seed
    ]
    assert out == ["allow-seed-to-postgresql"]


def test_the_image_is_kept_in_one_place() -> None:
    for name in COMPONENTS:
        assert (PLATFORMS / name / "image").resolve() == PLATFORMS / "plone" / "image"
        assert load_platform(name).image == load_platform("portal").image


@pytest.mark.parametrize("kind", list(SiteKind))
@pytest.mark.parametrize("name", list(COMPONENTS))
def test_the_database_has_room_for_the_largest_file_several_times(name: str, kind: SiteKind) -> None:
    """Files are kept in it: with 256Mi it was killed while a file of 30 MiB was being read."""
    facts = load_platform(name)
    memory = parse_quantity(facts.sizing[kind].database_memory)
    for public in facts.public_names:
        body = facts.exposure[public].body
        assert body
        buffers = parse_quantity("128Mi")  # PostgreSQL's own
        assert memory >= buffers + 4 * parse_quantity(body)
