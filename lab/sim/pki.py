"""Certificates of the sim's control plane, below CAs of its own that never leave the state folder.

`lab.pki` makes the CA; here is what it does not have: client certificates with a user and groups, as
Kubernetes reads them, and key pairs for service account tokens.
"""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lab.pki import write_secret

LIFE = timedelta(days=365)
RENEW_BEFORE = timedelta(days=30)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def ensure_key_pair(folder: Path, name: str) -> None:
    """Make `<name>.key` and `<name>.pub` unless they exist."""
    if (folder / f"{name}.key").exists():
        return
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    write_secret(folder / f"{name}.pub", public)
    write_secret(folder / f"{name}.key", _pem(key))


def ensure_certificate(
    folder: Path, name: str, user: str, groups: tuple[str, ...] = (), names: tuple[str, ...] = ()
) -> bool:
    """Issue `<name>.crt` and `<name>.key` by the CA in `folder`, unless they exist and have 30 days left.

    Args:
        folder: the CA's folder.
        name: stem of the two files.
        user: common name: the user, as Kubernetes reads client certificates.
        groups: organizations: the user's groups.
        names: DNS names and addresses under which a server answers; none for a pure client.

    Returns:
        Whether a new certificate was issued.
    """
    crt, key_file = folder / f"{name}.crt", folder / f"{name}.key"
    now = datetime.now(UTC)
    if (
        crt.exists()
        and x509.load_pem_x509_certificate(crt.read_bytes()).not_valid_after_utc - now > RENEW_BEFORE
    ):
        return False
    ca = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    ca_key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)  # noqa: S101 - lab.pki made it
    key = ec.generate_private_key(ec.SECP256R1())
    subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    subject.append(x509.NameAttribute(NameOID.COMMON_NAME, user))
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH] + ([ExtendedKeyUsageOID.SERVER_AUTH] if names else [])
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(subject))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))  # a stepped clock must not make it invalid
        .not_valid_after(now + LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    )
    if names:
        alternatives = x509.SubjectAlternativeName([_alternative(text) for text in names])
        builder = builder.add_extension(alternatives, critical=False)
    write_secret(key_file, _pem(key))
    write_secret(crt, builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return True


def _alternative(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)
