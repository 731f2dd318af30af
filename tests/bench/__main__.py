"""`python -m tests.bench`: measure section by section, print one table, and write JSON.

A section that fails does not keep the next ones from being measured; one that needs the lab is left out where that is
not up, and named. Exit code 0 when everything was measured, whether goals are met or not; 1 when something failed.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape

from cli.copies import stop_cleanly
from infra import timings
from infra.errors import TinhError
from infra.model.site import load_site
from tests.bench import address, backup, failover, gateway, outage, render, restore, routers
from tests.bench.contest import Contest, Result
from tests.bench.figures import Row, at_most, table
from tests.bench.machines import find_tools
from tests.bench.measure import MeasureError, Sample, run

HELP_GOAL = 0.150
LAB = "lab"
#: Data and lines of a section.
Found = tuple[Any, Sequence[Row]]


@dataclass(frozen=True)
class Section:
    """A part of the bench.

    Args:
        name: key of its data in the report.
        measure: returns its data and its lines.
        lab: it needs the running lab.
    """

    name: str
    measure: Callable[[], Found]
    lab: bool = False


def machine() -> dict[str, Any]:
    """Return what the numbers depend on."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / 2**30, 1),
        "kernel": platform.release(),
        "load": os.getloadavg()[0],
    }


def phases(site: str) -> Found:
    """Return the last cold and the last warm time of every recorded phase; nothing is measured for it."""
    last = {(row.phase, row.cold): row for row in timings.read(site)}
    found = [row for _, row in sorted(last.items(), key=lambda item: (item[0][0], not item[0][1]))]
    data = [{"phase": r.phase, "cold": r.cold, "seconds": r.seconds, "at": r.at} for r in found]
    lines = [
        Row(
            section=f"{site} phases", what=f"{r.phase}, {'cold' if r.cold else 'warm'}, {r.at}", unit="s",
            values=(r.seconds,),
        )
        for r in found
    ]  # fmt: skip
    return data, lines


def start(rounds: int) -> Found:
    """Measure `tinh --help`."""
    tinh = Path(sys.prefix) / "bin" / "tinh"
    found = Sample(tuple(run([tinh, "--help"], dict(os.environ)) for _ in range(rounds)))
    row = Row(
        section="tinh", what="tinh --help", unit="ms", values=tuple(1000 * value for value in found.times),
        goal=at_most(1000 * HELP_GOAL, "ms"),
    )  # fmt: skip
    return found.data() | {"allowed": HELP_GOAL, "met": row.met}, [row]


def contest(site_name: str, counts: Sequence[int], rounds: int) -> list[Result]:
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


def of_results(found: Sequence[Result] | Sequence[address.Result]) -> Found:
    """Return data and lines of results."""
    return [each.data() for each in found], [each.row() for each in found]


def of_rows(found: Sequence[Row]) -> Found:
    """Return lines as data, too."""
    return [row.data() for row in found], found


def of_render(found: dict[str, Any]) -> Found:
    """Return data and line of rendering."""
    return found, [render.row(found)]


def of_routers(found: Sequence[routers.Result]) -> Found:
    """Return data and lines of changing routers."""
    return [each.data() for each in found], routers.rows(found)


def of_sealing(found: dict[str, Any]) -> Found:
    """Return data and lines of sealing."""
    return found, backup.rows(found["mib"] << 20, found["seconds"])


def sections(site: str, counts: Sequence[int], rounds: int, mib: int) -> list[Section]:
    """Return all sections, those that disturb nothing first.

    Args:
        site: whose cluster Pulumi and kubectl are compared on.
        counts: numbers of objects for that.
        rounds: of each section; losing a primary takes two more, so that there is a p95.
        mib: size of what is backed up.
    """
    return [
        Section("phases", lambda: phases(site)),
        Section("help", lambda: start(11)),
        Section("address", lambda: of_results(address.measure(rounds))),
        Section("render", lambda: of_render(render.measure(address.SITE, address.EPOCH, rounds))),
        Section("sealing", lambda: of_sealing(backup.measure(mib << 20, rounds))),
        Section("contest", lambda: of_results(contest(site, counts, rounds))),
        Section("gateway", lambda: of_rows(gateway.measure(LAB, rounds)), lab=True),
        Section("backup", lambda: of_rows(restore.measure(LAB, mib, rounds)), lab=True),
        Section("failover", lambda: of_rows(failover.measure(LAB, rounds + 2)), lab=True),
        Section("routers", lambda: of_routers(routers.measure(LAB, rounds)), lab=True),
        Section("outage", lambda: of_rows(outage.measure(LAB, rounds)), lab=True),
    ]


