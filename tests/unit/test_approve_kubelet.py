"""Which requests of kubelets are approved (playbooks/roles/kubeadm/files/approve_kubelet.py)."""

import base64
import importlib.util
import ipaddress
import json

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from infra import paths

FILE = paths.PLAYBOOKS / "roles" / "kubeadm" / "files" / "approve_kubelet.py"
OURS = (
    x509.DNSName("worker1"),
    *(x509.IPAddress(ipaddress.ip_address(a)) for a in ("fd77::15", "10.77.0.21")),
)


def request(*names):
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "system:node:worker1")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    signed = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return base64.b64encode(signed.public_bytes(serialization.Encoding.PEM)).decode()


def item(name, *names, node="worker1", signer="kubernetes.io/kubelet-serving", status=None):
    spec = {"username": f"system:node:{node}", "signerName": signer, "request": request(*names)}
    return {"metadata": {"name": name}, "spec": spec, "status": status or {}}


@pytest.fixture
def approve(monkeypatch):
    """Return a function that shows requests to the script and returns what it approved."""
    spec = importlib.util.spec_from_file_location("approve_kubelet", FILE)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    real, approved = script.output, []

    def run(*items, serving=True):
        def output(*command, data=None):
            if command[0] != "kubectl":
                return real(*command, data=data)
            if "approve" in command:
                approved.append(command[-1])
                return b""
            return json.dumps({"items": list(items)}).encode()

        monkeypatch.setattr(script, "output", output)
        monkeypatch.setattr(script, "serves", lambda address: serving)
        script.main("worker1", "fd77::15,10.77.0.21", "1")
        return approved

    return run


def test_a_request_for_the_node_and_its_addresses_is_approved(approve):
    assert approve(item("a", *OURS)) == ["a"]


def test_requests_of_others_for_other_purposes_and_decided_ones_are_left_alone(approve):
    done = {"conditions": [{"type": "Approved"}]}
    client = "kubernetes.io/kube-apiserver-client-kubelet"
    others = (
        item("a", *OURS, node="worker2"),
        item("b", *OURS, signer=client),
        item("c", *OURS, status=done),
    )
    assert approve(*others) == []


@pytest.mark.parametrize(
    "foreign",
    [
        x509.DNSName("kubernetes.default.svc"),
        x509.IPAddress(ipaddress.ip_address("10.77.0.11")),
        x509.UniformResourceIdentifier("spiffe://cluster.local"),
        x509.RFC822Name("root@example.vn"),
    ],
)
def test_a_request_that_names_anything_else_is_refused(approve, foreign):
    with pytest.raises(SystemExit, match="not this machine's"):
        approve(item("a", *OURS, foreign))


def test_a_kubelet_that_never_serves_with_it_is_an_error(approve):
    with pytest.raises(SystemExit, match="does not serve with a certificate of the cluster after 1 s"):
        approve(serving=False)
