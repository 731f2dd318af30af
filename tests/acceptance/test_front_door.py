"""The front door of the lab: names of this test's own, published as a platform would, looked at from outside."""

import json
import shlex
import time

import pytest
import yaml

from infra.components.edge.firewall import NAMESPACE as WAF
from infra.components.edge.firewall import SERVICE
from infra.components.edge.policies import grant
from infra.components.edge.public_name import PublicNameArgs, public_name
from infra.components.workload.allow import ENVOY_NAMESPACE, from_gateway
from infra.components.workload.namespace import NamespaceArgs, namespace, network_policies
from infra.components.workload.pod import pod
from infra.model.certificates import Certificates
from infra.model.exposure import Clients, Exposure, Hsts, RateLimit, Waf
from lab.pki import ensure_ca, ensure_certificate
from tests.acceptance.conftest import tinh

SPACE = "edge-test"
CA = "/usr/local/share/ca-certificates/tinh-site.crt"
PAGE = "Cổng thông tin thử nghiệm"
MANY = RateLimit(requests=100_000, everybody=100_000)
NAMES = {
    "t-plain": Exposure(rate=MANY, body="1Mi", hsts=Hsts(include_subdomains=True)),
    "t-slow": Exposure(rate=RateLimit(requests=5, everybody=1000, per="hour")),
    "t-closed": Exposure(rate=MANY, clients=Clients(authority="test")),
    "t-short": Exposure(rate=MANY, waf=Waf(mode="off")),
}
#: Shortest life that cert-manager allows, renewed after a minute of it.
SHORT = Certificates(duration="1h", renew_before="59m", alarm="20m")
FAMILIES = [("ipv4", "-4"), ("ipv6", "-6")]
both = pytest.mark.parametrize(("mode", "family"), FAMILIES)


def backend(space=SPACE):
    """A page served by busybox, and a program that counts what is sent to it: Deployment, ConfigMap, Service."""
    metadata = {"name": "page", "namespace": space, "labels": {"app.kubernetes.io/name": "page"}}
    container = {
        "name": "page",
        "image": "docker.io/library/busybox:1.35.0",
        "command": ["httpd", "-f", "-p", "8080", "-h", "/www"],
        "volumeMounts": [{"name": "www", "mountPath": "/www"}],
    }
    files = [
        {"key": "index.html", "path": "index.html"},
        {"key": "take", "path": "cgi-bin/take", "mode": 0o755},
    ]
    www = {"name": "www", "configMap": {"name": "page", "items": files}}
    select = {"app.kubernetes.io/name": "page"}
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": {
                "index.html": PAGE,
                "take": "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\nwc -c\n",
            },
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "selector": {"matchLabels": select},
                "template": {
                    "metadata": {"labels": select},
                    "spec": pod("page", 1000, [container], [www]),
                },
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {
                "ipFamilyPolicy": "RequireDualStack",
                "selector": select,
                "ports": [{"port": 80, "targetPort": 8080}],
            },
        },
    ]


class Door:
    """The names of this test, and clients outside that ask for them without a name server."""

    def __init__(self, lab):
        self.lab = lab
        self.addresses = dict(zip(("-6", "-4"), lab.site.front_door.gateway.pair(), strict=True))

    def host(self, name):
        return self.lab.site.public_name(name)

    def curl(self, mode, family, name, path="/", options=""):
        """Return what curl says: status, exit code, text."""
        host, address = self.host(name), self.addresses[family]
        place = f"[{address}]" if family == "-6" else address
        done = self.lab.client(
            mode,
            f"curl {family} -sS --max-time 20 --cacert {CA} --resolve {host}:443:{place} --resolve {host}:80:{place} "
            f"-w '\\n%{{http_code}}' {options} 'https://{host}{path}'",
        )
        text, _, status = done.stdout.rpartition("\n")
        return int(status or 0), done.rc, text + done.stderr


