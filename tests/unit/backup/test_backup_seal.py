"""Sealing through the program: what goes wrong on either side keeps its meaning, and nothing is left of the program."""

import io
import os
import threading
import time
from pathlib import Path

import pytest
from backup_cases import needs

from infra.backup import seal
from infra.errors import Exit, HostError, IntegrityError, TinhError, ToolError

pytestmark = needs("age")

IDENTITY = seal.make_identity()
RECIPIENT = seal.public_of(IDENTITY, "test")


def sealed(content, recipients=(RECIPIENT,)):
    sink = io.BytesIO()
    read, written = seal.seal(io.BytesIO(content), sink, recipients)
    assert (read.size, written.size) == (len(content), len(sink.getvalue()))
    return sink.getvalue()


def opened(data, identity=IDENTITY):
    sink = io.BytesIO()
    seal.unseal(io.BytesIO(data), sink, identity, "test")
    return sink.getvalue()


def children():
    """Processes that this one has not cleared away."""
    return Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()


@pytest.fixture(autouse=True)
def nothing_is_left():
    before = set(children())
    yield
    end = time.monotonic() + 5
    while set(children()) - before or any(isinstance(t, seal._Drain) for t in threading.enumerate()):
        assert time.monotonic() < end, (children(), threading.enumerate())
        time.sleep(0.05)


@pytest.mark.parametrize("size", [0, 1, seal.CHUNK - 1, seal.CHUNK, 5 * seal.CHUNK + 3])
def test_what_is_sealed_comes_back_for_each_recipient_and_for_nobody_else(size):
    content, other = os.urandom(size), seal.make_identity()
    data = sealed(content, (RECIPIENT, seal.public_of(other, "test")))
    assert data.startswith(b"age-encryption.org/v1\n")
    assert opened(data) == opened(data, other) == content
    with pytest.raises(TinhError, match="the key does not open it") as error:
        opened(data, seal.make_identity())
    assert error.value.code is Exit.INPUT


@pytest.mark.parametrize("keep", [0, 10, 200, -1])
def test_what_ends_too_early_is_damaged(keep):
    with pytest.raises(IntegrityError, match="it is damaged"):
        opened(sealed(os.urandom(3 * seal.CHUNK))[:keep])


@pytest.mark.parametrize("at", [5, 60, 300, -1])
def test_one_changed_byte_is_damage_or_another_key_but_never_content(at):
    data = bytearray(sealed(os.urandom(2 * seal.CHUNK)))
    data[at] ^= 1
    with pytest.raises(TinhError, match=r"it is damaged|does not open it"):
        opened(bytes(data))


def test_more_than_was_sealed_is_damage():
    with pytest.raises(IntegrityError):
        opened(sealed(b"content") + b"more")


def test_a_recipient_that_is_none_is_named_before_anything_is_read():
    with pytest.raises(TinhError, match="no public key of age"):
        seal.seal(io.BytesIO(b"x"), io.BytesIO(), ["age1nothing"])
    with pytest.raises(TinhError, match="no private key"):
        opened(b"", "password")


class Broken(io.RawIOBase):
    """Gives or takes one piece, and then breaks."""

    def __init__(self, error):
        super().__init__()
        self.error, self.left = error, 1

    def read(self, count=-1):
        return self.write(b"x" * seal.CHUNK) and b"x" * seal.CHUNK

    def write(self, data):
        if not self.left:
            raise self.error
        self.left -= 1
        return len(data)


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), OSError(28, "No space left"), ToolError("a", where="b", fix="c")]
)
def test_what_breaks_on_either_side_is_raised_as_it_is(error):
    with pytest.raises(type(error)) as raised:
        seal.seal(Broken(error), io.BytesIO(), [RECIPIENT])
    assert raised.value is error
    if not isinstance(error, KeyboardInterrupt):  # which only ever comes to the first thread
        with pytest.raises(type(error)) as raised:
            seal.seal(io.BytesIO(os.urandom(20 * seal.CHUNK)), Broken(error), [RECIPIENT])
        assert raised.value is error


def test_a_program_that_is_ended_from_outside_is_no_damage(monkeypatch, tmp_path):
    program = tmp_path / "age"
    program.write_text("#!/bin/sh\nkill -9 $$\n")
    program.chmod(0o755)
    monkeypatch.setattr(seal, "program", lambda name: str(program))
    with pytest.raises(ToolError, match="ended by signal 9"):
        opened(b"x" * seal.CHUNK)


def test_without_the_program_nothing_is_sealed_and_that_is_said(monkeypatch):
    def missing(name):
        raise HostError(f"there is no `{name}`", where="x", fix="y")

    monkeypatch.setattr(seal, "program", missing)
    with pytest.raises(HostError, match="no `age`"):
        sealed(b"x")
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(HostError):
        opened(b"x")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_the_private_key_is_on_no_command_line(monkeypatch):
    seen = []
    start = seal.subprocess.Popen
    monkeypatch.setattr(
        seal.subprocess, "Popen", lambda words, **more: seen.append(words) or start(words, **more)
    )
    opened(sealed(b"x"))
    assert len(seen) == 2 and not any("SECRET" in word for words in seen for word in words)
