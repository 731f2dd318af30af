"""`python -m tests.bench.failover`: PostgreSQL loses or changes its primary while a client writes.

- `failover`: the primary's pod is killed without grace;
- `switchover`: another instance is made the primary, as `kubectl cnpg promote` asks for it: by the cluster's status.

The client is a pod that writes a numbered row every 50 ms through the rw Service with libpq's shortest limits: two
seconds for a connection, for each address of the Service. Its outage is the longest time without an acknowledged row. A
round is over when both instances are ready and one streams from the other again.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from infra.errors import TinhError
from infra.model.site import load_site
from tests.bench.database import CLUSTERS, BenchDatabase, database, settled, wait
from tests.bench.figures import Row, percentile_at_most
from tests.bench.manifests import SPACE
from tests.bench.measure import MeasureError
from tests.bench.writes import lost, outage, parse

SECTION = "failover"
INSTANCES = 2
WRITER = Path(__file__).parent / "clients" / "writer.py"
#: Seconds between two rows, of writing before and after, and in which the client ends by itself.
INTERVAL, CALM, LONGEST = 0.05, 3.0, 300.0
#: Goals in seconds: the client's outage (p95), and until two instances stream again.
GOALS = {"switchover": 10.0, "failover": 20.0}
RECOVERED = 60.0
#: Seconds between two looks at the cluster, each of which costs the machine half a second.
LOOK = 3.0


@dataclass(frozen=True)
class Round:
    """What one round has cost, in seconds."""

    outage: float
    recovered: float


def promote(made: BenchDatabase) -> Callable[[], bool]:
    """Ask for the other instance to be the primary; return what tells whether it is and all is well again.

    Source: CloudNativePG 1.30, internal/cmd/plugin/promote/promote.go.
    """
    now = made.cluster
    target = next(name for name in now["status"]["instanceNames"] if name != now["status"]["currentPrimary"])
    status = {
        "targetPrimary": target,
        "targetPrimaryTimestamp": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "phase": "Switchover in progress",
        "phaseReason": f"Switching over to {target}",
    }
    how = ("--subresource=status", "--type=merge", "--patch", json.dumps({"status": status}))
    made.kubectl.text("--namespace", SPACE, "patch", CLUSTERS, made.name, *how)
    return lambda: settled(made.cluster, made.instances(), INSTANCES, primary=target)


def kill(made: BenchDatabase) -> Callable[[], bool]:
    """Kill the primary's pod; return what tells whether all is well again without it.

    One second is the shortest grace with which the kubelet sees to it that the processes end: with `--force` the pod is
    only forgotten.
    """
    primary = made.primary
    pod = next(each for each in made.instances() if each["metadata"]["name"] == primary)
    words = ("delete", "pod", primary, "--grace-period=1", "--wait=false")
    made.kubectl.text("--namespace", SPACE, *words)
    return lambda: settled(made.cluster, made.instances(), INSTANCES, gone=pod["metadata"]["uid"])


EVENTS = {"switchover": promote, "failover": kill}


def streams(made: BenchDatabase) -> bool:
    """Return whether another instance streams from the primary."""
    try:
        return made.sql("select count(*) from pg_stat_replication where state = 'streaming'") == "1"
    except TinhError:
        return False  # it is just being replaced


def one(made: BenchDatabase, event: str) -> Round:
    """Do one round.

    Raises:
        MeasureError: an acknowledged row is lost, or the cluster does not recover.
    """
    made.sql("truncate numbers")
    command = ["/venv/bin/python3", "-c", WRITER.read_text("utf-8"), str(LONGEST), str(INTERVAL)]
    with made.application(command) as client:
        time.sleep(CALM)
        began = time.monotonic()
        well = EVENTS[event](made)
        wait(lambda: well() and streams(made), LONGEST - 2 * CALM, f"two instances after a {event}", LOOK)
        recovered = time.monotonic() - began
        time.sleep(CALM)
        acks = parse(made.kubectl.text("--namespace", SPACE, "logs", client).splitlines())
    there = json.loads(made.sql("select coalesce(json_agg(n), '[]') from numbers"))
    if gone := lost(acks, there):
        raise MeasureError(f"{event}: {len(gone)} acknowledged row(s) are lost, the first is {gone[0]}")
    return Round(outage(acks, INTERVAL), recovered)


def measure(site: str, rounds: int) -> list[Row]:
    """Measure both events.

    Raises:
        MeasureError: a row was lost, or something did not come up.
    """
    with database(load_site(site), INSTANCES, "1Gi") as made:
        made.sql("create table numbers (n integer primary key); grant all on numbers to bench")
        seen = {event: [one(made, event) for _ in range(rounds)] for event in EVENTS}
    return [row for event, found in seen.items() for row in rows(event, found)]


def rows(event: str, found: list[Round]) -> list[Row]:
    """Return the rows of one event."""
    outages, recovered = tuple(r.outage for r in found), tuple(r.recovered for r in found)
    return [
        Row(
            section=SECTION, what=f"{event}: the client's outage", unit="s", values=outages, percent=95,
            goal=percentile_at_most(GOALS[event]),
        ),
        Row(
            section=SECTION, what=f"{event}: two instances stream again", unit="s", values=recovered, percent=95,
            goal=percentile_at_most(RECOVERED),
        ),
    ]  # fmt: skip


@click.command()
@click.option("--site", default="lab", show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
def main(site: str, rounds: int) -> None:
    """Measure losing and changing the primary."""
    try:
        for row in measure(site, rounds):
            click.echo(json.dumps(row.data()))
    except (MeasureError, TinhError) as error:
        click.echo(f"error: could not measure: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
