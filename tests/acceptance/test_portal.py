"""Portal and gazette from outside: pages in both families, sub-sites, people who sign in, content that stays."""

import json
import secrets
from pathlib import Path

import pytest

from infra import paths
from infra.model.platform import load_platform
from infra.model.province import load_province
from platforms.portal.content import sub_sites

CA = "/usr/local/share/ca-certificates/tinh-site.crt"
FAMILIES = [("ipv4", "-4"), ("ipv6", "-6"), ("dual", "-4"), ("dual", "-6")]
PLATFORMS = ["portal", "gazette"]


@pytest.fixture(scope="module", autouse=True)
def _switched_on(lab):
    missing = [name for name in PLATFORMS if name not in lab.site.platforms]
    if missing:
        pytest.skip(f"{', '.join(missing)} switched off in the site file")


def url(lab, platform, path=""):
    return f"https://{lab.site.public_name(load_platform(platform).public_names[0])}{path}"


def fetch(lab, address, mode="dual", flag="-6"):
    """Return status, whether the certificate was verified, and the page."""
    command = (
        f"curl {flag} -sS --max-time 60 --cacert {CA} -w '\\n%{{http_code}} %{{ssl_verify_result}}' {address}"
    )
    done = lab.client(mode, command)
    page, _, last = done.stdout.rpartition("\n")
    assert done.rc == 0, done.stderr
    status, verified = last.split()
    return int(status), verified == "0", page


def people(lab, mode="dual", **asked):
    """Let somebody outside do something; what is said goes through standard input."""
    client = lab.machine("client1")
    for name, text in (
        ("people.py", Path(__file__).with_name("people.py").read_text("utf-8")),
        ("asked", json.dumps({"ca": CA} | asked)),
    ):
        client.run(f"umask 077; cat > /tmp/{name} <<'EOF'\n{text}\nEOF")
    done = lab.client(mode, "sh -c 'python3 /tmp/people.py < /tmp/asked'")
    client.run("rm -f /tmp/asked")
    assert done.rc == 0, done.stderr[-1500:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def enrol(lab):
    """Enrol people in groups of the realm; they leave at the end."""
    known = {
        "identity": url(lab, "identity"),
        "realm": load_platform("identity").realm,
        "admin": (paths.state("lab").root / "secrets" / "identity-admin").read_text().strip(),
    }
    enrolled = []

    def one(*groups):
        user, password = f"test-{secrets.token_hex(4)}", f"Aa1!{secrets.token_urlsafe(18)}"
        people(lab, do="enrol", user=user, password=password, groups=list(groups), **known)
        enrolled.append(user)
        return {"user": user, "password": password}

    yield one
    for user in enrolled:
        people(lab, do="leave", user=user, **known)


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize(("mode", "flag"), FAMILIES)
def test_the_front_page_comes_with_a_verified_certificate(lab, platform, mode, flag):
    status, verified, page = fetch(lab, url(lab, platform), mode, flag)
    assert (status, verified) == (200, True)
    assert 'lang="vi"' in page
    assert load_platform(platform).name.vi in page


@pytest.mark.parametrize("platform", PLATFORMS)
def test_both_families_show_the_same_page(lab, platform):
    assert fetch(lab, url(lab, platform), flag="-4") == fetch(lab, url(lab, platform), flag="-6")


def test_every_unit_below_the_province_and_every_agency_has_a_sub_site(lab):
    wanted = sub_sites(load_province("lab"))
    assert wanted
    for item in wanted:
        status, _, page = fetch(lab, url(lab, "portal", f"/{item.parent}/{item.id}"))
        assert status == 200
        assert item.values["title"] in page


def test_the_gazette_shows_number_kind_agency_and_dates_of_a_document(lab):
    status, _, page = fetch(lab, url(lab, "gazette", "/cong-bao/so-01-2026"))
    assert status == 200
    for shown in ("01/2026/QĐ-UBND", "Quyết định", "Ủy ban nhân dân tỉnh", "05/01/2026", "20/01/2026"):
        assert shown in page


@pytest.mark.parametrize("platform", PLATFORMS)
def test_zopes_root_has_no_address(lab, platform):
    for path in ("/VirtualHostBase/http/x:80/VirtualHostRoot/manage_main", "/_vh_a/manage_main"):
        status, _, page = fetch(lab, url(lab, platform, path))
        assert status in (400, 404)
        assert "Control_Panel" not in page


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_password_is_not_accepted_by_the_site_itself(lab, platform):
    command = f"curl -6 -sS --cacert {CA} -u admin:admin -o /dev/null -w '%{{http_code}}' "
    done = lab.client("dual", command + url(lab, platform, "/@@usergroup-userprefs"))
    assert done.stdout in ("302", "401", "403")


def test_an_editor_signs_in_through_identity_and_what_was_written_survives_a_restart(lab, enrol):
    editor = enrol("portal-editors")
    title = f"Trang {secrets.token_hex(4)}"
    seen = people(lab, "ipv6", do="write", site=url(lab, "portal"), folder="tin-tuc", title=title, **editor)
    assert seen["asked"].startswith(url(lab, "identity"))
    assert seen["landed"].startswith(url(lab, "portal"))
    assert seen["page"].startswith(url(lab, "portal", "/tin-tuc/"))
    lab.kubectl("-n", "portal", "rollout", "restart", "deployment/plone")
    lab.kubectl("-n", "portal", "rollout", "status", "deployment/plone", "--timeout=300s")
    # A draft: its writer sees it again, in the other family.
    again = people(
        lab, "ipv4", do="write", site=url(lab, "portal"), folder=seen["page"].split("/", 3)[3], **editor
    )
    assert again["in"] == "True"
    assert fetch(lab, seen["page"])[0] in (302, 401, 403), "a draft is shown to everybody"


def test_who_is_in_no_group_of_the_platform_is_not_let_in(lab, enrol):
    stranger = enrol("gazette-editors")
    with pytest.raises(AssertionError):
        people(
            lab, do="write", site=url(lab, "portal"), folder="tin-tuc", title="Không được phép", **stranger
        )


def test_seeding_again_changes_nothing(lab):
    """The same step once more, by hand: nothing made, nothing renewed, nothing set."""
    job = lab.get("-n", "portal", "job", "seed")
    spec = job["spec"]["template"]["spec"]
    again = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "seed-again", "namespace": "portal"},
        "spec": {
            "backoffLimit": 0,
            "template": {"metadata": {"labels": {"app.kubernetes.io/name": "seed"}}, "spec": spec},
        },
    }
    try:
        lab.kubectl("apply", "-f", "-", stdin=json.dumps(again))
        lab.kubectl("-n", "portal", "wait", "--for=condition=complete", "job/seed-again", "--timeout=280s")
        said = lab.kubectl("-n", "portal", "logs", "job/seed-again").stdout.strip().splitlines()[-1]
    finally:
        lab.kubectl("-n", "portal", "delete", "job", "seed-again", "--ignore-not-found")
    told = json.loads(said)
    assert (told["site"], told["settings"], told["made"], told["renewed"]) == ("there", [], 0, 0)
