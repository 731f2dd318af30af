"""`python -m tests.bench.restore`: backup and restore of a database, against PostgreSQL's and tar's.

- base backup into the object storage, against `pg_basebackup` into a file on the storage's kind of volume, over TLS;
- that backup counted and sealed at the backup host, against `pg_basebackup` piped into a file there: both through the
  API server, then SSH;
- restore from there until PostgreSQL serves, against that file unpacked into a volume: the same way back.

Throughput is bytes of the database for each second; both sides take turns. Then a restore to a moment between two rows,
and a drill of one of the site's own data sets.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import datetime
from functools import partial
from typing import Any

import click

from infra import paths, receipt
from infra.backup import drill
from infra.backup.sets import Kind, data_sets
from infra.backup.vault import machines
from infra.errors import TinhError
from infra.model.site import Site, load_site
from tests.bench.copies import Bench, base, ground, plain_back, plain_base, plain_sealed, recovered, sealed
from tests.bench.figures import Row, at_most, ratio_at_least
from tests.bench.measure import MeasureError, seconds

SECTION = "backup"
SHARE = 0.8
Times = dict[str, list[float]]


def one(now: Bench, times: Times) -> None:
    """Do everything once, each beside what one would use instead, and note the seconds."""

    def note(what: str, value: float) -> None:
        times.setdefault(what, []).append(value)

    for what, work in (("base", base), ("plain base", plain_base), ("plain sealed", plain_sealed)):
        now.made.sql("checkpoint")
        note(what, seconds(partial(work, now)))
    began = time.monotonic()
    entry = sealed(now)
    note("sealed", time.monotonic() - began)
    note("bringing", entry.milliseconds / 1000)
    note("plain back", seconds(partial(plain_back, now)))
    began = time.monotonic()
    with recovered(now, entry) as (_, brought):
        note("restore", time.monotonic() - began)
        note("bringing back", brought)


def to_marker(now: Bench) -> float:
    """Restore to the moment between two rows; return the seconds until that was seen to be so.

    Raises:
        MeasureError: the first row is missing, or the second one is there.
    """
    made = now.made
    made.sql("create table if not exists marks (n integer); truncate marks; insert into marks values (1)")
    time.sleep(1.1)
    moment = datetime.fromisoformat(made.sql("select to_json(clock_timestamp())#>>'{}'"))
    time.sleep(1.1)
    made.sql("insert into marks values (2)")
    entry = sealed(now)
    began = time.monotonic()
    with recovered(now, entry, moment) as (pod, _):
        found = made.sql("select json_agg(n order by n) from marks", pod)
        if found != "[1]":
            raise MeasureError(f"restored to the moment between rows 1 and 2, there are {found}")
        return time.monotonic() - began


def rows(size: int, times: Times) -> list[Row]:
    """Return the rows of all rounds: throughput in MB of the database for each second."""

    def speed(what: str) -> tuple[float, ...]:
        return tuple(size / value / 1e6 for value in times[what])

    def row(what: str, ours: str, instead: str, way: str) -> Row:
        return Row(
            section=SECTION, what=f"{what}, {size >> 20} MiB", unit="MB/s", values=speed(ours),
            instead=speed(instead), way=way, goal=ratio_at_least(SHARE),
        )  # fmt: skip

    return [
        row("base backup into the object storage", "base", "plain base", "pg_basebackup"),
        row("counted, archived and sealed backup", "sealed", "plain sealed", "pg_basebackup"),
        row("of it: sealing and bringing", "bringing", "plain sealed", "pg_basebackup"),
        row("restore until PostgreSQL serves", "restore", "plain back", "raw copy"),
        row("of it: bringing and opening", "bringing back", "plain back", "raw copy"),
    ]


def drill_row(body: dict[str, Any], name: str) -> Row:
    """Return the row of a data set in a drill's receipt.

    Raises:
        MeasureError: it was not proven.
    """
    found = next((each for each in body["results"] if each["data_set"] == name), None)
    if found is None or found["wrong"]:
        raise MeasureError(f"the drill of {name} proves nothing: {found and '; '.join(found['wrong'][:3])}")
    return Row(
        section=SECTION, what=f"drill of {name}, {found['compared']} facts", unit="s",
        values=(float(found["seconds"]),), goal=at_most(found["allowed_seconds"]),
    )  # fmt: skip


def drilled(site: Site, name: str) -> Row:
    """Back up one of the site's data sets, if that is due, and prove it by `tinh drill run`."""
    for words in (
        ("backup", "run", name),
        ("drill", "run", "--data-set", name, "--from", machines(site)[0].name),
    ):
        command = [sys.executable, "-m", "cli.main", *words, "--site", site.name]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=paths.REPO)
        if done.returncode not in (0, 3):
            raise MeasureError(f"tinh {' '.join(words)}: {done.stderr.strip()[-400:]}")
    file = max(drill.folder(site.name).glob("drill-*.json"), key=lambda each: each.stat().st_mtime)
    return drill_row(receipt.read(file)["body"], name)


def measure(site_name: str, mib: int, rounds: int) -> list[Row]:
    """Measure everything.

    Raises:
        MeasureError: something failed, or did not come back as it was.
    """
    site = load_site(site_name)
    with ground(site, mib) as now:
        times: Times = {}
        for _ in range(rounds):
            one(now, times)
        moments = tuple(to_marker(now) for _ in range(rounds))
    own = next(each.name for each in data_sets(site) if each.kind is Kind.POSTGRESQL)
    to_moment = Row(section=SECTION, what="restore to a moment between two rows", unit="s", values=moments)
    return [*rows(now.size, times), to_moment, drilled(site, own)]


@click.command()
@click.option("--site", default="lab", show_default=True)
@click.option("--mib", type=click.IntRange(min=16), default=256, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
def main(site: str, mib: int, rounds: int) -> None:
    """Measure backup, restore and drill."""
    try:
        for row in measure(site, mib, rounds):
            click.echo(json.dumps(row.data()))
    except (MeasureError, TinhError, subprocess.SubprocessError) as error:
        click.echo(f"error: could not measure: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
