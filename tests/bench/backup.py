"""`python -m tests.bench.backup`: sealing and keeping a file, against copying the same bytes the same way.

Both go through a pipe into another process that writes and syncs them: what differs is the sealing, and that every byte
is hashed on both sides. Goal: at least 80 % of the throughput, there and back.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from infra import paths
from infra.backup import seal
from infra.backup.catalogue import Blob
from infra.backup.vault import Vault
from lab.toolchain import ensure
from tests.bench.figures import Row, ratio_at_least
from tests.bench.measure import seconds

GOAL = 0.8
AGENT = paths.PLAYBOOKS / "roles" / "backup_host" / "files" / "vault.py"
#: What a plain copy into another process is: write, sync, close.
PLAIN = """
import os, shutil, sys
with open(sys.argv[1], "wb") as out:
    shutil.copyfileobj(sys.stdin.buffer, out, 1 << 20)
    out.flush()
    os.fsync(out.fileno())
"""


def plain_in(file: Path, copy: Path) -> None:
    """Copy a file through a pipe."""
    with file.open("rb") as stream:
        subprocess.run([sys.executable, "-c", PLAIN, str(copy)], stdin=stream, check=True)


def plain_out(file: Path, copy: Path) -> None:
    """Copy a file back through a pipe."""
    with (
        subprocess.Popen(["cat", str(copy)], stdout=subprocess.PIPE) as process,
        file.with_suffix(".back").open("wb") as sink,
    ):
        assert process.stdout
        while chunk := process.stdout.read(1 << 20):
            sink.write(chunk)
        os.fsync(sink.fileno())


def measure(size: int, rounds: int) -> dict[str, Any]:
    """Return throughputs in MB/s, medians, and their ratios.

    Args:
        size: bytes of the file; random, as nothing on the way makes it smaller.
        rounds: how often; both ways take turns.
    """
    ensure(["age"])
    identity = seal.make_identity()
    recipient = seal.public_of(identity, "bench")
    times: dict[str, list[float]] = {"plain in": [], "sealed in": [], "plain out": [], "sealed out": []}
    with tempfile.TemporaryDirectory(prefix="tinh-bench-", dir=paths.cache()) as folder:
        root = Path(folder)
        file, copy = root / "file", root / "copy"
        with file.open("wb") as out:
            for _ in range(size >> 20):
                out.write(os.urandom(1 << 20))
        writer, reader = (
            Vault("bench", ("env", f"TINH_VAULT={root / 'vault'}", sys.executable, str(AGENT), role))
            for role in ("writer", "reader")
        )
        kept: list[Blob] = []

        def sealed_in() -> None:
            with file.open("rb") as stream:
                kept.append(writer.put(stream, [recipient])[0])

        def sealed_out() -> None:
            with file.with_suffix(".open").open("wb") as sink, reader.delivery(kept[-1:]) as coming:
                coming.take(kept[-1], sink, identity)
                os.fsync(sink.fileno())

        for _ in range(rounds):
            times["plain in"].append(seconds(lambda: plain_in(file, copy)))
            times["sealed in"].append(seconds(sealed_in))
            times["plain out"].append(seconds(lambda: plain_out(file, copy)))
            times["sealed out"].append(seconds(sealed_out))
    middle = {name: statistics.median(values) for name, values in times.items()}
    speed = {name: round(size / value / 1e6, 1) for name, value in middle.items()}
    ratios = {way: middle[f"plain {way}"] / middle[f"sealed {way}"] for way in ("in", "out")}
    return {
        "mib": size >> 20,
        "rounds": rounds,
        "megabytes_per_second": speed,
        "seconds": {name: [round(value, 3) for value in values] for name, values in times.items()},
        "ratio": {way: round(value, 2) for way, value in ratios.items()},
        "met": all(value >= GOAL for value in ratios.values()),
    }


def rows(size: int, times: Mapping[str, Sequence[float]]) -> list[Row]:
    """Return the rows of all rounds.

    Args:
        size: bytes of the file.
        times: way -> seconds of each round.
    """

    def speed(way: str) -> tuple[float, ...]:
        return tuple(size / value / 1e6 for value in times[way])

    return [
        Row(
            section="sealing", what=f"{what}, {size >> 20} MiB", unit="MB/s", values=speed(f"sealed {way}"),
            instead=speed(f"plain {way}"), way="plain copy", goal=ratio_at_least(GOAL),
        )
        for way, what in (("in", "seal and keep a file"), ("out", "fetch and open it"))
    ]  # fmt: skip


@click.command()
@click.option("--mib", type=click.IntRange(min=16), default=512, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
def main(mib: int, rounds: int) -> None:
    """Measure and print."""
    click.echo(json.dumps(measure(mib << 20, rounds), indent=1))


if __name__ == "__main__":
    main()
