"""Own processes: each in a session of its own, recorded by pid and start time, ended only when both match."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from infra.errors import ToolError

#: Seconds between the polite and the hard signal; etcd needs the longest, about one second.
GRACE = 10.0


@dataclass(frozen=True)
class Process:
    """What shall run: a name and its command line."""

    name: str
    argv: list[str]


def start_time(pid: int) -> int | None:
    """Return the start of a process in clock ticks since boot; none when it is gone or a zombie.

    Source: proc(5), /proc/<pid>/stat fields 3 (state), 20 (num_threads) and 22 (starttime); the name may hold
    any character, so fields are counted after its closing bracket.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # the first thread becomes a zombie before the others have ended, and with them sockets stay open
    ended = fields[0] in "ZX" and int(fields[17]) <= 1
    return None if ended else int(fields[19])


def memory(pid: int) -> int:
    """Return the resident memory of a process in bytes; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (FileNotFoundError, ProcessLookupError):
        return 0


class Processes:
    """The processes of one site.

    Args:
        run: folder of the pid files (JSON: pid, start time, command line).
        logs: folder of the logs, one per process.
    """

    def __init__(self, run: Path, logs: Path) -> None:
        self.run, self.logs = run, logs

    def _record(self, name: str) -> dict:
        try:
            return json.loads((self.run / f"{name}.json").read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return {}

    def pid(self, name: str) -> int | None:
        """Return the pid of a running process that we started; none for a dead or a foreign one."""
        record = self._record(name)
        if not record or start_time(record["pid"]) != record["started"]:
            return None
        return record["pid"]

    def known(self) -> list[str]:
        """Return the names that have a pid file."""
        return sorted(file.stem for file in self.run.glob("*.json"))

    def start(self, process: Process) -> bool:
        """Start a process, or restart it when its command line has changed.

        Returns:
            Whether something was started.
        """
        if self.pid(process.name) is not None:
            if self._record(process.name)["argv"] == process.argv:
                return False
            self.stop(process.name)
        self.run.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.logs.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.logs / f"{process.name}.log").open("ab") as log:  # keeps what an earlier one died of
            child = subprocess.Popen(
                process.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C at the terminal is for the CLI, not for the cluster
                cwd=self.run,
                # nothing of the caller's: proxies, KUBECONFIG or ~/.kwok would change what runs
                env={"PATH": os.defpath, "HOME": str(self.run)},
            )
        child.returncode = 0  # it outlives us on purpose; without this Python warns at exit
        record = {"pid": child.pid, "started": start_time(child.pid), "argv": process.argv}
        (self.run / f"{process.name}.json").write_text(json.dumps(record))
        return True

    def stop(self, *names: str) -> None:
        """End own processes, all at once, and remove their pid files; foreign pids are left alone."""
        alive = {pid: start_time(pid) for name in names if (pid := self.pid(name)) is not None}
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in alive:
                os.kill(pid, number)
            deadline = time.monotonic() + GRACE
            while alive and time.monotonic() < deadline:
                time.sleep(0.05)
                alive = {pid: start for pid, start in alive.items() if not _gone(pid, start)}
        if alive:
            raise ToolError(
                f"processes {sorted(alive)} do not end", where=str(self.run), fix="look at them with ps"
            )
        self.forget(names)

    def forget(self, names: Iterable[str]) -> None:
        """Remove the pid files of processes that are gone."""
        for name in names:
            if self.pid(name) is None:
                (self.run / f"{name}.json").unlink(missing_ok=True)

    def tail(self, name: str, lines: int = 12) -> str:
        """Return the end of a process's log."""
        try:
            text = (self.logs / f"{name}.log").read_text("utf-8", "replace")
        except FileNotFoundError:
            return "(no log)"
        return "\n".join(line[:300] for line in text.splitlines()[-lines:])


def _gone(pid: int, started: int | None) -> bool:
    """Tell whether a process has ended; reaps it when it is our own child."""
    with contextlib.suppress(ChildProcessError):  # raised when an earlier run of the CLI started it
        os.waitpid(pid, os.WNOHANG)
    return start_time(pid) != started


def free(port: int) -> bool:
    """Tell whether nothing listens on a loopback port, in either family."""
    for family, host in ((socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.1")):
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                return False
    return True


def pick_ports(owners: dict[str, str], recorded: dict[str, int], running: set[str]) -> dict[str, int]:
    """Choose a loopback port per name.

    Args:
        owners: name of a port -> process that listens on it.
        recorded: the ports of the last run; taken again where they are free, so that kubeconfigs stay valid.
        running: processes that run, so that their own ports are rightly in use.
    """
    ports: dict[str, int] = {}
    for name, owner in owners.items():
        port = recorded.get(name, 0)
        if not port or (owner not in running and not free(port)):
            port = 0
            while not port or port in (*ports.values(), *recorded.values()) or not free(port):
                with socket.socket(socket.AF_INET6) as probe:
                    probe.bind(("::1", 0))
                    port = probe.getsockname()[1]
        ports[name] = port
    return ports
