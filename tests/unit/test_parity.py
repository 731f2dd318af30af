"""The verdict on parity: every check turns red by what it is there for, and by nothing else."""

import copy
import json
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cli import ipv6
from infra import receipt
from infra.errors import TinhError
from infra.model.site import load_site
from infra.parity import agent
from infra.parity.document import body, render
from infra.parity.judge import QUICK, judge

NAME = "id.lab.tinh.test"
DOORS = {"ipv4": ["10.77.0.200"], "ipv6": ["fd77::c8"]}
TOLD = {family: list(found) for family, found in DOORS.items()}
PAGE = {
    "exit": 0, "error": "", "status": 200, "verified": True, "address": "", "redirects": 1, "end": f"https://{NAME}/x",
    "to": "", "headers": {"content-type": "application/json"}, "body": "b" * 64, "microseconds": 9000,
}  # fmt: skip
PLAIN = PAGE | {"status": 301, "to": f"https://{NAME}/"}
NOTHING = PAGE | {"exit": 7, "error": "no route", "status": 0, "verified": False}


def seen():
    looks = {}
    for client in agent.CLIENTS:
        for family in agent.FAMILIES:
            can = client in (family, "dual")
            page = PAGE | {"address": DOORS[family][0]} if can else NOTHING
            looks[f"{client}/{family}"] = {"page": dict(page), "names": copy.deepcopy(TOLD)} | (
                {"plain": dict(PLAIN), "chain": ["leaf", "ca"], "microseconds": 9000} if can else {}
            )
    return {"names": {NAME: looks}, "open": {"ipv4 10.77.0.200": [], "ipv6 fd77::c8": []}}


def wrong(found):
    return [(check.subject, check.check) for check in judge(found, DOORS) if not check.ok]


def test_what_is_alike_is_found_alike():
    assert wrong(seen()) == []
    checks = judge(seen(), DOORS)
    assert len(checks) == 3 + 6 + 7 + 2
    assert len({(check.subject, check.check) for check in checks}) == len(checks)


def change(path, value):
    def act(found):
        *front, last = path
        place = found["names"][NAME]
        for key in front:
            place = place[key]
        place[last] = value

    return act


SABOTAGE = [
    (change(["ipv4/ipv4", "names", "ipv6"], []), "names, as the ipv4 client is told"),
    (change(["ipv6/ipv4", "names", "ipv4"], ["192.0.2.1"]), "names, as the ipv6 client is told"),
    (
        change(["dual/ipv4", "names", "ipv6"], ["fd77::c8", "2001:db8::1"]),
        "names, as the dual client is told",
    ),
    (change(["ipv4/ipv4", "page", "verified"], False), "page, ipv4 client over ipv4"),
    (change(["ipv6/ipv6", "page", "status"], 503), "page, ipv6 client over ipv6"),
    (change(["dual/ipv6", "page", "verified"], False), "page, dual client over ipv6"),
    (change(["ipv4/ipv6", "page", "exit"], 0), "no page, ipv4 client over ipv6"),
    (change(["ipv6/ipv4", "page", "exit"], 0), "no page, ipv6 client over ipv4"),
    (change(["dual/ipv6", "page", "status"], 204), "status"),
    (change(["dual/ipv4", "page", "redirects"], 2), "redirects"),
    (change(["dual/ipv6", "page", "end"], "https://elsewhere/"), "redirects"),
    (change(["dual/ipv6", "plain", "status"], 200), "plain HTTP"),
    (change(["dual/ipv4", "page", "headers"], {}), "headers"),
    (change(["dual/ipv4", "page", "body"], "c" * 64), "body"),
    (change(["dual/ipv6", "chain"], ["leaf"]), "certificates"),
    (change(["dual/ipv6", "microseconds"], QUICK + 1), "time"),
]


@pytest.mark.parametrize(("act", "check"), SABOTAGE, ids=range(len(SABOTAGE)))
def test_each_check_is_red_for_its_own_reason(act, check):
    found = seen()
    act(found)
    assert wrong(found) == [(NAME, check)]


