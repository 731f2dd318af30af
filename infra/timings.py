"""Durations of long phases, kept per site, so that `make bench` can show cold and warm times of real runs.

File `timings.json` in the site's state folder: a list of `{phase, seconds, cold, at}`, oldest first.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from infra import paths

#: Records kept per site: some hundred runs of a few phases, and the file stays under 50 kB.
KEEP = 500


@dataclass(frozen=True)
class Timing:
    """One measured phase."""

    phase: str
    seconds: float
    cold: bool
    at: str


def _file(site: str) -> Path:
    return paths.state(site).root / "timings.json"


def record(site: str, phase: str, seconds: float, cold: bool) -> None:
    """Append one measurement; safe against concurrent writers and interruption.

    Args:
        site: name of the site.
        phase: short stable name, for example `toolchain.lab` or `up.base`.
        seconds: wall-clock duration.
        cold: whether nothing could be reused from an earlier run.
    """
    file = _file(site)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    locks = paths.state(site).locks
    locks.mkdir(exist_ok=True, mode=0o700)
    folder = os.open(locks, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # locking the folder leaves no lock file behind
        rows = [asdict(row) for row in read(site)]
        rows.append(asdict(Timing(phase, round(seconds, 3), cold, at)))
        with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=".timings-", delete=False) as new:
            json.dump(rows[-KEEP:], new, indent=1)
        Path(new.name).replace(file)
    finally:
        os.close(folder)


def read(site: str) -> list[Timing]:
    """Return the recorded measurements of a site, oldest first; none when nothing was recorded."""
    try:
        return [Timing(**row) for row in json.loads(_file(site).read_text())]
    except FileNotFoundError:
        return []