@dataclass
class Outcome:
    """What came of all sections."""

    data: dict[str, Any]
    rows: list[Row]
    skipped: dict[str, str]
    failed: dict[str, str]


def measure_all(wanted: Sequence[Section], lab: bool, tell: Callable[[str], None]) -> Outcome:
    """Measure section by section; after Ctrl-C what was measured is returned.

    Args:
        wanted: the sections.
        lab: whether the lab is up; it is not brought up for timings.
        tell: gets a line per section.
    """
    found = Outcome({}, [], {}, {})
    for section in wanted:
        if section.lab and not lab:
            found.skipped[section.name] = "the lab is not up"
            continue
        tell(f"measuring: {section.name}")
        try:
            found.data[section.name], rows = section.measure()
            found.rows += rows
        except KeyboardInterrupt:
            found.failed[section.name] = "interrupted; the sections after it were not measured"
            break
        except (MeasureError, TinhError) as error:
            found.failed[section.name] = str(error)
        except Exception:
            # A defect in one section must not lose what others have taken half an hour for.
            found.failed[section.name] = traceback.format_exc(limit=-3)
        if section.name in found.failed:
            tell(f"error: could not measure {section.name}: {found.failed[section.name]}")
    return found


@click.command()
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), help="Also write the report to this file."
)
@click.option("--site", default="sim", show_default=True, help="Site on whose cluster Pulumi is measured.")
@click.option("--objects", "counts", multiple=True, type=int, default=(150, 1000), show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--mib", type=click.IntRange(min=16), default=256, show_default=True, help="Size of a backup.")
@click.option("--only", multiple=True, metavar="SECTION", help="Only this section; may be repeated.")
def main(
    json_file: Path | None, site: str, counts: tuple[int, ...], rounds: int, mib: int, only: tuple[str, ...]
) -> None:
    """Measure what tinh costs, beside what one would use instead."""
    stop_cleanly()
    wanted = sections(site, counts, rounds, mib)
    if unknown := set(only) - {section.name for section in wanted}:
        names = ", ".join(section.name for section in wanted)
        raise click.UsageError(f"no section {', '.join(sorted(unknown))}; there are {names}")
    wanted = [section for section in wanted if not only or section.name in only]
    try:
        lab = lab_runs()
    except TinhError as error:  # the kubeconfig reaches a stranger's cluster
        click.echo(f"error: could not measure: {error}", err=True)
        sys.exit(1)
    first = machine()
    found = measure_all(wanted, lab, lambda line: click.echo(line, err=True))
    report = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "site": site,
        "machine": first,
        **found.data,
        "rows": [row.data() for row in found.rows],
        "skipped": found.skipped,
        "failed": found.failed,
    }
    if json_file:
        json_file.write_text(json.dumps(report, indent=1) + "\n")
    show(site, first, found)
    sys.exit(1 if found.failed else 0)


def lab_runs() -> bool:
    """Return whether the lab of this instance runs; it is not brought up for timings."""
    from lab.up import is_up

    find_tools()
    return is_up(LAB)


def show(site: str, facts: dict[str, Any], found: Outcome) -> None:
    """Print the report."""
    console = Console(width=max(180, Console().width))
    console.print(
        f"{facts['cores']} cores, {facts['memory_gib']} GiB, kernel {facts['kernel']}, "
        f"load {facts['load']:.1f} at the start; Pulumi on site {site}"
    )
    if site == "sim":
        from lab.sim.engine import SIMULATED

        console.print(SIMULATED)
    console.print(table(found.rows))
    for name, why in found.skipped.items():
        console.print(f"not measured: {name}: {why}")
    for name, why in found.failed.items():
        console.print(f"[red]failed[/]: {name}: {escape(why)}")


if __name__ == "__main__":
    main()