@pytest.fixture(scope="module")
def door(lab, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clients")
    authority = ensure_ca(folder, "test clients").read_text("utf-8")
    ensure_certificate(folder, "agency", "agency", names=("files.agency.test",), client=True)
    space = NamespaceArgs(
        name=SPACE,
        part_of="test",
        publishes=True,
        allow=(from_gateway({"app.kubernetes.io/name": "page"}, [8080]),),
    )
    objs = [namespace(space), *network_policies(space), *backend()]
    objs.append(grant("edge-test", WAF, SERVICE["name"], "EnvoyExtensionPolicy", [SPACE]))
    for name, exposure in NAMES.items():
        objs += public_name(
            name,
            PublicNameArgs(
                host=lab.site.public_name(name),
                namespace=SPACE,
                part_of="test",
                service="page",
                port=80,
                issuer="site-ca",
                gateway="edge",
                gateway_namespace="edge",
                simulated=True,
                exposure=exposure,
                certificates=SHORT if name == "t-short" else lab.site.certificates,
                authority=authority,
            ),
        )
    lab.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objs))
    client = lab.machine("client1")
    for file in ("agency.crt", "agency.key"):
        client.run(f"umask 077; cat > /tmp/{file} <<'EOF'\n{(folder / file).read_text()}EOF")
    found = Door(lab)
    try:
        lab.kubectl("-n", SPACE, "rollout", "status", "deployment/page", "--timeout=120s")
        lab.kubectl("-n", SPACE, "wait", "certificates", "--all", "--for=condition=Ready", "--timeout=120s")
        lab.kubectl(
            "-n", SPACE, "wait", "listenersets", "--all", "--for=condition=Programmed", "--timeout=120s"
        )
        end = time.monotonic() + 60
        while found.curl("dual", "-6", "t-plain")[0] != 200 and time.monotonic() < end:
            time.sleep(1)
        yield found
    finally:
        client.run("rm -f /tmp/agency.crt /tmp/agency.key /tmp/large")
        lab.kubectl("-n", WAF, "delete", "referencegrant", "edge-test", "--ignore-not-found")
        lab.kubectl("delete", "namespace", SPACE, "--ignore-not-found", timeout=300)


def test_every_policy_was_taken_by_the_gateway(lab, door):
    kinds = "clienttrafficpolicies,backendtrafficpolicies,envoyextensionpolicies"
    policies = lab.get(kinds, "-A")["items"]
    assert {item["metadata"]["namespace"] for item in policies} >= {SPACE, "identity"}
    for item in policies:
        conditions = item["status"]["ancestors"][0]["conditions"]
        accepted = next(one for one in conditions if one["type"] == "Accepted")
        assert accepted["status"] == "True", (item["kind"], item["metadata"]["name"], accepted["message"])


@both
def test_the_page_comes_with_hsts_and_security_headers(door, mode, family):
    status, code, text = door.curl(mode, family, "t-plain", options="-D -")
    assert (status, code) == (200, 0)
    assert PAGE in text
    lower = text.lower()
    assert "strict-transport-security: max-age=31536000; includesubdomains" in lower
    assert "x-content-type-options: nosniff" in lower


@both
def test_plain_http_is_redirected(door, lab, mode, family):
    host, address = door.host("t-plain"), door.addresses[family]
    place = f"[{address}]" if family == "-6" else address
    done = lab.client(
        mode,
        f"curl {family} -sS --resolve {host}:80:{place} -o /dev/null -w '%{{http_code}} %{{redirect_url}}' "
        f"http://{host}/a",
    )
    assert done.stdout == f"301 https://{host}/a"


@both
def test_too_many_requests_of_one_client_are_refused(door, mode, family):
    assert [door.curl(mode, family, "t-slow")[0] for _ in range(7)] == [200] * 5 + [429] * 2


@both
def test_too_large_a_body_is_refused(door, lab, mode, family):
    for size, wanted in ((1 << 20, 413), (1_000_000, 200)):
        lab.client(mode, f"head -c {size} /dev/zero > /tmp/large")
        status, _, text = door.curl(mode, family, "t-plain", "/cgi-bin/take", "-F file=@/tmp/large")
        assert status == wanted, size
    assert int(text) > size