@pytest.mark.parametrize("ports", [[5432], [22, 6443], None])
def test_a_port_that_is_open_in_one_family_is_found(ports):
    found = seen()
    found["open"]["ipv6 fd77::c8"] = ports
    assert wrong(found) == [("closed ports", "ipv6 fd77::c8")]


def test_no_certificates_at_all_are_not_alike():
    found = seen()
    for family in agent.FAMILIES:
        found["names"][NAME][f"dual/{family}"]["chain"] = []
    assert wrong(found) == [(NAME, "certificates")]


def test_only_headers_that_mean_something_are_compared():
    last = "HTTP/2 200\r\nDate: now\r\nContent-Type: text/html\r\nSet-Cookie: a\r\n\r\n"
    text = f"HTTP/1.1 301 Moved\r\nX: 1\r\n\r\n{last}"
    assert agent.headers(text) == {"content-type": "text/html"}
    assert agent.headers("") == {}


def test_the_page_says_the_verdict_and_escapes_what_was_seen():
    checks = judge(seen(), DOORS)
    content = body(
        "lab", "client1", datetime(2026, 11, 26, tzinfo=UTC), checks, simulated="the Internet is simulated"
    )
    content["checks"][0]["found"] = "<script>"
    page = render(content, "0123")
    assert "Đạt" in page and "&lt;script&gt;" in page and "<script>" not in page
    assert "the Internet is simulated" in page
    assert "http" not in page.replace(f"https://{NAME}", "")  # it loads nothing
    assert body("lab", "c", datetime.now(UTC), [])["alike"] is False


@pytest.fixture
def client(state, monkeypatch):
    answers = {"seen": seen()}
    monkeypatch.setattr(
        ipv6, "ask", lambda site, client, request: answers.update(request=request) or answers["seen"]
    )
    return answers


def run(*arguments):
    return CliRunner().invoke(ipv6.command, arguments, standalone_mode=False)


def test_a_certificate_is_written_signed_and_checked_offline(client, tmp_path):
    result = run("certify", "--output", str(tmp_path))
    assert result.return_value == 0, result.output
    (file,) = tmp_path.glob("*.json")
    assert file.with_suffix(".html").exists()
    asked = {each["name"]: each["path"] for each in client["request"]["names"]}
    assert asked[NAME] == "/realms/master/.well-known/openid-configuration"
    assert run("verify", str(file)).return_value == 0
    public = json.loads(file.read_text())["signature"]["key"]
    assert run("verify", str(file), "--key", public).return_value == 0
    assert run("verify", str(file), "--key", str(file)).return_value == 0
    file.write_text(file.read_text().replace('"ok": true', '"ok": false', 1))
    assert isinstance(run("verify", str(file)).exception, TinhError)


def test_what_is_not_alike_ends_with_3_and_is_said_and_recorded(client, tmp_path):
    client["seen"]["names"][NAME]["dual/ipv6"]["page"]["status"] = 204
    result = run("certify", "--output", str(tmp_path))
    assert result.return_value == 3
    assert f"not alike: {NAME}: status" in result.output
    (file,) = tmp_path.glob("*.json")
    assert run("verify", str(file)).return_value == 3


def test_a_certificate_of_another_province_or_kind_is_refused(client, tmp_path):
    other = Ed25519PrivateKey.generate()
    file = tmp_path / "x.json"
    file.write_text(json.dumps(receipt.sign({"kind": "drill"}, other)))
    error = run("verify", str(file)).exception
    assert isinstance(error, TinhError) and "'drill'" in error.what
    run("certify", "--output", str(tmp_path / "mine"))
    (mine,) = (tmp_path / "mine").glob("*.json")
    error = run("verify", str(mine), "--key", receipt.public_text(other)).exception
    assert isinstance(error, TinhError) and "another key" in error.what


@pytest.mark.parametrize(
    ("site", "names", "says"), [("lab", ["moon"], "moon"), ("sim", [], "no client outside")]
)
def test_what_cannot_be_looked_at_is_said(client, site, names, says):
    error = run("certify", "--site", site, *(word for name in names for word in ("--name", name))).exception
    assert isinstance(error, TinhError) and says in str(error)


def test_the_labs_client_is_outside(state):
    assert ipv6._client(load_site("lab")).name == "client1"
