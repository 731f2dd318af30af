"""`python -m tests.bench`: measure, print tables, and write JSON.

Exit code 0 when everything was measured, whether goals are met or not; 1 when something could not be.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from infra import timings
from infra.errors import TinhError
from infra.model.site import load_site
from tests.bench import address, render, routers
from tests.bench.contest import Contest, Result
from tests.bench.measure import MeasureError, Sample, run

HELP_GOAL = 0.150


def machine() -> dict[str, object]:
    """Return what the numbers depend on."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / 2**30, 1),
        "kernel": platform.release(),
        "load": os.getloadavg()[0],
    }


def phases(site: str) -> list[dict[str, object]]:
    """Return the last cold and the last warm time of every recorded phase."""
    last = {(row.phase, row.cold): row for row in timings.read(site)}
    return [
        {"phase": row.phase, "cold": row.cold, "seconds": row.seconds, "at": row.at}
        for _, row in sorted(last.items(), key=lambda item: (item[0][0], not item[0][1]))
    ]


def start(rounds: int) -> Sample:
    """Measure `tinh --help`."""
    tinh = Path(sys.prefix) / "bin" / "tinh"
    return Sample(tuple(run([tinh, "--help"], dict(os.environ)) for _ in range(rounds)))


def contest(site_name: str, counts: list[int], rounds: int) -> list[Result]:
    """Measure Pulumi against kubectl on a site."""
    from cli.runner import environment

    site = load_site(site_name)
    if site_name == "sim":
        from lab.sim.engine import Sim

        Sim().up()
    from lab.toolchain import ensure

    ensure(["pulumi", "pulumi-language-python", "pulumi-kubernetes"])
    # what the runner's children have: the caller's variables but Pulumi's, and those of the site
    mine = {name: value for name, value in os.environ.items() if not name.startswith("PULUMI_")}
    env = {**mine, **environment(site), "TINH_BENCH_SITE": site.name}
    with tempfile.TemporaryDirectory(prefix="tinh-bench-") as folder:
        both = Contest(env, Path(folder))
        with both.cluster():
            return [result for count in counts for result in both.rounds(count, rounds)]


@click.command()
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), help="Also write the report to this file."
)
@click.option("--site", default="sim", show_default=True, help="Site whose cluster is used.")
@click.option("--objects", "counts", multiple=True, type=int, default=(150, 1000), show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
def main(json_file: Path | None, site: str, counts: tuple[int, ...], rounds: int) -> None:
    """Measure what tinh and Pulumi cost."""
    try:
        first = machine()
        began = start(11)
        plans = address.measure(rounds)
        rendered = render.measure(address.SITE, address.EPOCH, rounds)
        changed = routers.measure("lab", rounds) if lab_runs() else []
        results = contest(site, list(counts), rounds)
    except (MeasureError, TinhError) as error:
        click.echo(f"error: could not measure: {error}", err=True)
        sys.exit(1)
    report = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "site": site,
        "machine": first,
        "phases": phases(site),
        "help": began.data() | {"allowed": HELP_GOAL, "met": began.seconds <= HELP_GOAL},
        "address": [result.data() for result in plans],
        "render": rendered,
        "routers": [result.data() for result in changed],
        "contest": [result.data() for result in results],
    }
    if json_file:
        json_file.write_text(json.dumps(report, indent=1) + "\n")
    show(report, results, plans, began)
    show_network(rendered, changed)


def lab_runs() -> bool:
    """Return whether the lab of this instance runs; it is not brought up for timings."""
    from lab.up import is_up

    return is_up("lab")


def show_network(rendered: dict[str, object], changed: list[routers.Result]) -> None:
    """Print what concerns routers."""
    console = Console(width=max(120, Console().width))
    console.print(
        f"render: {rendered['devices']} routers of {rendered['site']} {rendered['epoch']}, "
        f"{rendered['files']} files in {rendered['seconds']} s (goal {rendered['goal']} s): "
        f"{verdict(bool(rendered['met']))}"
    )
    if not changed:
        console.print("routers: the lab is not up, so changing them was not measured")
        return
    table = Table(
        "way", "routers", "seconds", "CPU s", "to plain Ansible", title="change the filter of every router"
    )
    base = next(result.sample.seconds for result in changed if result.way == routers.WAYS[-1])
    for result in changed:
        data, ratio = result.sample.data(), result.sample.seconds / base
        table.add_row(result.way, str(result.routers), text(result.sample), str(data["cpu"]), f"{ratio:.2f}")
    console.print(table)


def verdict(met: bool) -> str:
    """Return the words for a goal."""
    return "[green]met[/]" if met else "[red]not met[/]"


def text(sample: Sample) -> str:
    """Return median and spread."""
    seconds = [run.seconds for run in sample.runs]
    return f"{sample.seconds:.1f} ({min(seconds):.1f}-{max(seconds):.1f})"


def show(report: dict, results: list[Result], plans: list[address.Result], began: Sample) -> None:
    """Print the report."""
    console = Console(width=max(120, Console().width))
    facts = report["machine"]
    console.print(
        f"{facts['cores']} cores, {facts['memory_gib']} GiB, kernel {facts['kernel']}, "
        f"load {facts['load']:.1f} at the start; site {report['site']}"
    )
    if report["site"] == "sim":
        from lab.sim.engine import SIMULATED

        console.print(SIMULATED)
    table = Table("phase", "cold", "seconds", "measured", title="phases (last run of each)")
    for row in report["phases"]:
        table.add_row(row["phase"], "cold" if row["cold"] else "warm", f"{row['seconds']:.1f}", row["at"])
    console.print(table)

    columns = (
        "objects",
        "step",
        "pulumi s",
        "kubectl s",
        "ratio",
        "allowed s",
        "goal",
        "peak MiB pulumi/kubectl",
    )
    table = Table(*columns, title="median (min-max) of the rounds")
    for result in results:
        sides = [text(side) for side in (result.pulumi, result.kubectl)]
        peaks = "/".join(f"{side.peak / 2**20:.0f}" for side in (result.pulumi, result.kubectl))
        ratio = f"{result.pulumi.seconds / result.kubectl.seconds:.1f}"
        table.add_row(
            str(result.count), result.step, *sides, ratio, f"{result.allowed:.1f}", verdict(result.met), peaks
        )
    console.print(table)
    table = Table("address plan", "prefixes", "seconds", "allowed s", "goal", title="compile and prove")
    for plan in plans:
        seconds = f"{plan.sample.seconds:.2f}"
        table.add_row(plan.case, str(plan.prefixes), seconds, f"{plan.allowed:.1f}", verdict(plan.met))
    console.print(table)
    met = verdict(report["help"]["met"])
    console.print(f"tinh --help: {began.seconds * 1000:.0f} ms (goal {HELP_GOAL * 1000:.0f} ms): {met}")


if __name__ == "__main__":
    main()