@both
def test_only_a_client_with_a_certificate_of_the_authority_is_served(door, mode, family):
    status, code, _ = door.curl(mode, family, "t-closed")
    assert (status, code != 0) == (0, True)
    assert (
        door.curl(mode, family, "t-closed", options="--cert /tmp/agency.crt --key /tmp/agency.key")[0] == 200
    )


@both
def test_the_firewall_refuses_an_attack_and_lets_vietnamese_text_pass(door, mode, family):
    attack = "/?id=1%27%20OR%20%271%27%3D%271%27%20UNION%20SELECT%20password%20FROM%20users--"
    assert door.curl(mode, family, "t-plain", attack)[0] == 403
    text = "/?q=%C4%90%C4%83ng%20k%C3%BD%20khai%20sinh"
    assert door.curl(mode, family, "t-plain", text)[0] == 200


@both
def test_identity_is_behind_the_firewall_and_people_can_still_sign_in(door, lab, mode, family):
    host = lab.site.public_name("id")
    ask = f"curl {family} -sS --cacert {CA} -o /dev/null -w '%{{http_code}}'"
    assert lab.client(mode, f"{ask} 'https://{host}/?q=%3Cscript%3Ealert(1)%3C/script%3E'").stdout == "403"
    page = f"https://{host}/realms/master/account/"
    assert lab.client(mode, f"{ask} -L {page}").stdout == "200"


@both
def test_the_access_log_has_the_clients_address_and_port(door, lab, mode, family):
    mark = f"/mark-{mode}-{time.time_ns()}"
    door.curl(mode, family, "t-plain", f"{mark}?token=hidden", "--local-port 40001-40100")
    proxy = "-l=app.kubernetes.io/component=proxy"
    end = time.monotonic() + 20
    while time.monotonic() < end:
        log = lab.kubectl("-n", ENVOY_NAMESPACE, "logs", proxy, "-c", "envoy", "--since=60s").stdout
        lines = [line for line in log.splitlines() if mark in line]
        if lines:
            break
        time.sleep(1)  # the proxy writes once a second
    line = json.loads(lines[0])
    addresses = lab.client(mode, "ip -o addr show scope global").stdout
    assert line["client_address"] in addresses
    assert 40001 <= int(line["client_port"]) <= 40100
    assert (line["host"], line["path"]) == (door.host("t-plain"), mark)
    assert line["tls_version"].startswith("TLSv1.")
    assert "hidden" not in lines[0]


@pytest.mark.long(minutes=3)
def test_a_certificate_of_minutes_is_renewed_and_no_client_sees_an_error(door, lab):
    host = door.host("t-short")
    shell = lab.machine("client1")
    ask = f"curl $1 -fsS --max-time 5 --cacert {CA} --resolve {host}:443:$2 -o /dev/null -w '%{{certs}}'"
    script = f"""
end=$(($(date +%s) + 150)); failed=0; asked=0
while [ $(date +%s) -lt $end ]; do
  for to in '-4 {door.addresses["-4"]}' '-6 [{door.addresses["-6"]}]'; do
    set -- $to
    shown=$({ask} https://{host}/) || failed=$((failed + 1))
    grep -m1 -i serial <<< "$shown" >> /tmp/serials; asked=$((asked + 1))
  done
done
echo $failed $asked $(sort -u /tmp/serials | wc -l); rm -f /tmp/serials
"""
    before = lab.get("-n", SPACE, "certificate", "t-short")["status"]["revision"]
    result = shell.run(f"ip netns exec dual bash -c {shlex.quote(script)}")
    failed, asked, serials = map(int, result.stdout.split())
    after = lab.get("-n", SPACE, "certificate", "t-short")["status"]["revision"]
    assert asked > 100
    assert failed == 0
    assert after > before
    assert serials >= 2


def test_status_shows_when_the_certificates_end(lab, door):
    report = json.loads(tinh("status", "--json").stdout)
    names = {name: one for one in report["certificates"] for name in one["names"]}
    assert not names[lab.site.public_name("id")]["red"]
    assert not names[door.host("t-short")]["red"]
