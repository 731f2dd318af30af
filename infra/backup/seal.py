"""Sealing: whoever writes a backup cannot read it. Format: age (https://age-encryption.org/v1), X25519 recipients.

A stream passes in pieces: nothing is held in memory or written to disk on the way.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import IO

import pyrage

from infra.errors import IntegrityError, TinhError

#: Bytes that are read and hashed at once; the library asks for 8 KiB.
CHUNK = 1 << 20


@dataclass(frozen=True)
class Measured:
    """What passed: its SHA-256 and size in bytes."""

    sha256: str
    size: int


class Tap:
    """Measures what is read through it or written through it.

    Args:
        stream: where it comes from or goes to.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._hash, self._size = stream, hashlib.sha256(), 0
        self._left = memoryview(b"")
        #: What went wrong with the stream, Ctrl-C too: the library would make a text of it.
        self.broken: BaseException | None = None

    def read(self, count: int = -1) -> bytes:
        """Return the next bytes; none at the end."""
        if not self._left:
            with self._remembered():
                chunk = self._stream.read(CHUNK)
            self._hash.update(chunk)
            self._size += len(chunk)
            self._left = memoryview(chunk)
        taken = self._left[:count] if count >= 0 else self._left
        self._left = self._left[len(taken) :]
        return bytes(taken)

    def write(self, data: bytes) -> int:
        """Pass bytes on."""
        self._hash.update(data)
        self._size += len(data)
        with self._remembered():
            self._stream.write(data)
        return len(data)

    def flush(self) -> None:
        """Pass on what is on its way."""
        with self._remembered():
            self._stream.flush()

    @contextlib.contextmanager
    def _remembered(self) -> Generator[None, None, None]:
        try:
            yield
        except BaseException as error:
            self.broken = error
            raise

    @property
    def measured(self) -> Measured:
        """What has passed so far."""
        return Measured(self._hash.hexdigest(), self._size)


def make_identity() -> str:
    """Return a new private key, as text."""
    return str(pyrage.x25519.Identity.generate())


def public_of(identity: str, where: str) -> str:
    """Return the public key of a private one.

    Raises:
        TinhError: it is no private key.
    """
    return str(_identity(identity, where).to_public())


def seal(source: IO[bytes], sink: IO[bytes], recipients: Sequence[str]) -> tuple[Measured, Measured]:
    """Seal a stream; return what was read and what was written.

    Raises:
        TinhError: a recipient is no public key.
    """
    try:
        keys = [pyrage.x25519.Recipient.from_str(text) for text in recipients]
    except pyrage.RecipientError as error:
        raise TinhError(
            f"a recipient is no public key of age: {error}", where="backup.yaml: recipients", fix="age1..."
        ) from None
    read, written = Tap(source), Tap(sink)
    try:
        pyrage.encrypt_io(read, written, keys)
    except (pyrage.EncryptError, OSError) as error:
        raise read.broken or written.broken or error from None
    return read.measured, written.measured


def unseal(source: IO[bytes], sink: IO[bytes], identity: str, where: str) -> tuple[Measured, Measured]:
    """Open a sealed stream; return what was read and what was written.

    Args:
        source: what is sealed.
        sink: gets the content; what came so far is no good when this fails.
        identity: the private key.
        where: what is opened, for messages.

    Raises:
        TinhError: the key is not the right one.
        IntegrityError: what is sealed was changed or ends too early.
    """
    key, read, written = _identity(identity, where), Tap(source), Tap(sink)
    try:
        pyrage.decrypt_io(read, written, [key])
    except (pyrage.DecryptError, OSError) as error:
        if broken := read.broken or written.broken:
            raise broken from None
        if "matching keys" in str(error):
            raise wrong_key(str(key.to_public()), (), where) from None
        raise IntegrityError(
            f"it is damaged: {error}", where=where, fix="take another copy or an older backup"
        ) from None
    while read.read():  # the rest, so that what was read is measured whole
        pass
    return read.measured, written.measured


def wrong_key(mine: str, wanted: Sequence[str], where: str) -> TinhError:
    """Return the error that says that a key does not open a backup."""
    who = f", it is sealed for {', '.join(wanted)}" if wanted else ""
    return TinhError(
        f"the key does not open it: its public key is {mine}{who}",
        where=where,
        fix="give the private key that belongs to it: --identity FILE",
    )


def _identity(text: str, where: str) -> pyrage.x25519.Identity:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    try:
        return pyrage.x25519.Identity.from_str(lines[0].strip() if lines else "")
    except pyrage.IdentityError:
        raise TinhError(
            "no private key of age", where=where, fix="a line AGE-SECRET-KEY-1..., as `age-keygen` writes it"
        ) from None
