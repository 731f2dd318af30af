"""People at the front door, on the real engines over both families: who signs in there, and editors of the portal."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from edge_bodies import filled, form, upload
from edge_engines import LOOPBACK, Answer, Edge, running
from edge_identity import Identity

from infra.model.exposure import Exposure, RateLimit, SignIn
from infra.model.platform import load_platform

pytestmark = [pytest.mark.sim, pytest.mark.slow]

MANY = RateLimit(requests=100_000, everybody=100_000)
NAMES = {
    "plain": Exposure(rate=MANY),
    "guarded": Exposure(rate=MANY, sign_in=SignIn()),
    "edited": load_platform("portal").exposed("portal").model_copy(update={"rate": MANY}),
}
FAMILIES = tuple(LOOPBACK)


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with running(tmp_path_factory.mktemp("edge"), NAMES) as found:
        yield found


# --- editors ----------------------------------------------------------------------------------------

#: What Plone's editor sends, and the name of its field.
EDITED = Path(__file__).with_name("edited.html").read_text("utf-8")
FIELD = "form.widgets.IRichTextBehavior.text"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("send", [form, filled])
def test_an_editors_page_passes_in_its_field_and_nowhere_else(
    edge: Edge, family: str, send: Callable[..., tuple[bytes, dict[str, str]]]
) -> None:
    def status(host: str, **fields: str) -> int:
        body, headers = send(**fields)
        path = "/tin-tuc/++add++Document"
        return edge.ask(host, path, family=family, method="POST", body=body, headers=headers).status

    title = {"form.widgets.IDublinCore.title": "Kế hoạch năm 2026", "form.buttons.save": "Lưu"}
    assert status("edited.x.test", **title, **{FIELD: EDITED}) == 200
    assert status("edited.x.test", **title, **{FIELD.lower() + "2": EDITED}) == 403
    assert status("edited.x.test", **title, comment=EDITED) == 403
    assert status("plain.x.test", **title, **{FIELD: EDITED}) == 403


@pytest.mark.parametrize(
    "attack",
    [
        "<script>alert(document.cookie)</script>",
        '<p onmouseover="alert(1)">a</p>',
        '<a href="javascript:alert(document.domain)">a</a>',
        "1' OR '1'='1' UNION SELECT password FROM users--",
        "../../../../etc/passwd",
    ],
)
def test_an_attack_in_the_editors_field_is_refused(edge: Edge, attack: str) -> None:
    body, headers = filled(**{FIELD: f"<p>Kế hoạch</p>{attack}"})
    answer = edge.ask("edited.x.test", "/edit", method="POST", body=body, headers=headers)
    assert answer.status == 403


@pytest.mark.parametrize("family", FAMILIES)
def test_an_editors_file_passes(edge: Edge, family: str) -> None:
    body, headers = upload("Công báo số 01.pdf", b"%PDF-1.7\n" + bytes(range(256)) * (120 << 10))
    answer = edge.ask("edited.x.test", "/edit", family=family, method="POST", body=body, headers=headers)
    assert (answer.status, answer.told["bytes"]) == (200, len(body))


# --- signing in ------------------------------------------------------------------------------------


def cookies(answer: Answer) -> dict[str, str]:
    """The cookies that an answer sets; those that it takes back have no value."""
    return dict(text.split(";")[0].split("=", 1) for text in answer.cookies)


def header(jar: Mapping[str, str]) -> dict[str, str]:
    return {"cookie": "; ".join(f"{name}={value}" for name, value in jar.items())}


def asked(answer: Answer) -> dict[str, str]:
    """What a redirection to the identity server asks of it."""
    assert answer.status == 302
    place = urlsplit(answer.headers["location"])
    assert place.geturl().startswith("https://id.x.test/realms/province/protocol/openid-connect/auth?")
    return {name: value for name, (value, *_) in parse_qs(place.query).items()}


def come_back(
    edge: Edge, question: Mapping[str, str], jar: Mapping[str, str], family: str = "ipv6"
) -> Answer:
    """Return from the identity server with a code, as a browser with these cookies."""
    code = secrets.token_hex(8)
    Identity.codes[code] = question["code_challenge"]
    path = f"/oauth2/callback?code={code}&state={quote(question['state'], safe='')}"
    return edge.ask("guarded.x.test", path, family=family, headers=header(jar))


def signed_in(edge: Edge, family: str = "ipv6") -> dict[str, str]:
    first = edge.ask("guarded.x.test", "/a?b=c", family=family)
    jar = cookies(first)
    back = come_back(edge, asked(first), jar, family)
    assert (back.status, back.headers.get("location")) == (302, "https://guarded.x.test/a?b=c"), back.body
    return {name: value for name, value in (jar | cookies(back)).items() if value and value != "deleted"}


@pytest.mark.parametrize("family", FAMILIES)
def test_who_has_not_signed_in_is_sent_to_identity_and_gets_nothing(edge: Edge, family: str) -> None:
    answer = edge.ask("guarded.x.test", "/a?b=c", family=family)
    question = asked(answer)
    assert question["client_id"] == "guarded-sign-in"
    assert question["redirect_uri"] == "https://guarded.x.test/oauth2/callback"
    assert (question["response_type"], question["code_challenge_method"]) == ("code", "S256")
    assert b"path" not in answer.body


@pytest.mark.parametrize("family", FAMILIES)
def test_who_signs_in_gets_the_page_and_signs_out(edge: Edge, family: str) -> None:
    jar = signed_in(edge, family)
    page = edge.ask("guarded.x.test", "/a?b=c", family=family, headers=header(jar))
    assert (page.status, page.told["path"]) == (200, "/a?b=c")
    told = {name.lower(): value for name, value in page.told["headers"].items()}
    assert "authorization" not in told
    # docs/edge.md says which cookies the backend gets
    kinds = {text.split("-")[0].split("=")[0] for text in told["cookie"].split("; ")}
    assert kinds == {"AccessToken", "IdToken"}
    out = edge.ask("guarded.x.test", "/logout", family=family, headers=header(jar))
    assert out.status == 302
    assert out.headers["location"].startswith(
        "https://id.x.test/realms/province/protocol/openid-connect/logout?"
    )
    assert not [value for value in cookies(out).values() if value not in ("", "deleted")]


def test_signed_in_people_are_behind_the_firewall_too(edge: Edge) -> None:
    attack = "/?q=" + quote("<script>alert(document.cookie)</script>")
    assert edge.ask("guarded.x.test", attack, headers=header(signed_in(edge))).status == 403


def test_a_forged_or_expired_session_is_none(edge: Edge) -> None:
    jar = signed_in(edge)
    (expires,) = [name for name in jar if name.startswith("OauthExpires")]
    (proof,) = [name for name in jar if name.startswith("OauthHMAC")]
    (token,) = [name for name in jar if name.startswith("AccessToken")]
    for wrong in (
        jar | {expires: "1"},
        jar | {expires: str(int(jar[expires]) + 3600)},
        jar | {token: jar[token][:-4] + "AAAA"},
        jar | {proof: jar[proof][:-6] + "AAAAA="},
        {name: value for name, value in jar.items() if name != proof},
        {"__ac": "admin"},
    ):
        asked(edge.ask("guarded.x.test", headers=header(wrong)))


def test_nobody_comes_back_with_what_another_browser_asked(edge: Edge) -> None:
    first = edge.ask("guarded.x.test")
    answer = come_back(edge, asked(first), {})
    assert answer.status == 401
    assert not [value for value in cookies(answer).values() if value not in ("", "deleted")]
