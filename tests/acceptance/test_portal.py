"""Portal and gazette from outside: pages in both families, sub-sites, people who sign in, content that stays."""

import json
import secrets

import pytest

from infra.model.platform import load_platform
from infra.model.province import load_province
from platforms.portal.content import sub_sites
from tests.acceptance.conftest import CA, people, url

FAMILIES = [("ipv4", "-4"), ("ipv6", "-6"), ("dual", "-4"), ("dual", "-6")]
PLATFORMS = ["portal", "gazette"]


@pytest.fixture(scope="module", autouse=True)
def _switched_on(lab):
    missing = [name for name in PLATFORMS if name not in lab.site.platforms]
    if missing:
        pytest.skip(f"{', '.join(missing)} switched off in the site file")


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


#: As the site's editor writes it: a table, styles, links with which it climbs, an image.
HTML = """\
<h2 style="text-align: center;">QUẢN LÝ THUẾ VÀ KẾ HOẠCH</h2><p><img class="image-richtext" src="{image}" alt="Ảnh"></p>
<table class="table table-bordered" style="width: 100%;" border="1"><tbody><tr><td style="text-align: right;">05</td>
<td>Chỉ tiêu &amp; vị trí</td></tr></tbody></table>
<p><a href="{file}" data-linktype="internal">Toàn văn</a>, <a href="../../tin-tuc">tin tức</a></p>
"""


@pytest.mark.parametrize(("mode", "flag"), FAMILIES[:2])
def test_an_editor_publishes_a_page_with_a_table_a_link_an_image_and_a_large_file(lab, enrol, mode, flag):
    editor = enrol("portal-editors", "portal-reviewers")
    title = f"Thông báo {secrets.token_hex(4)}"
    asked = {"folder": "tin-tuc", "title": title, "html": HTML, "bytes": 30 << 20}
    made = people(lab, mode, do="publish", site=url(lab, "portal"), **asked, **editor)
    status, _, page = fetch(lab, made["page"], mode, flag)
    assert status == 200
    for shown in (title, "<table", "text-align: right", "THUẾ", "<img", made["file"].rsplit("/", 1)[1]):
        assert shown in page
    got = lab.client(
        mode,
        f"sh -c \"curl {flag} -fsS --max-time 300 --cacert {CA} '{made['file']}/@@download/file' | sha256sum\"",
    )
    assert got.stdout.split()[0] == made["sha256"], got.stderr


def test_editors_html_is_refused_in_every_other_field(lab):
    form = f"--data-urlencode 'Title={HTML.splitlines()[1]}'"
    command = (
        f"curl -6 -sS --cacert {CA} -o /dev/null -w '%{{http_code}}' {form} {url(lab, 'portal', '/edit')}"
    )
    assert lab.client("dual", command).stdout == "403"


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
