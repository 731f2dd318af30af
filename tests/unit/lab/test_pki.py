import stat
import subprocess
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from lab import pki


def _sans(path):
    cert = x509.load_pem_x509_certificate(path.read_bytes())
    return cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def _server(folder, *names):
    pki.ensure_certificate(folder, "web", names[0], names=names)
    return folder / "web.crt"


def test_keys_can_be_read_by_their_owner_only(tmp_path):
    pki.ensure_ca(tmp_path / "pki", "CA")
    _server(tmp_path / "pki", "web")
    pki.ensure_encryption_config(tmp_path / "pki" / "encryption.yaml")
    for name in ("ca.key", "web.key", "encryption.yaml"):
        assert stat.S_IMODE((tmp_path / "pki" / name).stat().st_mode) == 0o600


def test_nothing_is_made_twice(tmp_path):
    pki.ensure_ca(tmp_path, "CA")
    _server(tmp_path, "web", "10.0.0.1")
    pki.ensure_encryption_config(tmp_path / "encryption.yaml")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    pki.ensure_ca(tmp_path, "CA")
    _server(tmp_path, "web", "10.0.0.1")
    pki.ensure_encryption_config(tmp_path / "encryption.yaml")
    assert before == {p.name: p.read_bytes() for p in tmp_path.iterdir()}


def test_a_server_certificate_is_issued_anew_when_its_names_change(tmp_path):
    pki.ensure_ca(tmp_path, "CA")
    _server(tmp_path, "web")
    path = _server(tmp_path, "web", "fd77::1", "10.0.0.1")
    names = _sans(path)
    assert names.get_values_for_type(x509.DNSName) == ["web"]
    assert {str(a) for a in names.get_values_for_type(x509.IPAddress)} == {"fd77::1", "10.0.0.1"}


def test_the_chain_verifies_and_a_foreign_ca_does_not(tmp_path):
    from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

    for name in ("ours", "foreign"):
        pki.ensure_ca(tmp_path / name, name)
    leaf = x509.load_pem_x509_certificate(_server(tmp_path / "ours", "web").read_bytes())

    def verify(ca):
        store = Store([x509.load_pem_x509_certificate((tmp_path / ca / "ca.crt").read_bytes())])
        return PolicyBuilder().store(store).build_server_verifier(x509.DNSName("web")).verify(leaf, [])

    assert verify("ours")
    try:
        verify("foreign")
    except VerificationError:
        return
    raise AssertionError("a foreign CA verified our certificate")


def test_known_hosts_names_every_machine_by_name_and_both_addresses(tmp_path):
    pki.ensure_ssh(tmp_path, {"cp1": ["fd77::b", "10.77.0.11"]})
    hosts = {line.split()[0] for line in (tmp_path / "known_hosts").read_text().splitlines()}
    assert hosts == {"cp1", "fd77::b", "10.77.0.11"}


@pytest.fixture
def folder(tmp_path):
    pki.ensure_ca(tmp_path, "test")
    return tmp_path


def test_certificates_verify_against_their_ca_and_no_other(folder):
    pki.ensure_ca(folder / "other", "test")
    pki.ensure_certificate(folder, "server", "srv", groups=("group",), names=("::1", "localhost"))
    verify = ["openssl", "verify", "-purpose", "sslserver", "-CAfile"]
    assert subprocess.run([*verify, folder / "ca.crt", folder / "server.crt"]).returncode == 0
    assert subprocess.run([*verify, folder / "other/ca.crt", folder / "server.crt"]).returncode != 0


def test_a_client_certificate_carries_user_and_groups_and_is_no_server(folder):
    pki.ensure_certificate(folder, "admin", "me", groups=("system:masters",), client=True)
    crt = x509.load_pem_x509_certificate((folder / "admin.crt").read_bytes())
    assert crt.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "me"
    assert crt.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value == "system:masters"
    verify = ["openssl", "verify", "-purpose", "sslserver", "-CAfile", folder / "ca.crt"]
    assert subprocess.run([*verify, folder / "admin.crt"]).returncode != 0


def test_certificates_are_kept_until_near_their_end(folder, monkeypatch):
    assert pki.ensure_certificate(folder, "a", "a", client=True)
    assert not pki.ensure_certificate(folder, "a", "a", client=True)
    monkeypatch.setattr(pki, "RENEW_BEFORE", pki.LIFE + timedelta(days=1))
    assert pki.ensure_certificate(folder, "a", "a", client=True)


def test_client_and_account_keys_are_readable_by_the_owner_only(folder):
    pki.ensure_certificate(folder, "a", "a", client=True)
    pki.ensure_key_pair(folder, "accounts")
    for file in folder.glob("*.key"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
