"""One lock per stack and per data set, so that two commands never change the same one.

The kernel's `flock` on `<state>/locks/<stack>.lock` is the lock: it vanishes with its process, even after
kill -9. Pulumi's own lock file does not. When ours is free and Pulumi's file is there, its process either
still cleans up after its `tinh` was killed, or is dead and has left the file behind: `tinh unlock` tells the
two apart.
"""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cli import backend
from cli.backend import PulumiLock
from infra.errors import LockedError
from infra.paths import SiteState


@dataclass(frozen=True)
class Holder:
    """Who holds a stack's lock."""

    pid: int
    user: str
    command: str
    since: str

    def __str__(self) -> str:
        """Return the holder as text."""
        return f"pid {self.pid} of {self.user}, `{self.command}`, since {self.since}"


def alive(pid: int, since: datetime | None = None) -> bool:
    """Tell whether a process of this machine lives.

    Args:
        pid: process id.
        since: moment at which the process existed; one that started later only reuses the id.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    if fields[0] in "ZX":
        return False
    if since is None:
        return True
    boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime"))
    started = int(boot.split()[1]) + int(fields[19]) / os.sysconf("SC_CLK_TCK")
    # Clock ticks and btime are rounded to a second each.
    return datetime.fromtimestamp(started, UTC) <= since + timedelta(seconds=2)


def is_ours(lock: PulumiLock) -> bool:
    """Tell whether a Pulumi lock was made on this machine, so that its process can be looked up."""
    return lock.host == socket.gethostname()


def _file(state: SiteState, stack: str) -> Path:
    state.locks.mkdir(exist_ok=True, mode=0o700)
    return state.locks / f"{stack}.lock"


@contextmanager
def stack_lock(state: SiteState, stack: str, command: str) -> Generator[None, None, None]:
    """Hold the lock of a stack; see `lock`."""
    with lock(state, stack, f"stack {stack}", command):
        yield


@contextmanager
def data_lock(state: SiteState, data_set: str, command: str) -> Generator[None, None, None]:
    """Hold the lock of a data set: one backup, restore or drill of it at a time; see `lock`."""
    with lock(state, f"data.{data_set}", f"data set {data_set}", command):
        yield


@contextmanager
def lock(state: SiteState, name: str, what: str, command: str) -> Generator[None, None, None]:
    """Hold a lock.

    Args:
        state: the site's state folder.
        name: of the lock.
        what: it stands for, for messages.
        command: what is being done, for those who have to wait.

    Raises:
        LockedError: another process holds it; the message names it.
    """
    since = datetime.now(UTC).isoformat(timespec="seconds")
    handle = os.open(_file(state, name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(
                f"{what} is locked by {holder(state, name) or 'a process that just started'}",
                where=str(_file(state, name)),
                fix="wait for it to end, or interrupt it with Ctrl-C where it runs",
            ) from None
        os.ftruncate(handle, 0)
        os.write(handle, json.dumps(asdict(Holder(os.getpid(), getpass.getuser(), command, since))).encode())
        # The file stays afterwards: removing it would let two processes lock two files of the same name.
        yield
    finally:
        os.close(handle)


def holder(state: SiteState, stack: str) -> Holder | None:
    """Return who holds the lock of a stack; None when it is free."""
    file = _file(state, stack)
    if not file.exists():
        return None
    with file.open() as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = stream.read()
            return Holder(**json.loads(text)) if text else None
    return None


def refuse_stranded(state: SiteState, stack: str) -> None:
    """Refuse to run while Pulumi's own lock is there; to be called with our lock held.

    Raises:
        LockedError: the message says whose lock it is, and whether that process lives.
    """
    for lock in backend.locks(state, stack):
        if is_ours(lock) and alive(lock.pid, lock.since):
            what, fix = (
                "which is still running",
                "wait for it to end; it was started without `tinh` or outlived it",
            )
        elif is_ours(lock):
            what, fix = "which is dead: the lock is stranded", f"tinh unlock {stack}"
        else:
            what, fix = "on another machine", f"look there; when it is dead: tinh unlock {stack} --force"
        raise LockedError(f"stack {stack} is locked by Pulumi {lock}, {what}", where=str(lock.file), fix=fix)
