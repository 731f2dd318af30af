"""The keys that sign the province's zones, and what others must know of them.

All keys that are there sign, each alone (RFC 6781 2.2 and 4.1.2, single type, double signature): one key in normal
times, two during a roll-over. They are made here and not by the name server, so that every server signs alike, the
resolver knows them before there is a server, and a lost cluster loses no key. One key serves all zones of the site: the
digest that a parent publishes has the zone's name in it (RFC 4034 5.1.4).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import dns.dnssec
import dns.name
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)

from infra import paths, private
from infra.errors import Exit, TinhError

#: ECDSA P-256 with SHA-256, which every validator knows (RFC 6605, RFC 8624 3.1).
ALGORITHM, BITS = 13, 256
#: Zone key and entry point at once (RFC 4034 2.1.1).
FLAGS = 257
SUFFIX = ".pem"


@dataclass(frozen=True)
class Key:
    """One key.

    Args:
        file: where it is.
        pem: PKCS #8; never printed.
    """

    file: Path
    pem: str = field(repr=False)

    @property
    def record(self) -> dns.dnssec.DNSKEY:
        """Its DNSKEY record."""
        key = serialization.load_pem_private_key(self.pem.encode(), None)
        if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
            raise TinhError(
                "the key is not of ECDSA P-256", where=str(self.file), fix="put back the file that was there"
            )
        return dns.dnssec.make_dnskey(key.public_key(), ALGORITHM, FLAGS)

    @property
    def tag(self) -> int:
        """Its key tag (RFC 4034 appendix B)."""
        return dns.dnssec.key_id(self.record)

    def ds(self, zone: str) -> str:
        """Return the DS record with which a zone's parent names this key (RFC 4509: SHA-256)."""
        name = dns.name.from_text(zone)
        return f"{name} IN DS {dns.dnssec.make_ds(name, self.record, 'SHA256')}"


def keys(site: str) -> tuple[Key, ...]:
    """Return a site's keys, oldest first; the first one is made when there is none.

    Raises:
        TinhError: the newest key was retired, so that none is left that anybody knows.
    """
    folder = _folder(site)
    if not list(folder.glob("*")):
        private.once(folder / f"1{SUFFIX}", _make)
    files = sorted(folder.glob(f"*{SUFFIX}"), key=lambda file: int(file.stem))
    if not files:
        raise TinhError(
            f"site {site} has no key to sign its zones with",
            where=str(folder),
            fix=f"put the newest key back, from the backup or by taking `.retired` off its name ({SUFFIX})",
        )
    return tuple(Key(file, file.read_text("utf-8")) for file in files)


def add(site: str) -> Key:
    """Make one more key, the first step of a roll-over.

    Raises:
        TinhError: a roll-over is under way.
    """
    now = keys(site)
    if len(now) > 1:
        raise TinhError(
            f"a roll-over is under way: keys {', '.join(str(key.tag) for key in now)}",
            where=str(_folder(site)),
            fix=f"end it first: `tinh dns retire {now[0].tag}`",
            code=Exit.REFUSED,
        )
    file = _folder(site) / f"{int(now[-1].file.stem) + 1}{SUFFIX}"
    return Key(file, private.once(file, _make).decode())


def retire(site: str, tag: int) -> Key:
    """Stop signing with a key, the last step of a roll-over; its file stays, under another name.

    Raises:
        TinhError: there is no such key, or it is the newest.
    """
    now = keys(site)
    found = next((key for key in now if key.tag == tag), None)
    if found is None:
        raise TinhError(
            f"site {site} has no key {tag}",
            where=str(_folder(site)),
            fix=f"use one of {', '.join(str(key.tag) for key in now)}",
        )
    if found == now[-1]:
        raise TinhError(
            f"key {tag} is the newest", where=str(_folder(site)),
            fix="make another one first: `tinh dns roll`", code=Exit.REFUSED,
        )  # fmt: skip
    found.file.rename(found.file.with_suffix(f"{SUFFIX}.retired"))
    return found


def anchors(zones: Iterable[str], known: Iterable[Key]) -> tuple[str, ...]:
    """Return the DS records of zones, for the resolver and for their parents."""
    known = tuple(known)
    return tuple(key.ds(zone) for zone in zones for key in known)


def _folder(site: str) -> Path:
    return paths.state(site).root / "dnssec"


def _make() -> bytes:
    return generate_private_key(SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
