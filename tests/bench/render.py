"""`python -m tests.bench.render`: compile and render every router of a province; goal: 2 s for the reference one.

The plan is compiled before: it has a goal of its own. Nothing is kept between rounds but what is loaded.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import click

from infra.address.plan import plan_at
from infra.errors import TinhError
from infra.model.province import load_record
from infra.network.fabric import Fabric
from infra.render.router import Renderer
from tests.bench.figures import Row, at_most

GOAL = 2.0  # seconds


def measure(site: str, epoch: str | None, rounds: int) -> dict[str, Any]:
    """Return the times of several rounds, wall clock and of this process's processor time, in seconds."""
    plan = plan_at(load_record(site), epoch)
    wall, cpu, texts = [], [], {}
    for _ in range(rounds):
        began, used = time.perf_counter(), time.process_time()
        texts = Renderer(Fabric(plan)).all_files()
        wall.append(time.perf_counter() - began)
        cpu.append(time.process_time() - used)
    best = sorted(wall)[len(wall) // 2]
    return {
        "site": site,
        "epoch": plan.province.epoch,
        "devices": len(texts),
        "files": sum(map(len, texts.values())),
        "bytes": sum(len(text.encode()) for files in texts.values() for text in files.values()),
        "seconds": round(best, 3),
        "rounds": [round(value, 3) for value in wall],
        "cpu": [round(value, 3) for value in cpu],
        "goal": GOAL,
        "met": best <= GOAL,
    }


def row(found: dict[str, Any]) -> Row:
    """Return the line of what `measure` has found."""
    what = f"{found['devices']} routers of {found['site']} {found['epoch']}, {found['files']} files"
    return Row(section="render", what=what, unit="s", values=tuple(found["rounds"]), goal=at_most(GOAL))


@click.command()
@click.option("--site", default="quang-binh", show_default=True)
@click.option("--epoch", default="2023", show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
def main(site: str, epoch: str, rounds: int) -> None:
    """Measure rendering."""
    try:
        click.echo(json.dumps(measure(site, epoch, rounds)))
    except TinhError as error:
        click.echo(f"error: could not measure: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
