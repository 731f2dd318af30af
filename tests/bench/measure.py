"""Run a command and measure its time and the memory of its whole process tree."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

#: Seconds between two looks at memory; a look costs about 3 ms.
INTERVAL = 0.1


class MeasureError(Exception):
    """A command failed, so there is nothing to report."""


@dataclass(frozen=True)
class Run:
    """One run of a command."""

    seconds: float
    peak: int  # bytes
    cpu: float = 0.0  # seconds of all cores together: tells a slow tool from a busy machine


@dataclass(frozen=True)
class Sample:
    """Several runs of the same command."""

    runs: tuple[Run, ...]

    @property
    def seconds(self) -> float:
        """Return the median time."""
        return statistics.median(run.seconds for run in self.runs)

    @property
    def times(self) -> tuple[float, ...]:
        """Return the times of all runs."""
        return tuple(run.seconds for run in self.runs)

    @property
    def peak(self) -> int:
        """Return the highest memory in bytes."""
        return max(run.peak for run in self.runs)

    def data(self) -> dict[str, object]:
        """Return what goes into the report."""
        seconds = [round(run.seconds, 3) for run in self.runs]
        return {
            "median": round(self.seconds, 3),
            "min": min(seconds),
            "max": max(seconds),
            "runs": seconds,
            "cpu": round(statistics.median(run.cpu for run in self.runs), 3),
            "peak_mib": round(self.peak / 2**20, 1),
        }


def run(argv: Sequence[str | Path], env: Mapping[str, str], cwd: Path | None = None) -> Run:
    """Run a command to its end.

    Raises:
        MeasureError: when it fails; the end of its output is in the message.
    """
    peak = [0]
    with tempfile.TemporaryFile() as out:
        before, begin = _cpu(), time.monotonic()
        process = subprocess.Popen(
            argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(INTERVAL):
                peak[0] = max(peak[0], _memory(process.pid))

        watcher = threading.Thread(target=look)
        watcher.start()
        code = process.wait()
        seconds = time.monotonic() - begin
        ended.set()
        watcher.join()
        if code:
            out.seek(0)
            tail = out.read()[-2000:].decode("utf-8", "replace")
            raise MeasureError(f"{' '.join(map(str, argv))} ended with code {code}:\n{tail}")
    return Run(seconds, peak[0], _cpu() - before)


def seconds(work: Callable[[], object]) -> float:
    """Return how long something took."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _cpu() -> float:
    """Return the CPU time of all ended children and their children in seconds."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _memory(session: int) -> int:
    """Return the resident memory of a session's processes in bytes; shared pages count once per process."""
    total = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended between the two looks
            if int(fields[3]) == session:
                total += int(fields[21])
    return total * os.sysconf("SC_PAGE_SIZE")
