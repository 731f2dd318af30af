"""The machines with the copies, from this side: what `playbooks/roles/backup_host/files/vault.py` is asked for."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from infra import paths
from infra.backup.catalogue import Blob, Copy, Entry, read_entry
from infra.backup.seal import Measured, Readable, Writable, seal, unseal
from infra.errors import IntegrityError, RefusedError, TinhError, ToolError
from infra.model.site import Machine, Role, Site

#: User on the machines with the copies; it has no shell, only the agent.
USER = "vault"
#: Roles of machines with copies; the first is the nearer one.
ROLES = (Role.BACKUP, Role.OFFSITE)
#: How many blobs one connection is asked for; see the agent.
AT_ONCE = 1000


@dataclass(frozen=True)
class Vault:
    """One copy, reached with a key of one role.

    Args:
        name: the machine.
        command: begins every call; the verb follows.
    """

    name: str
    command: tuple[str, ...]

    def put(self, source: Readable, recipients: Sequence[str]) -> tuple[Blob, Measured]:
        """Seal a stream on its way there; return the blob, and what was read.

        Raises:
            ToolError: the machine does not answer, or what arrived there is not what was sent.
        """
        process = self._open("put")
        assert process.stdin  # noqa: S101 - a pipe, see _open
        try:
            read, sent = seal(source, process.stdin, recipients)
            process.stdin.close()
        except BrokenPipeError:
            raise self._failed("put", process) from None
        except BaseException:
            process.kill()
            process.wait()
            raise
        answer = self._answer("put", process)
        if answer != {"sha256": sent.sha256, "size": sent.size}:
            raise ToolError(
                f"{self.name} got other bytes than were sent", where=self.name, fix="run the command again"
            )
        return Blob(sha256=sent.sha256, size=sent.size), read

    @contextlib.contextmanager
    def delivery(self, blobs: Sequence[Blob]) -> Generator[Delivery, None, None]:
        """Get blobs one after the other, in this order; what is not taken is not brought."""
        coming = Delivery(self, blobs)
        try:
            yield coming
        finally:
            coming.end()

    def enter(self, document: dict[str, Any]) -> None:
        """Add a signed entry to the catalogue."""
        self._call("enter", data=json.dumps(document).encode())

    def look(self, public: str | None, data_set: str = "") -> Copy:
        """Return the catalogue; a machine that does not answer is a copy with a problem.

        Args:
            public: the province's key; an entry that another one has signed is left out and named.
            data_set: only this one.
        """
        try:
            found = self._call("list", *([data_set] if data_set else []))
        except ToolError as error:
            return Copy(name=self.name, entries=(), problem=error.what)
        entries: list[Entry] = []
        problems = []
        for row in found["entries"]:
            try:
                entries.append(read_entry(row["document"], self.name, public))
            except TinhError as error:
                problems.append(f"an entry is not the province's: {error.what}")
        return Copy(
            name=self.name, entries=tuple(entries), damaged=frozenset(found["damaged"]),
            problem="; ".join(sorted(set(problems))),
        )  # fmt: skip

    def check(self, data_set: str = "") -> list[str]:
        """Have the machine read every blob again; return those that are damaged."""
        return self._call("check", *([data_set] if data_set else []))["damaged"]

    def prune(self, entries: Sequence[Entry]) -> int:
        """Have entries removed, and what nothing needs any more; return how many bytes that were."""
        request = {"entries": [[entry.data_set, entry.id] for entry in entries]}
        return self._call("prune", data=json.dumps(request).encode())["bytes"]

    def _open(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*self.command, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def _call(self, *words: str, data: bytes = b"") -> Any:  # noqa: ANN401 - the agent's JSON
        process = self._open(*words)
        out, said = process.communicate(data)
        if process.returncode:
            raise self._error(words[0], process.returncode, said)
        return json.loads(out)

    def _answer(self, verb: str, process: subprocess.Popen[bytes]) -> Any:  # noqa: ANN401 - the agent's JSON
        assert process.stdout  # noqa: S101 - a pipe, see _open
        out = process.stdout.read()
        if process.wait():
            raise self._failed(verb, process)
        return json.loads(out)

    def _said(self, process: subprocess.Popen[bytes]) -> str:
        assert process.stderr  # noqa: S101 - a pipe, see _open
        return process.stderr.read().decode("utf-8", "replace").strip()

    def _failed(self, verb: str, process: subprocess.Popen[bytes]) -> TinhError:
        said = self._said(process)
        return self._error(verb, process.wait(), said.encode())

    def _error(self, verb: str, code: int, said: bytes) -> TinhError:
        text = said.decode("utf-8", "replace").strip()[-400:] or f"exit {code}"
        if code == 6:
            return RefusedError(
                f"{self.name} refuses: {text}", where=self.name, fix="nothing was changed there"
            )
        if code == 7:
            return IntegrityError(text, where=self.name, fix="take another copy or an older backup")
        return ToolError(
            f"{self.name} does not do `{verb}`: {text}",
            where=self.name,
            fix="see that the machine runs and is prepared (playbooks/machines.yml)",
        )


class _Part:
    """What is left of one blob in a stream of several; `broken`: the stream has ended before."""

    def __init__(self, stream: IO[bytes], left: int) -> None:
        self._stream, self._left, self.broken = stream, left, False

    def read(self, count: int = -1, /) -> bytes:
        data = self._stream.read(self._left if count < 0 else min(count, self._left))
        self._left -= len(data)
        self.broken = bool(self._left and not data)
        return data


class Delivery:
    """Blobs that a copy sends, many over one connection: making one takes longer than a log file of a database.

    Args:
        vault: the copy.
        wanted: what is still to come.
    """

    def __init__(self, vault: Vault, wanted: Iterable[Blob]) -> None:
        self._vault, self._wanted = vault, deque(wanted)
        self._asked: deque[Blob] = deque()
        self._process: subprocess.Popen[bytes] | None = None

    def take(self, blob: Blob, sink: Writable, identity: str) -> Measured:
        """Open a blob, the next one, and write its content; return what was written.

        Raises:
            WrongKeyError: the key does not open it.
            IntegrityError: it is missing or damaged.
            ToolError: the machine does not answer.
        """
        process = self._sending()
        if self._asked.popleft() != blob:
            raise ValueError(f"blob {blob.sha256} is not the next one")
        assert process.stdout  # noqa: S101 - a pipe, see Vault._open
        where, fix = self.where(blob), "take another copy or an older backup"
        size = process.stdout.readline().strip()
        if size == b"-":
            raise IntegrityError("it is missing", where=where, fix=fix)
        if not size.isdigit():
            process.stdout.close()  # an agent that sends something else would wait for a reader, and its reason for it
            raise self._vault._failed("get", process)
        part = _Part(process.stdout, int(size))
        try:
            read, written = unseal(part, sink, identity, where)
        except IntegrityError:
            if part.broken:
                raise self._vault._failed("get", process) from None
            raise
        if (read.sha256, read.size) != (blob.sha256, blob.size):
            raise IntegrityError("it is damaged", where=where, fix=fix)
        return written

    def where(self, blob: Blob) -> str:
        """Return where a blob lies, for messages."""
        return f"{self._vault.name}, blob {blob.sha256}"

    def _sending(self) -> subprocess.Popen[bytes]:
        """Return what sends the next blobs."""
        if not (self._process and self._asked):
            self.end()
            self._asked.extend(self._wanted.popleft() for _ in range(min(AT_ONCE, len(self._wanted))))
            self._process = self._vault._open("get", *(blob.sha256 for blob in self._asked))
            assert self._process.stdin  # noqa: S101 - a pipe
            self._process.stdin.close()
        return self._process

    def end(self) -> None:
        """End the connection."""
        if self._process:
            with self._process:  # closes its pipes, waits
                self._process.kill()


@dataclass(frozen=True)
class Keys:
    """Which key opens a copy for what. Production has the first only; the others lie in the kit.

    Args:
        writer: adds, and looks.
        reader: takes out.
        keeper: clears out.
    """

    writer: Path
    reader: Path
    keeper: Path


def keys_of(site: Site, kit: Path | None = None) -> Keys:
    """Return where a site's keys are. Beside each lies `config`, by which ssh finds the machines, and `known_hosts`.

    Args:
        site: the site.
        kit: folder with what is kept elsewhere; None: `vault` in the site's state folder.
    """
    state = paths.state(site.name)
    kit = kit or state.vault
    return Keys(state.ssh / "backup-writer", kit / "reader", kit / "keeper")


def machines(site: Site) -> list[Machine]:
    """Return the machines with the copies, the nearer one first."""
    return [machine for role in ROLES for machine in site.by_role(role)]


def vaults(site: Site, key: Path) -> list[Vault]:
    """Return all copies of a site, as one key reaches them; the nearer one first.

    Raises:
        TinhError: the site has no machine for copies, or the key is not there.
    """
    found = machines(site)
    if not found:
        raise TinhError(
            f"site {site.name} has no machine for backups",
            where=f"stacks/sites/{site.name}/site.yaml: machines",
            fix=f"add a machine of role {Role.BACKUP} and, on a segment of its own, one of role {Role.OFFSITE}",
        )
    if not key.exists():
        raise TinhError(
            f"the key {key.name} of the machines with the copies is not here", where=str(key),
            fix="bring the folder `vault` from where it is kept (docs/backup.md), or make the site first",
        )  # fmt: skip
    options = (
        "-o", f"UserKnownHostsFile={key.parent / 'known_hosts'}", "-o", "StrictHostKeyChecking=yes",
        "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=5",
    )  # fmt: skip
    config = key.parent / "config"
    return [
        Vault(m.name, ("ssh", "-F", str(config), "-i", str(key), "-l", USER, *options, m.name)) for m in found
    ]
