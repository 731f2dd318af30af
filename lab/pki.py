"""Keys and certificates of a site that does not have a public authority's: its own CA, ECDSA P-256.

Production replaces the CA by data (the Government's CA); everything below uses only files.
"""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import secrets
import subprocess
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from infra import private

CA_LIFE = dt.timedelta(days=3650)
LIFE = dt.timedelta(days=397)  # the longest that browsers accept (CA/Browser Forum, since 2020)
RENEW_BEFORE = dt.timedelta(days=30)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _builder(subject: x509.Name, life: dt.timedelta) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))  # clocks of machines differ a little
        .not_valid_after(now + life)
    )


def _name(common_name: str, groups: tuple[str, ...] = ()) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


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
        _builder(_name(name), CA_LIFE)
        .issuer_name(_name(name))
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .add_extension(
            x509.KeyUsage(True, False, False, False, False, True, True, False, False),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    private.write(key_file, _key_pem(key))
    crt.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    return crt


def ensure_certificate(
    folder: Path,
    name: str,
    common_name: str,
    *,
    groups: tuple[str, ...] = (),
    names: tuple[str, ...] = (),
    client: bool = False,
) -> bool:
    """Issue `<name>.crt` and `<name>.key` by the CA in `folder`, unless they are there and good.

    It is issued anew when subject or names changed or less than 30 days are left.

    Args:
        folder: the CA's folder.
        name: stem of the two files.
        common_name: the server's name, or the user as Kubernetes reads client certificates.
        groups: organizations: the user's groups.
        names: DNS names and addresses under which a server answers; none for a pure client.
        client: whether it may be shown to servers as a client's.

    Returns:
        Whether a new certificate was issued.
    """
    crt, key_file = folder / f"{name}.crt", folder / f"{name}.key"
    subject, wanted = _name(common_name, groups), [_general_name(text) for text in names]
    if crt.exists() and key_file.exists() and _good(crt, subject, wanted):
        return False
    ca = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    ca_key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)  # noqa: S101 - we made it above
    key = ec.generate_private_key(ec.SECP256R1())
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH] * client + [ExtendedKeyUsageOID.SERVER_AUTH] * bool(names)
    builder = (
        _builder(subject, LIFE)
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
    )
    if wanted:
        builder = builder.add_extension(x509.SubjectAlternativeName(wanted), critical=False)
    private.write(key_file, _key_pem(key))
    crt.write_bytes(builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return True


def _good(crt: Path, subject: x509.Name, names: list[x509.GeneralName]) -> bool:
    cert = x509.load_pem_x509_certificate(crt.read_bytes())
    try:
        have = list(cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        have = []
    left = cert.not_valid_after_utc - dt.datetime.now(dt.UTC)
    return cert.subject == subject and have == names and left > RENEW_BEFORE


def ensure_key_pair(folder: Path, name: str) -> None:
    """Make `<name>.key` and `<name>.pub` once, as Kubernetes wants them for service account tokens."""
    if (folder / f"{name}.key").exists():
        return
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    private.write(folder / f"{name}.pub", public)
    private.write(folder / f"{name}.key", _key_pem(key))


def _general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def ensure_encryption_config(file: Path) -> Path:
    """Make the API server's encryption-at-rest configuration once (AES-CBC is weaker; secretbox is used).

    Source: https://kubernetes.io/docs/tasks/administer-cluster/encrypt-data/
    """

    def config() -> bytes:
        key = base64.b64encode(secrets.token_bytes(32)).decode()
        return (
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n"
            "- resources: [secrets]\n  providers:\n  - secretbox:\n      keys:\n"
            f"      - {{name: key1, secret: {key}}}\n  - identity: {{}}\n"
        ).encode()

    private.once(file, config)
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
