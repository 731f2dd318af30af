"""`tinh sim`: the embedded stand-in for the data centre."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from lab.sim.engine import Status


@click.group()
def command() -> None:
    """The embedded stand-in: a real control plane as processes on loopback, with simulated nodes."""


@command.command()
@click.option(
    "--nodes",
    type=click.IntRange(1, 16),
    help="Number of simulated nodes (default: as last time, at first 3).",
)
def up(nodes: int | None) -> None:
    """Start the sim, or only what is missing of it."""
    from rich.console import Console

    from lab.sim.engine import Sim

    spinner = Console(stderr=True).status("")

    def progress(text: str) -> None:
        spinner.update(text)
        spinner.start()  # only now: before, the toolchain may show its own

    try:
        status = Sim().up(nodes, progress)
    finally:
        spinner.stop()
    _show(status)


@command.command()
@click.option("--purge", is_flag=True, help="Also remove the site's passphrase, CA and Pulumi state.")
@click.option("--yes", is_flag=True, help="Do not ask before --purge.")
def down(purge: bool, yes: bool) -> None:
    """Stop the sim and remove it; its cluster and everything in it are lost."""
    from lab.sim.engine import SIMULATED, Sim

    sim = Sim()
    if purge and not yes:
        click.confirm(f"Remove {sim.state.root} with the site's passphrase, CA and Pulumi state?", abort=True)
    sim.down(purge=purge)
    click.echo(SIMULATED)
    click.echo(
        "site sim: stopped and removed" + ("" if purge else "; passphrase, CA and Pulumi state are kept")
    )


@command.command()
def status() -> None:
    """Show the processes, the API server's address and the nodes."""
    from lab.sim.engine import Sim

    _show(Sim().status())


def _show(status: Status) -> None:
    from rich.console import Console
    from rich.table import Table

    from lab.sim.engine import SIMULATED

    table = Table(box=None)
    table.add_column("process")
    table.add_column("pid", justify="right")
    table.add_column("MiB", justify="right")
    for row in status.processes:
        table.add_row(row.name, str(row.pid or "not running"), f"{row.memory / 2**20:.0f}" if row.pid else "")
    Console().print(table)
    click.echo(SIMULATED)
    state = "running" if status.running else "not running"
    where = f" at {status.url}, {status.ready_nodes} of {status.nodes} nodes ready" if status.url else ""
    click.echo(f"site sim: {state}{where}")
