"""`tinh toolchain`: every tool and image, from the official release or built from package registries."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, NoReturn

import click

from infra.errors import TinhError

if TYPE_CHECKING:
    from lab.toolchain.engine import Engine
    from lab.toolchain.model import Tool

_SOURCE = click.option(
    "--source",
    type=click.Choice(["auto", "official", "build"]),
    default="auto",
    show_default=True,
    help="Where from; auto takes the official releases when their hosts answer.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Get or build every tool and image."""
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(number: int, frame: object) -> NoReturn:
    """End a background run like Ctrl-C does: commands are stopped and the cache stays resumable."""
    del number, frame
    raise KeyboardInterrupt


def _names(engine: Engine, names: tuple[str, ...], stage: str | None, everything: bool) -> list[str]:
    from lab.toolchain.catalogue import STAGES

    if sum((bool(names), stage is not None, everything)) != 1:
        raise TinhError(
            "name tools, or one of --stage and --all",
            where="command line",
            fix=f"for example: tinh toolchain get --stage {STAGES[0]}",
        )
    return engine.catalogue.select(names or stage or STAGES[-1])


@command.command()
@click.argument("names", nargs=-1)
@click.option(
    "--stage",
    help="All tools of a stage and of the stages before it: lab, base, data, platforms, sim, bench.",
)
@click.option("--all", "everything", is_flag=True, help="All tools.")
@click.option(
    "-k", "--keep-going", is_flag=True, help="After a failure go on with what does not depend on it."
)
@click.option(
    "-j", "--jobs", type=click.IntRange(1, 16), default=2, show_default=True, help="Builds at once."
)
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@_SOURCE
def get(
    names: tuple[str, ...],
    stage: str | None,
    everything: bool,
    keep_going: bool,
    jobs: int,
    quiet: bool,
    source: str,
) -> None:
    """Get tools: nothing happens for those that are there."""
    from lab.toolchain.engine import engine

    found = engine(source)
    wanted = _names(found, names, stage, everything)
    for name, folder in found.ensure(
        wanted, progress=not quiet, keep_going=keep_going, parallel=jobs
    ).items():
        click.echo(f"{name} {folder}")


@command.command()
@click.argument("names", nargs=-1, required=True)
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def build(names: tuple[str, ...], quiet: bool) -> None:
    """Build tools from package registries, also where official releases could be had."""
    from lab.toolchain.engine import engine

    found = engine("build")
    for name, folder in found.ensure(found.catalogue.select(names), progress=not quiet).items():
        click.echo(f"{name} {folder}")


@command.command(name="list")
@_SOURCE
def show(source: str) -> None:
    """List all tools: version, stage, what is in the cache, and how it was checked."""
    from rich.console import Console
    from rich.table import Table

    from lab.toolchain.engine import engine

    found = engine(source)
    table = Table(box=None, pad_edge=False)
    for title in (
        "tool",
        "version",
        "kind",
        "stage",
        "in cache",
        "release",
        "checksum",
        "signature",
        "built by",
    ):
        table.add_column(title, overflow="fold")
    for tool in found.catalogue:
        cells = (
            tool.name,
            tool.version,
            tool.kind,
            tool.stage,
            _state(found, tool),
            *_release(tool),
            tool.build.kind,
        )
        table.add_row(*cells)
    # A pipe has no width: print whole lines for grep.
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def _state(found: Engine, tool: Tool) -> str:
    """Tell what is in the cache."""
    try:
        folder = found.present(tool.name)
    except TinhError:
        return "DAMAGED"
    return found.store.manifest(folder)["source"] if folder else "-"


def _release(tool: Tool) -> tuple[str, str, str]:
    """Tell what an official release consists of and how checksum and signature are checked."""
    if not tool.official:
        return "none", "-", "-"
    if tool.official.image:
        return "image", "pinned" if tool.official.image.digest else "not pinned", "not verified"
    items = tool.official.downloads
    checksum = "pinned" if all(item.sha256 for item in items) else "publisher's"
    return "files", checksum, "not verified" if any(item.signature_url for item in items) else "none"


@command.command()
@click.argument("names", nargs=-1)
def verify(names: tuple[str, ...]) -> None:
    """Hash every file of cached artifacts (of all when none is named) and compare with the manifests."""
    from lab.toolchain.engine import engine

    found = engine()
    selected = found.catalogue.select(names) if names else [tool.name for tool in found.catalogue]
    damaged: list[TinhError] = []
    for name in selected:
        for folder in found.folders(name):
            try:
                found.store.check(folder, thorough=True)
                click.echo(f"ok      {folder.name}")
            except TinhError as error:
                click.echo(f"DAMAGED {folder.name}", err=True)
                damaged.append(error)
    if damaged:
        raise damaged[0]


@command.command()
@click.argument("name")
@_SOURCE
def why(name: str, source: str) -> None:
    """Tell why a tool is here, who needs it, where it comes from and how it is checked."""
    from lab.toolchain.engine import engine
    from lab.toolchain.sources import choose

    found = engine(source)
    tool = found.catalogue[name]
    wanted = choose(found.catalogue, source)
    release, checksum, signature = _release(tool)
    times = found.store.durations()
    lines = {
        "why": tool.why,
        "stage": f"{tool.stage}{', on PATH' if tool.host else ''}",
        "needs": ", ".join(found.needs(name, wanted)) or "nothing",
        "needed by": ", ".join(found.catalogue.dependents(name)) or "no other tool",
        "source now": found.catalogue.source(name, wanted),
        "official": f"{release}, checksum {checksum}, signature {signature}",
        "closed network": tool.build.model_dump_json(exclude_defaults=True),
        "key": found.catalogue.key(name, wanted),
        "state": _state(found, tool),
        "last build": f"{times[name]:.0f} s" if name in times else "not on this machine",
    }
    click.echo(f"{tool.name} {tool.version} ({tool.kind})")
    for title, text in lines.items():
        click.echo(f"  {title + ':':16}{text}")
    for item in tool.official.downloads if tool.official else []:
        click.echo(f"  {'download:':16}{tool.fill(item.url)}")
        against = item.sha256 or tool.fill(item.checksum_url or "")
        click.echo(f"  {'checked with:':16}{against}")
    for folder in found.folders(name):
        click.echo(f"  {'cached:':16}{folder}")
        for item in found.store.manifest(folder)["evidence"]:
            click.echo(f"  {'downloaded:':16}{item['url']} sha256 {item['sha256']}")
            click.echo(f"  {'':16}checksum: {item['checksum']}; signature: {item['signature']}")


@command.command()
@click.option("--go/--no-go", "caches", default=True, help="Also remove Go's build and module caches.")
@click.option("-n", "--dry-run", is_flag=True, help="Only tell what would be removed.")
def prune(caches: bool, dry_run: bool) -> None:
    """Remove build caches, downloads, leftovers, and artifacts that the catalogue no longer names."""
    from lab.toolchain import store
    from lab.toolchain.engine import engine

    found = engine()
    total = 0
    for path in found.garbage(caches=caches):
        freed = store.size(path) if path.is_dir() else path.stat().st_size
        total += freed
        click.echo(f"{freed / 2**20:9.0f} MiB  {path}")
        if not dry_run:
            store.discard(path)
    click.echo(f"{total / 2**20:9.0f} MiB  {'would be removed' if dry_run else 'removed'}")
