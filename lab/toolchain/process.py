"""Runs the commands of builds: output into the tool's log, ended together on Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TextIO

from infra.errors import ToolError

_TAIL = 15
_GRACE = 3.0
_running: set[subprocess.Popen[str]] = set()
_guard = threading.Lock()
#: Set while everything is to end; builders and waiting loops look at it.
stopping = threading.Event()


class Stopped(Exception):
    """The build was ended because the user asked for it or another build failed."""


def run(
    argv: Sequence[str | Path], *, log: TextIO, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> None:
    """Run a command and copy what it prints into the log.

    Args:
        argv: the command; secrets never go here.
        log: receives standard output and error.
        cwd: working folder.
        env: variables on top of this process's own.

    Raises:
        ToolError: when the command is missing or fails; its last lines are in the message.
        Stopped: when everything is to end.
    """
    _execute(argv, log, cwd, env, keep=False)


def output(
    argv: Sequence[str | Path], *, log: TextIO, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> str:
    """Run a command like `run` and return its standard output; only standard error goes into the log."""
    return _execute(argv, log, cwd, env, keep=True)


def _execute(
    argv: Sequence[str | Path], log: TextIO, cwd: Path | None, env: Mapping[str, str] | None, *, keep: bool
) -> str:
    words = [str(word) for word in argv]
    log.write(f"$ {' '.join(words)}\n")
    log.flush()
    with _guard:
        if stopping.is_set():
            raise Stopped
        try:
            # A session of its own: Ctrl-C reaches us first, and the whole group of the command can be ended.
            child = subprocess.Popen(
                words,
                cwd=cwd,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE if keep else subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except FileNotFoundError:
            raise ToolError(f"command {words[0]!r} is not there", fix=f"install {words[0]}") from None
        _running.add(child)
    tail: deque[str] = deque(maxlen=_TAIL)

    def copy(stream: IO[str]) -> None:
        for line in stream:
            tail.append(line)
            log.write(line)
            log.flush()

    try:
        stdout = child.stdout
        assert stdout is not None  # noqa: S101 - PIPE was asked for
        if keep and child.stderr is not None:
            reader = threading.Thread(target=copy, args=(child.stderr,), daemon=True)
            reader.start()
            text = stdout.read()
            reader.join()
        else:
            copy(stdout)
            text = ""
        code = child.wait()
    finally:
        with _guard:
            _running.discard(child)
    if stopping.is_set():
        raise Stopped
    if code != 0:
        raise ToolError(
            f"{Path(words[0]).name} {words[1] if len(words) > 1 else ''} ended with code {code}\n"
            + "".join(tail).rstrip(),
            where=str(cwd or ""),
            fix="see the log for all of its output",
        )
    return text


def stop_all() -> None:
    """End all running commands with their children: SIGTERM, and SIGKILL after three seconds."""
    with _guard:
        stopping.set()
        children = list(_running)
    _signal(children, signal.SIGTERM)
    deadline = time.monotonic() + _GRACE
    while any(child.poll() is None for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    _signal(children, signal.SIGKILL)


def _signal(children: list[subprocess.Popen[str]], number: signal.Signals) -> None:
    for child in children:
        # The group outlives its leader: compilers may still run when `go` has gone.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, number)
