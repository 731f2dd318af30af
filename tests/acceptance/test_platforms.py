"""What the public sees: names, certificates, pages, over IPv4 and IPv6, from outside the province."""

import pytest

from infra import paths
from infra.model.site import Role
from tests.acceptance.conftest import tinh

CA = "/usr/local/share/ca-certificates/tinh-site.crt"


@pytest.fixture(scope="module")
def name(lab):
    return lab.site.public_name("id")


def test_both_record_types_are_answered_by_the_labs_dns_server(lab, name):
    door = lab.site.front_door
    for server in door.dns.pair():
        assert lab.client("dual", f"dig +short @{server} {name} AAAA").stdout.strip() == str(
            door.gateway.ipv6
        )
        assert lab.client("dual", f"dig +short @{server} {name} A").stdout.strip() == str(door.gateway.ipv4)


def test_an_unknown_name_is_denied_and_not_made_up(lab):
    answer = lab.client("dual", f"dig nowhere.{lab.site.zone} AAAA").stdout
    assert "status: NXDOMAIN" in answer


@pytest.mark.parametrize(("mode", "family"), [("ipv4", "-4"), ("ipv6", "-6"), ("dual", "-4"), ("dual", "-6")])
def test_the_login_page_answers_with_a_verified_certificate(lab, name, mode, family):
    url = f"https://{name}/realms/master/account/"
    result = lab.client(
        mode,
        f"curl {family} -sSL --cacert {CA} -o /tmp/page-{mode} -w '%{{http_code}} %{{ssl_verify_result}}' {url}",
    )
    assert result.stdout == "200 0", result.stderr


@pytest.mark.parametrize(("mode", "family"), [("ipv4", "-4"), ("ipv6", "-6")])
def test_another_authority_is_not_accepted_for_the_name(lab, name, mode, family):
    foreign = "/usr/share/ca-certificates/mozilla/ISRG_Root_X1.crt"
    result = lab.client(mode, f"curl {family} -sS --capath /none --cacert {foreign} https://{name}/")
    assert result.rc == 60  # the certificate could not be authenticated


@pytest.mark.parametrize(("mode", "family"), [("ipv4", "-4"), ("ipv6", "-6")])
def test_plain_http_is_redirected(lab, name, mode, family):
    result = lab.client(
        mode, f"curl {family} -sS -o /dev/null -w '%{{http_code}} %{{redirect_url}}' http://{name}/"
    )
    code, url = result.stdout.split()
    assert code in ("301", "308")
    assert url.startswith(f"https://{name}")


def test_an_ipv4_only_client_has_no_ipv6_and_the_reverse(lab, name):
    assert lab.client("ipv4", f"curl -6 -sS https://{name}/").rc != 0
    assert lab.client("ipv6", f"curl -4 -sS https://{name}/").rc != 0


def test_the_first_administrator_can_log_in(lab, name):
    password = (paths.state("lab").root / "secrets" / "identity-admin").read_text().strip()
    client = lab.machine("client1")
    # the password goes through a file, so that it is on no command line
    client.run("umask 077; cat > /tmp/login <<'EOF'\ngrant_type=password&client_id=admin-cli&username=admin"
               f"&password={password}\nEOF")  # fmt: skip
    result = lab.client(
        "ipv6",
        f"curl -6 -sS --cacert {CA} -d @/tmp/login "
        f"-o /dev/null -w '%{{http_code}}' https://{name}/realms/master/protocol/openid-connect/token",
    )
    client.run("rm -f /tmp/login")
    assert result.stdout == "200"


def test_the_database_is_closed_to_clients_and_to_other_nodes(lab):
    pod = lab.get("pods", "-A", "-l", "cnpg.io/cluster")["items"][0]
    # the pod's own node always reaches it: the kubelet probes from there
    others = [n.name for n in lab.site.by_role(Role.CONTROL_PLANE) if n.name != pod["spec"]["nodeName"]]
    for address in (item["ip"] for item in pod["status"]["podIPs"]):
        open_port = f"timeout 3 bash -c 'exec 3<>/dev/tcp/{address}/5432'"
        assert lab.machine(pod["spec"]["nodeName"]).run(open_port).rc == 0, f"{address} answers nobody"
        assert lab.machine(others[0]).run(open_port).rc != 0, f"{address} answers another node"
        assert lab.client("dual", open_port).rc != 0, f"{address} answers the outside"


def test_all_that_is_published_is_the_same_over_both_families_and_the_certificate_is_checked_offline(
    lab, tmp_path
):
    done = tinh("ipv6", "certify", "--output", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = tmp_path.glob("*.json")
    assert tinh("ipv6", "verify", str(file)).returncode == 0
    file.write_text(file.read_text("utf-8").replace('"ok": true', '"ok": false', 1), "utf-8")
    assert tinh("ipv6", "verify", str(file)).returncode == 7
