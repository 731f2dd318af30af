"""What a published name's settings become: Envoy Gateway's policies, the firewall's rules, sign-in, issuers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import HttpUrl

from infra.components.edge.firewall import FirewallArgs, firewall, rules
from infra.components.edge.gateway import ACCESS_LOG, GatewayArgs, gateway
from infra.components.edge.public_name import PublicNameArgs, public_name
from infra.components.edge.sign_in import Provider
from infra.components.identity.acme import AcmeArgs, acme
from infra.components.manifest import Object
from infra.model.certificates import Account, AcmeIssuer, Certificates
from infra.model.exposure import Clients, Exposure, Hsts, RateLimit, SignIn, Waf, WafException
from infra.model.site import Site

GOLDEN = Path(__file__).parent / "golden"
Golden = Callable[[Path, object], None]


def args(exposure: Exposure, **more: object) -> PublicNameArgs:
    plain = PublicNameArgs(
        host="web.x.test",
        namespace="portal",
        part_of="portal",
        service="plone",
        port=8080,
        issuer="site-ca",
        gateway="edge",
        gateway_namespace="edge",
        simulated=False,
        exposure=exposure,
    )
    return replace(plain, **more)


def of(objs: list[Object], kind: str) -> Object:
    (found,) = [obj for obj in objs if obj["kind"] == kind]
    return found["spec"]


def published(exposure: Exposure, **more: object) -> list[Object]:
    return public_name("web", args(exposure, **more))


def test_a_name_with_nothing_said(golden: Golden) -> None:
    golden(GOLDEN / "name-plain.yaml", published(Exposure()))


def test_a_name_with_everything_said(golden: Golden) -> None:
    exposure = Exposure(
        rate=RateLimit(requests=5, everybody=50, per="minute"),
        body="512Ki",
        hsts=Hsts(include_subdomains=True),
        headers={"X-Frame-Options": "DENY"},
        clients=Clients(authority="agencies", names=("files.agency.test",)),
        sign_in=SignIn(),
        waf=Waf(mode="detect", when_down="pass"),
    )
    objs = published(
        exposure,
        authority="PEM",
        provider=Provider(host="id.x.test", realm="province", secret="hidden"),
        certificates=Certificates(duration="1h", renew_before="59m", alarm="20m"),
    )
    golden(GOLDEN / "name-full.yaml", objs)


def test_policies_are_there_before_the_name_is_served() -> None:
    kinds = [obj["kind"] for obj in published(Exposure())]
    assert kinds.index("HTTPRoute") == len(kinds) - 1
    assert {"ClientTrafficPolicy", "BackendTrafficPolicy", "EnvoyExtensionPolicy"} < set(kinds)


def test_only_strong_ciphers_and_tls_1_2_at_least() -> None:
    tls = of(published(Exposure()), "ClientTrafficPolicy")["tls"]
    assert tls["minVersion"] == "1.2"
    assert all(name.startswith("ECDHE-") and ("GCM" in name or "POLY1305" in name) for name in tls["ciphers"])


def test_every_limit_of_rate_is_there_for_both_families() -> None:
    local = of(published(Exposure()), "BackendTrafficPolicy")["rateLimit"]["local"]["rules"]
    seen = {
        (rule["clientSelectors"][0]["sourceCIDR"]["type"], rule["clientSelectors"][0]["sourceCIDR"]["value"])
        for rule in local
    }
    assert seen == {(kind, family) for kind in ("Distinct", "Exact") for family in ("::/0", "0.0.0.0/0")}


def test_a_streamed_name_has_no_limit_that_would_cut_a_stream_and_only_its_headers_are_looked_at() -> None:
    objs = published(Exposure(body=None))
    backend = of(objs, "BackendTrafficPolicy")
    assert not {"requestBuffer", "timeout"} & backend.keys()
    assert "requestReceivedTimeout" not in of(objs, "ClientTrafficPolicy")["timeout"]["http"]
    (firewall_,) = of(objs, "EnvoyExtensionPolicy")["extProc"]
    assert "body" not in firewall_["processingMode"]["request"]


def test_a_name_without_a_firewall_has_no_policy_for_it() -> None:
    kinds = {obj["kind"] for obj in published(Exposure(waf=Waf(mode="off")))}
    assert "EnvoyExtensionPolicy" not in kinds


@pytest.mark.parametrize(("when_down", "opened"), [("refuse", False), ("pass", True)])
def test_what_becomes_of_requests_without_the_firewall_is_a_stated_choice(
    when_down: str, opened: bool
) -> None:
    waf = Waf.model_validate({"when_down": when_down})
    (found,) = of(published(Exposure(waf=waf)), "EnvoyExtensionPolicy")["extProc"]
    assert (found["failOpen"], found["statusOnError"]) == (opened, 503)


def test_the_rules_of_a_site(golden: Golden) -> None:
    exceptions = (
        WafException(rule=942100, reason="search terms of lawyers"),
        WafException(rule=941160, field="form.widgets.IRichTextBehavior.text", reason="editors' HTML"),
    )
    settings = {
        "web.x.test": Waf(paranoia=2, exceptions=exceptions, methods=("GET", "PUT"), text="1Mi"),
        "id.x.test": Waf(),
        "new.x.test": Waf(mode="detect", content_types=("application/pdf",)),
        "off.x.test": Waf(mode="off"),
    }
    names = {host: Exposure(waf=waf) for host, waf in settings.items()}
    names["streamed.x.test"] = Exposure(body=None)
    golden(GOLDEN / "rules.yaml", rules(names).splitlines())


def test_the_firewall_may_be_used_by_those_who_publish_and_new_rules_start_it_anew() -> None:
    def made(**names: Waf) -> list[Object]:
        exposed = {host: Exposure(waf=waf) for host, waf in names.items()}
        return firewall(FirewallArgs(names=exposed, users=("portal", "identity"), image="waf:1", replicas=1))

    grant = of(made(a=Waf()), "ReferenceGrant")
    assert [source["namespace"] for source in grant["from"]] == ["identity", "portal"]
    assert {source["kind"] for source in grant["from"]} == {"EnvoyExtensionPolicy"}

    def annotation(objs: list[Object]) -> str:
        return of(objs, "Deployment")["template"]["metadata"]["annotations"]["tinh/config"]

    assert annotation(made(a=Waf())) == annotation(made(a=Waf())) != annotation(made(a=Waf(paranoia=2)))


def test_the_access_log_names_the_connections_address_and_port_and_no_query() -> None:
    assert ACCESS_LOG["client_address"] == "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"
    assert ACCESS_LOG["client_port"] == "%DOWNSTREAM_DIRECT_REMOTE_PORT%"
    assert ACCESS_LOG["path"] == "%PATH(NQ:ORIG_OR_PATH)%"
    wanted = {"host", "route", "status", "bytes_sent", "bytes_received", "duration_ms", "tls_version"}
    assert wanted | {"user_agent"} < ACCESS_LOG.keys()


def test_the_client_certificate_is_told_to_the_backend_and_never_taken_from_the_client() -> None:
    objs = published(Exposure(clients=Clients(authority="agencies")), authority="PEM")
    policy = of(objs, "ClientTrafficPolicy")
    assert policy["headers"]["xForwardedClientCert"]["mode"] == "SanitizeSet"
    assert policy["tls"]["clientValidation"]["mode"] == "RequireAndVerify"
    assert "subjectAltNames" not in policy["tls"]["clientValidation"]


ACME = AcmeIssuer(
    kind="acme",
    server=HttpUrl("https://ca.gov.example/directory"),
    email="noc@province.example",
    account=Account(key_id="44", secret="acme"),
)


def test_an_acme_authority_becomes_an_issuer_that_answers_at_the_gateway(golden: Golden) -> None:
    asked = AcmeArgs(
        issuer=ACME, bundle="PEM", secret=lambda name: f"secret of {name}", gateway="edge", simulated=False
    )  # ty: ignore[invalid-argument-type] - a plain text in place of an Output
    golden(GOLDEN / "acme.yaml", acme("acme", asked))
    objs = published(Exposure(), certificates=Certificates(issuer=ACME))
    assert of(objs, "NetworkPolicy")["podSelector"] == {
        "matchLabels": {"acme.cert-manager.io/http01-solver": "true"}
    }


@pytest.mark.parametrize("solvers", [False, True])
def test_port_80_is_open_to_publishers_only_when_an_authority_asks_for_proofs(
    lab: Site, solvers: bool
) -> None:
    found = gateway(
        GatewayArgs(
            namespace="edge",
            address=lab.front_door.gateway,
            image="envoy:1",
            replicas=1,
            simulated=False,
            solvers=solvers,
        )
    )
    (listener,) = of(found, "Gateway")["listeners"]
    assert listener["allowedRoutes"]["namespaces"]["from"] == ("Selector" if solvers else "Same")
