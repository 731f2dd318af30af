"""Sealing: whoever writes a backup cannot read it. Format: age (https://age-encryption.org/v1), X25519 recipients.

A stream passes through the program `age`, in pieces: nothing is held in memory or written to disk on the way. One
thread reads and hashes what goes in, another one what comes out; hashing and waiting let all of them run at once. The
library `pyrage` makes and reads keys only: it passes streams in pieces of 8 KiB, each through Python.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Protocol

import pyrage

from infra.backup.programs import program
from infra.errors import IntegrityError, TinhError, ToolError

#: Bytes that are read and hashed at once, and that a pipe holds; of 1 MiB, memory costs more than it saves.
CHUNK = 256 << 10
#: How age 1.x says that a stream is sealed for others (cmd/age: NoIdentityMatchError and before).
_WRONG_KEY = re.compile(r"no identity matched|identity did not match")


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


class _Seen:
    """Hash and size of what has passed."""

    def __init__(self) -> None:
        self._hash, self._size = hashlib.sha256(), 0

    def take(self, data: bytes) -> bytes:
        self._hash.update(data)
        self._size += len(data)
        return data

    @property
    def measured(self) -> Measured:
        return Measured(self._hash.hexdigest(), self._size)


class _Drain(threading.Thread):
    """Brings what the program gives to its sink; when that breaks, the program is ended.

    Args:
        process: the program.
        sink: gets what it gives.
    """

    def __init__(self, process: subprocess.Popen[bytes], sink: Writable) -> None:
        super().__init__(daemon=True)
        self._process, self._sink = process, sink
        self.seen = _Seen()
        self.broken: BaseException | None = None

    def run(self) -> None:
        """See `Thread`."""
        try:
            while chunk := _pipe(self._process.stdout).read(CHUNK):
                self._sink.write(self.seen.take(chunk))
            self._sink.flush()
        except BaseException as error:
            self.broken = error
            self._process.kill()


class WrongKeyError(TinhError):
    """The private key is none of those for which it is sealed; or the list of them, at its beginning, is damaged."""


class _RefusedError(Exception):
    """The program does not take what it was given; says why."""


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
        HostError: the program is missing.
        ToolError: it failed.
    """
    try:
        keys = [str(pyrage.x25519.Recipient.from_str(text)) for text in recipients]
    except pyrage.RecipientError as error:
        raise TinhError(
            f"a recipient is no public key of age: {error}", where="backup.yaml: recipients", fix="age1..."
        ) from None
    words = ["--encrypt", *(word for key in keys for word in ("--recipient", key))]
    try:
        return _passed(_start(words), source, sink)
    except _RefusedError as error:
        raise ToolError(f"age does not seal: {error}", where="age", fix="run the command again") from None


def unseal(source: Readable, sink: Writable, identity: str, where: str) -> tuple[Measured, Measured]:
    """Open a sealed stream; return what was read and what was written.

    Args:
        source: what is sealed.
        sink: gets the content; what came so far is no good when this fails.
        identity: the private key.
        where: what is opened, for messages.

    Raises:
        WrongKeyError: the key is not the right one.
        IntegrityError: what is sealed was changed or ends too early.
        HostError: the program is missing.
        ToolError: it was ended from outside.
    """
    key = _identity(identity, where)
    reading, writing = os.pipe()  # the key is in no file and on no command line
    try:
        with os.fdopen(writing, "w") as pipe:
            pipe.write(f"{key}\n")
        process = _start(["--decrypt", "--identity", f"/dev/fd/{reading}"], reading)
    finally:
        os.close(reading)
    try:
        return _passed(process, source, sink)
    except _RefusedError as error:
        if _WRONG_KEY.search(str(error)):
            raise wrong_key(str(key.to_public()), (), where) from None
        raise IntegrityError(
            f"it is damaged: {error}", where=where, fix="take another copy or an older backup"
        ) from None


def wrong_key(mine: str, wanted: Sequence[str], where: str) -> WrongKeyError:
    """Return the error that says that a key does not open a backup."""
    who = f", it is sealed for {', '.join(wanted)}" if wanted else ""
    return WrongKeyError(
        f"the key does not open it: its public key is {mine}{who}",
        where=where,
        fix="give the private key that belongs to it: --identity FILE",
    )


def _start(words: Sequence[str], *fds: int) -> subprocess.Popen[bytes]:
    """Start the program, in a group of its own: Ctrl-C is for this process, which ends it."""
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [program("age"), *words], stdin=pipe, stdout=pipe, stderr=pipe, pass_fds=fds, pipesize=CHUNK,
        process_group=0,
    )  # fmt: skip


def _passed(process: subprocess.Popen[bytes], source: Readable, sink: Writable) -> tuple[Measured, Measured]:
    """Let a stream pass through the program; return what was read and what was written.

    What goes wrong with source or sink is raised as it is; nothing of the program is left in any case.

    Raises:
        _RefusedError: it does not take the stream.
        ToolError: it was ended from outside.
    """
    seen, drain = _Seen(), _Drain(process, sink)
    try:
        drain.start()
        _feed(source, _pipe(process.stdin), seen)
        drain.join()
        if drain.broken:
            raise drain.broken
        said = _pipe(process.stderr).read().decode("utf-8", "replace").splitlines()
        code = process.wait()
        if code < 0:
            raise ToolError(f"age was ended by signal {-code}", where="age", fix="run the command again")
        if code:
            raise _RefusedError(said[0].removeprefix("age: error: ") if said else f"exit {code}")
        return seen.measured, drain.seen.measured
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            with contextlib.suppress(OSError):  # what it no longer takes
                _pipe(pipe).close()


def _feed(source: Readable, pipe: IO[bytes], seen: _Seen) -> None:
    """Give everything to the program; one that has ended says why by itself."""
    while chunk := source.read(CHUNK):
        seen.take(chunk)
        try:
            pipe.write(chunk)
        except BrokenPipeError:
            return
    with contextlib.suppress(BrokenPipeError):
        pipe.close()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe  # noqa: S101 - see _start
    return pipe


def _identity(text: str, where: str) -> pyrage.x25519.Identity:
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    try:
        return pyrage.x25519.Identity.from_str(lines[0].strip() if lines else "")
    except pyrage.IdentityError:
        raise TinhError(
            "no private key of age", where=where, fix="a line AGE-SECRET-KEY-1..., as `age-keygen` writes it"
        ) from None
