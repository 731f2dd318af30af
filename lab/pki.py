"""Keys and certificates of a site that does not have a public authority's: its own CA, ECDSA P-256.

Production replaces the CA by data (the Government's CA); everything below uses only files.
"""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import os
import secrets
import subprocess
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


def write_secret(path: Path, data: bytes) -> None:
    """Write a file that only its owner can read, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _builder(subject: str, days: int) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))  # clocks of machines differ a little
        .not_valid_after(now + dt.timedelta(days=days))
    )


def ensure_ca(folder: Path, name: str) -> Path:
    """Make the site's CA once: `ca.crt`, `ca.key`; return the certificate's path.

    Args:
        folder: where it lives (mode 0700).
        name: common name of the CA.
    """
    crt, key_file = folder / "ca.crt", folder / "ca.key"
    if crt.exists() and key_file.exists():
        return crt
    key = ec.generate_private_key(ec.SECP256R1())
    cert = (
        _builder(name, 3650)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .add_extension(
            x509.KeyUsage(True, False, False, False, False, True, True, False, False),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_secret(key_file, _key_pem(key))
    crt.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    return crt


def ensure_server(folder: Path, name: str, names: list[str]) -> Path:
    """Issue a server certificate by the CA in `folder` once; return the path of the chain `<name>.crt`.

    It is issued anew when the names changed or less than 30 days are left.

    Args:
        folder: the CA's folder.
        name: file name of the pair.
        names: DNS names and addresses of the server.
    """
    crt, key_file = folder / f"{name}.crt", folder / f"{name}.key"
    wanted = [_general_name(text) for text in names]
    if crt.exists() and key_file.exists():
        cert = x509.load_pem_x509_certificate(crt.read_bytes())
        have = list(cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        if have == wanted and cert.not_valid_after_utc > dt.datetime.now(dt.UTC) + dt.timedelta(days=30):
            return crt
    ca = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    ca_key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)  # noqa: S101 - we made it above
    key = ec.generate_private_key(ec.SECP256R1())
    cert = (
        _builder(names[0], 397)
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(wanted), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    write_secret(key_file, _key_pem(key))
    crt.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    return crt


def _general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def ensure_encryption_config(file: Path) -> Path:
    """Make the API server's encryption-at-rest configuration once (AES-CBC is weaker; secretbox is used).

    Source: https://kubernetes.io/docs/tasks/administer-cluster/encrypt-data/
    """
    if not file.exists():
        key = base64.b64encode(secrets.token_bytes(32)).decode()
        write_secret(
            file,
            (
                "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n"
                "- resources: [secrets]\n  providers:\n  - secretbox:\n      keys:\n"
                f"      - {{name: key1, secret: {key}}}\n  - identity: {{}}\n"
            ).encode(),
        )
    return file


def ensure_ssh(folder: Path, machines: dict[str, list[str]]) -> Path:
    """Make the management key, one host key per machine and an ssh `config` that names them all.

    Returns the path of `config`: `ssh -F <config> <machine>`.

    Host keys are made here and handed to the machine, so that the first contact is verified too.

    Args:
        folder: the site's ssh folder.
        machines: machine name -> its addresses, for known_hosts.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = folder / "id_ed25519"
    _keygen(key, "tinh")
    (folder / "authorized_keys").write_text(key.with_suffix(".pub").read_text())
    lines, config = [], []
    for name, addresses in machines.items():
        host = folder / "hosts" / name / "ssh_host_ed25519_key"
        host.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _keygen(host, name)
        kind, value = host.with_suffix(".pub").read_text().split()[:2]
        lines += [f"{address} {kind} {value}" for address in [name, *addresses]]
        config += [f"Host {name}", f"  HostName {addresses[0]}"]
    (folder / "known_hosts").write_text("\n".join(lines) + "\n")
    config += [
        "Host *", "  User root", f"  IdentityFile {key}", "  IdentitiesOnly yes", "  LogLevel ERROR",
        f"  UserKnownHostsFile {folder / 'known_hosts'}", "  StrictHostKeyChecking yes", "  ConnectTimeout 10",
    ]  # fmt: skip
    (folder / "config").write_text("\n".join(config) + "\n")
    return folder / "config"


def _keygen(path: Path, comment: str) -> None:
    if not path.exists():
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)],
            check=True,
            timeout=30,
        )
