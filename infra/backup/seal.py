"""Sealing: whoever writes a backup cannot read it. Format: age (https://age-encryption.org/v1), X25519 recipients.

A stream passes in pieces: nothing is held in memory or written to disk on the way.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import pyrage

from infra.errors import IntegrityError, TinhError

if TYPE_CHECKING:
    from typing_extensions import Buffer

#: Bytes that are read and hashed at once; the library asks for 8 KiB.
CHUNK = 1 << 20


@dataclass(frozen=True)
class Measured:
    """What passed: its SHA-256 and size in bytes."""

    sha256: str
    size: int


class Readable(Protocol):
    """What bytes can be read from: a file, a pipe, an answer of the object storage."""

    def read(self, count: int = ..., /) -> bytes:
        """Return the next bytes; none at the end."""
        ...


class Writable(Protocol):
    """What bytes can be written to."""

    def write(self, data: bytes, /) -> object:
        """Take bytes."""
        ...

    def flush(self) -> object:
        """Pass on what is on its way."""
        ...


class Source(io.BufferedIOBase):
    """Measures what is read through it.

    Args:
        stream: where it comes from.
    """

    def __init__(self, stream: Readable) -> None:
        self._stream, self._seen = stream, _Seen()
        self._left = memoryview(b"")

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes; none at the end."""
        if not self._left:
            with self._seen.remembered():
                chunk = self._stream.read(CHUNK)
            self._seen.take(chunk)
            self._left = memoryview(chunk)
        taken = self._left if size is None or size < 0 else self._left[:size]
        self._left = self._left[len(taken) :]
        return bytes(taken)

    @property
    def seen(self) -> _Seen:
        """What has passed so far."""
        return self._seen


class Sink(io.BufferedIOBase):
    """Measures what is written through it, and passes it on in larger pieces: the library opens 8 KiB at a time.

    Args:
        stream: where it goes to.
    """

    def __init__(self, stream: Writable) -> None:
        self._stream, self._seen = stream, _Seen()
        self._held = bytearray()

    def write(self, data: Buffer, /) -> int:
        """Take bytes."""
        before = len(self._held)
        self._held += data
        size = len(self._held) - before
        if len(self._held) >= CHUNK:
            self._pass_on()
        return size

    def finish(self) -> None:
        """Pass on what is held; nothing more comes."""
        self._pass_on()
        with self._seen.remembered():
            self._stream.flush()

    def _pass_on(self) -> None:
        held, self._held = bytes(self._held), bytearray()
        self._seen.take(held)
        with self._seen.remembered():
            self._stream.write(held)

    def close(self) -> None:
        """Leave the stream to its owner."""

    @property
    def seen(self) -> _Seen:
        """What has passed so far."""
        return self._seen


class _Seen:
    """Hash and size of what has passed, and what went wrong with the stream.

    The library would make a text of an exception that comes out of a stream, Ctrl-C too.
    """

    def __init__(self) -> None:
        self._hash, self._size = hashlib.sha256(), 0
        self.broken: BaseException | None = None

    def take(self, data: bytes) -> None:
        self._hash.update(data)
        self._size += len(data)

    @contextlib.contextmanager
    def remembered(self) -> Generator[None, None, None]:
        try:
            yield
        except BaseException as error:
            self.broken = error
            raise

    @property
    def measured(self) -> Measured:
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


def seal(source: Readable, sink: Writable, recipients: Sequence[str]) -> tuple[Measured, Measured]:
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
    read, written = Source(source), Sink(sink)
    try:
        pyrage.encrypt_io(read, written, keys)
        written.finish()
    except (pyrage.EncryptError, OSError) as error:
        raise read.seen.broken or written.seen.broken or error from None
    return read.seen.measured, written.seen.measured


def unseal(source: Readable, sink: Writable, identity: str, where: str) -> tuple[Measured, Measured]:
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
    key, read, written = _identity(identity, where), Source(source), Sink(sink)
    try:
        pyrage.decrypt_io(read, written, [key])
        written.finish()
    except (pyrage.DecryptError, OSError) as error:
        if broken := read.seen.broken or written.seen.broken:
            raise broken from None
        if "matching keys" in str(error):
            raise wrong_key(str(key.to_public()), (), where) from None
        raise IntegrityError(
            f"it is damaged: {error}", where=where, fix="take another copy or an older backup"
        ) from None
    while read.read():  # the rest, so that what was read is measured whole
        pass
    return read.seen.measured, written.seen.measured


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
