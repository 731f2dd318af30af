"""A name at which the gateway signs people in, on the lab: published and declared as a platform's would be."""

import secrets
import time

import pytest
import yaml

from infra.components.edge.firewall import NAMESPACE as WAF
from infra.components.edge.firewall import SERVICE as FIREWALL
from infra.components.edge.policies import grant
from infra.components.edge.public_name import PublicNameArgs, public_name
from infra.components.edge.sign_in import PLATFORM, SERVICE, Provider
from infra.components.identity.login import clients
from infra.components.workload.allow import from_gateway
from infra.components.workload.namespace import NamespaceArgs, namespace, network_policies
from infra.model.exposure import Exposure, SignIn
from infra.model.platform import load_platform
from tests.acceptance.conftest import people, realm, url
from tests.acceptance.test_front_door import MANY, PAGE, Door, backend, both

SPACE, LABEL = "sign-in-test", "t-guarded"
EXPOSURE = Exposure(rate=MANY, sign_in=SignIn())


def _client(lab):
    """What the realm would have of a platform with this name."""
    facts = load_platform("portal").model_copy(
        update={"public_names": [LABEL], "exposure": {LABEL: EXPOSURE}, "login": None}
    )
    (found,) = clients(lab.site, [facts])
    return found.declared


def _objects(lab, secret):
    page = {"app.kubernetes.io/name": "page"}
    space = NamespaceArgs(name=SPACE, part_of="test", publishes=True, allow=(from_gateway(page, [8080]),))
    name = PublicNameArgs(
        host=lab.site.public_name(LABEL),
        namespace=SPACE,
        part_of="test",
        service="page",
        port=80,
        issuer="site-ca",
        gateway="edge",
        gateway_namespace="edge",
        simulated=True,
        exposure=EXPOSURE,
        certificates=lab.site.certificates,
        provider=Provider(
            host=lab.site.public_name(load_platform(PLATFORM).public_names[0]),
            realm=realm(lab)["realm"],
            secret=secret,
        ),
    )
    return [
        namespace(space),
        *network_policies(space),
        *backend(SPACE),
        grant(SPACE, WAF, FIREWALL["name"], "EnvoyExtensionPolicy", [SPACE]),
        grant(SPACE, PLATFORM, SERVICE, "SecurityPolicy", [SPACE]),
        *public_name(LABEL, name),
    ]


@pytest.fixture(scope="module")
def door(lab):
    secret, client = secrets.token_urlsafe(24), _client(lab)
    found = Door(lab)
    try:
        people(lab, do="register", client=client | {"secret": secret}, **realm(lab))
        lab.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(_objects(lab, secret)))
        lab.kubectl("-n", SPACE, "rollout", "status", "deployment/page", "--timeout=120s")
        lab.kubectl("-n", SPACE, "wait", "certificates", "--all", "--for=condition=Ready", "--timeout=120s")
        lab.kubectl(
            "-n", SPACE, "wait", "listenersets", "--all", "--for=condition=Programmed", "--timeout=120s"
        )
        end = time.monotonic() + 60
        while found.curl("dual", "-6", LABEL)[0] != 302 and time.monotonic() < end:
            time.sleep(1)
        yield found
    finally:
        people(lab, do="deregister", client=client["id"], **realm(lab))
        for space in (WAF, PLATFORM):
            lab.kubectl("-n", space, "delete", "referencegrant", SPACE, "--ignore-not-found")
        lab.kubectl("delete", "namespace", SPACE, "--ignore-not-found", timeout=300)


def test_the_gateway_took_the_policy(lab, door):
    (policy,) = lab.get("-n", SPACE, "securitypolicies")["items"]
    conditions = policy["status"]["ancestors"][0]["conditions"]
    accepted = next(one for one in conditions if one["type"] == "Accepted")
    assert accepted["status"] == "True", accepted["message"]


@both
def test_who_has_not_signed_in_is_sent_to_identity_and_never_sees_the_page(door, lab, mode, family):
    for path in ("/", "/index.html", "/oauth2/callback?code=a&state=b", "/logout"):
        status, code, text = door.curl(mode, family, LABEL, path, options="-D -")
        assert code == 0
        assert status in (302, 401), path
        assert PAGE not in text
    status, _, text = door.curl(mode, family, LABEL, options="-D -")
    login = url(lab, PLATFORM, f"/realms/{realm(lab)['realm']}/protocol/openid-connect/auth?")
    assert f"location: {login}" in text
    assert status == 302


@both
def test_a_person_signs_in_gets_the_page_and_signs_out(door, lab, enrol, mode, family):
    site = f"https://{door.host(LABEL)}"
    seen = people(lab, mode, do="visit", site=site, address=door.addresses[family], **enrol())
    identity = url(lab, PLATFORM)
    assert seen["asked"].startswith(identity)
    assert seen["landed"] == f"{site}/"
    assert PAGE in seen["page"]
    assert seen["again"][0] == 200
    assert PAGE in seen["again"][1]
    for what, (status, location, text) in seen["wrong"].items():
        assert (status, location.startswith(identity)) == (302, True), what
        assert PAGE not in text, what
    # The session has ended at identity too: the way back from there leads to its login form again.
    assert seen["out"].startswith(identity)
    assert seen["after"].startswith(identity)


@both
def test_a_wrong_password_opens_nothing(door, lab, enrol, mode, family):
    person = enrol() | {"password": "Sai1!" + secrets.token_urlsafe(12)}
    site = f"https://{door.host(LABEL)}"
    seen = people(lab, mode, do="visit", site=site, address=door.addresses[family], **person)
    assert seen["landed"].startswith(url(lab, PLATFORM))
    assert PAGE not in seen["page"]
