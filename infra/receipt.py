"""Documents that are signed by the province and checked offline: receipts and certificates.

A document is JSON: `body`, and `signature` with the public key it was made by. The signature (Ed25519, RFC 8032) is
over the body in one form: keys sorted, no spaces, UTF-8; numbers are whole, so that every reader writes them alike.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from infra import paths, private
from infra.errors import Exit, TinhError
from infra.model.base import read_json

ALGORITHM = "Ed25519"
Body = dict[str, Any]


def province_key(site: str) -> Ed25519PrivateKey:
    """Return the key with which a site signs; it is made once, beside its authority, and only its owner can read it."""

    def make() -> bytes:
        return Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    key = serialization.load_pem_private_key(private.once(paths.state(site).pki / "receipts.key", make), None)
    assert isinstance(key, Ed25519PrivateKey)  # noqa: S101 - made above
    return key


def public_text(key: Ed25519PrivateKey | Ed25519PublicKey) -> str:
    """Return a public key as base64 of its 32 bytes."""
    public = key.public_key() if isinstance(key, Ed25519PrivateKey) else key
    return base64.b64encode(public.public_bytes_raw()).decode()


def fingerprint(public: str) -> str:
    """Return what people compare: SHA-256 of a public key, in hexadecimal, first 32 digits."""
    return hashlib.sha256(base64.b64decode(public)).hexdigest()[:32]


def sign(body: Body, key: Ed25519PrivateKey) -> dict[str, Any]:
    """Return the signed document."""
    value = base64.b64encode(key.sign(canonical(body))).decode()
    return {"body": body, "signature": {"algorithm": ALGORITHM, "key": public_text(key), "value": value}}


def verify(document: Any, where: str, public: str | None = None) -> Body:  # noqa: ANN401 - checked here
    """Return the body of a document that is as it was signed.

    Args:
        document: what was read.
        where: file, for messages.
        public: the key that must have signed it (`public_text`); None: the one that the document names, so that only
            changes are found and not who made it.

    Raises:
        TinhError: it is no such document, it was changed, or another key has signed it.
    """
    try:
        body, signature = document["body"], document["signature"]
        key = base64.b64decode(signature["key"], validate=True)
        value = base64.b64decode(signature["value"], validate=True)
        known = signature["algorithm"] == ALGORITHM and isinstance(body, dict)
        checker = Ed25519PublicKey.from_public_bytes(key)
    except (KeyError, TypeError, ValueError):
        known = False
    if not known:
        raise TinhError("no signed document", where=where, fix="give a file that `tinh` has written")
    if public is not None and base64.b64decode(public) != key:
        raise TinhError(
            f"signed by another key: {fingerprint(signature['key'])}, not {fingerprint(public)}",
            where=where, fix="ask the province for the document again", code=Exit.INTEGRITY,
        )  # fmt: skip
    try:
        checker.verify(value, canonical(body))
    except InvalidSignature:
        raise TinhError(
            "the document was changed after it was signed",
            where=where, fix="ask the province for the document again", code=Exit.INTEGRITY,
        ) from None  # fmt: skip
    return body


def canonical(body: Body) -> bytes:
    """Return the bytes that are signed.

    Raises:
        ValueError: there is a number that is not whole.
    """
    _whole(body)
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def read(file: Path) -> Any:  # noqa: ANN401 - checked by `verify`
    """Return a document as it is in a file.

    Raises:
        TinhError: it cannot be read or is no JSON.
    """
    return read_json(file, fix="give a file that `tinh` has written")


def _whole(value: object) -> None:
    if isinstance(value, float):
        raise ValueError(f"{value} is not whole: two readers may write it differently")
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in items:
        _whole(item)
