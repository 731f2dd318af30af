"""`python -m tests.bench.outage`: outages of the province's network, as a client in a unit sees them in both families.

What happens and how it is watched is that of the acceptance tests (tests/acceptance/probes.py): a core router is killed
and comes back; a line goes down, or nothing passes it any more though it looks well. Values are the longest time
without an answer in a round.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import click

from infra.errors import TinhError
from infra.model.site import load_site
from lab.outside.probe import FAMILIES
from tests.acceptance.probes import COMMUNE, DISTRICT, Net, seen
from tests.bench.figures import Row, percentile_at_most
from tests.bench.measure import MeasureError

SECTION = "network"
#: Goals in seconds: for a line, and for a core router.
LINE, CORE = 1.0, 3.0
CORES = ("core1", "core2")
#: Seconds of calm before, and that a fault of each kind lasts.
CALM, LINE_LASTS, CORE_LASTS = 1.0, 4.0, 8.0
TITLES = {"ipv6": "IPv6", "ipv4": "IPv4"}


def longest(flows: Sequence[dict[str, Any]], family: str) -> float:
    """Return the longest outage of a family's flows in seconds.

    Raises:
        MeasureError: a flow got hardly any answer at all, so that nothing was measured.
    """
    mine = [each for each in flows if each["flow"][3] == family]
    for each in mine:
        if each["answered"] <= each["sent"] / 2:
            raise MeasureError(
                f"{' '.join(each['flow'])}: {each['answered']} answers to {each['sent']} packets"
            )
    if not mine:
        raise MeasureError(f"no flow of {family} was watched")
    return max(each["longest"] for each in mine)


def core(net: Net, machine: str) -> dict[str, float]:
    """Lose a core router; return the outage of each family."""
    with net.watch(COMMUNE + DISTRICT) as watch:
        time.sleep(CALM)
        with net.machine_lost(machine):
            time.sleep(CORE_LASTS)
        net.settle()
        flows = seen(f"{machine} lost and back", watch)
    return {family: longest(flows, family) for family in FAMILIES}


def line(net: Net, fault: str, family: str) -> float:
    """Lose the line that a family's packets take; return their outage."""
    end = net.plane_end(family)
    with net.watch(DISTRICT) as watch:
        time.sleep(CALM)
        with getattr(net, f"line_{fault}")(*end):
            time.sleep(LINE_LASTS)
        net.settle()
        return longest(seen(f"line {fault}", watch), family)


def measure(site: str, rounds: int) -> list[Row]:
    """Measure every fault.

    Raises:
        MeasureError: nothing was answered.
    """
    net = Net(load_site(site))
    found: dict[tuple[str, str], list[float]] = {}
    net.settle()
    for _ in range(rounds):
        for machine in CORES:
            for family, value in core(net, machine).items():
                found.setdefault(("core router lost", family), []).append(value)
        for fault in ("down", "silent"):
            for family in FAMILIES:
                found.setdefault((f"line {fault}", family), []).append(line(net, fault, family))
    return rows(found)


def rows(found: dict[tuple[str, str], list[float]]) -> list[Row]:
    """Return the rows of all faults.

    Args:
        found: fault and family -> outages in seconds.
    """
    return [
        Row(
            section=SECTION, what=f"{fault}: a client's outage, {TITLES[family]}", unit="s", values=tuple(values),
            percent=95, goal=percentile_at_most(CORE if fault.startswith("core") else LINE),
        )
        for (fault, family), values in found.items()
    ]  # fmt: skip


@click.command()
@click.option("--site", default="lab", show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
def main(site: str, rounds: int) -> None:
    """Measure outages of the network."""
    try:
        for row in measure(site, rounds):
            click.echo(json.dumps(row.data()))
    except (MeasureError, TinhError, AssertionError) as error:
        click.echo(f"error: could not measure: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
