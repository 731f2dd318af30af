"""`tinh net`: the address plan of a site's province, and the map of its network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from cli.options import json_option, site_option

if TYPE_CHECKING:
    from infra.address.ledger import Ledger
    from infra.address.plan import Plan
    from infra.model.province import Record

epoch_option = click.option("--epoch", help="Epoch in province.yaml; default: the current one.")


@click.group()
def command() -> None:
    """The address plan: prefixes of every unit for every purpose, in both families, with a proof; and the map."""


@command.command()
@site_option
@epoch_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "csv", "html"]),
    default="table",
    show_default=True,
)
@click.option("--write", is_flag=True, help="Record the plan in the ledger plan.json beside the site's data.")
def plan(site: str, epoch: str | None, form: str, write: bool) -> None:
    """Print the address plan; it is checked before."""
    from infra.address import ledger as book
    from infra.address.plan import recorded

    record, before = recorded(site)
    found, document = _proved(record, epoch, before)
    if form == "json":
        click.echo(json.dumps(document, indent=1, ensure_ascii=False))
    elif form == "table":
        _table(found)
    else:
        from infra.render.plan import render_csv, render_html

        click.echo(render_csv(found) if form == "csv" else render_html(found), nl=False)
    if write:
        file = record.folder / book.FILE
        book.write(file, site, found.ledger)
        click.echo(f"written: {file} ({len(found.ledger.blocks)} blocks); commit it", err=True)


@command.command()
@site_option
@click.option("--epoch", "epochs", multiple=True, help="Only this epoch; may be repeated. Default: all.")
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
def check(site: str, epochs: tuple[str, ...], file: Path | None) -> None:
    """Prove the plans of all epochs, or a plan in FILE as `plan --format json` prints it.

    Of the zone rules, those that let nothing pass in any of these epochs are named as warnings.
    """
    from infra.address.plan import recorded

    if file:
        document = _read(file)
        _verify(document, str(file))
        click.echo(_proof(document))
        return
    record, before = recorded(site)
    proved = [_proved(record, epoch, before) for epoch in epochs or record.epochs]
    for _, document in proved:
        click.echo(_proof(document))
    _idle(record, [plan for plan, _ in proved])


@command.command()
@site_option
@json_option
@click.argument("a")
@click.argument("b")
def diff(site: str, as_json: bool, a: str, b: str) -> int:
    """Show what differs between two plans, each an epoch or a JSON file; exit 3 when something does."""
    from dataclasses import asdict

    from infra.address.diff import changes
    from infra.errors import Exit

    found = changes(*(_document(site, name) for name in (a, b)))
    if as_json:
        click.echo(json.dumps([asdict(change) for change in found], indent=1, ensure_ascii=False))
    for change in [] if as_json else found:
        prefix = " -> ".join(text for text in (change.before, change.after) if text)
        click.echo(f"{change.kind:10} {change.unit} {change.unit_name} {change.purpose} {prefix}")
    return Exit.CHANGES if found else Exit.OK


@command.command()
@site_option
@epoch_option
@json_option
@click.argument("address")
def who(site: str, epoch: str | None, as_json: bool, address: str) -> int:
    """Say whose an ADDRESS is; exit 2 when it is not of the registered space."""
    from dataclasses import asdict

    from infra.address.plan import plan_at, recorded
    from infra.errors import Exit

    record, before = recorded(site)
    found = plan_at(record, epoch, before)
    owner = found.who(address)
    if owner is None:
        click.echo(json.dumps(None) if as_json else f"{address}: outside the registered space of {site}")
        return Exit.INPUT
    unit = found.province.by_code.get(owner.unit)
    name = unit.name if unit else ""
    if as_json:
        click.echo(json.dumps(asdict(owner) | {"unit_name": name}, ensure_ascii=False))
    else:
        facts = (owner.state, owner.prefix, owner.domain, owner.unit, name, owner.purpose, owner.detail)
        click.echo(f"{address}: " + ", ".join(fact for fact in facts if fact))
    return Exit.OK


@command.command("map")
@site_option
@epoch_option
@click.option(
    "--state",
    "states",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='JSON file: router -> "up", "down" or "unknown", or {"state": ..., "text": ...}.',
)
@click.option("--format", "form", type=click.Choice(["html", "svg"]), default="html", show_default=True)
@click.option(
    "--output", type=click.File("w", encoding="utf-8"), default="-", help="File; default: standard output."
)
def draw(site: str, epoch: str | None, states: Path | None, form: str, output: IO[str]) -> None:
    """Draw the network: zones, core, the carrier's planes, units with their routers, links; to look at in a browser."""
    from infra.network.of_site import fabric_of
    from infra.network.state import read_states
    from infra.render.map import render_page, render_svg

    topology = fabric_of(site, epoch).topology
    seen = read_states(states, set(topology.names.values())) if states else None
    output.write((render_page if form == "html" else render_svg)(topology, seen))


def _proved(record: Record, epoch: str | None, before: Ledger) -> tuple[Plan, dict[str, Any]]:
    """Return a plan that has passed the check, and its document."""
    from infra.address.plan import plan_at

    found = plan_at(record, epoch, before)
    document = found.document()
    _verify(document, f"plan of {record.facts.name}, epoch {found.province.epoch}")
    return found, document


def _idle(record: Record, plans: list[Plan]) -> None:
    """Name the rules that let nothing pass in any of the plans."""
    from infra.network.of_site import fabric_at

    found = [{idle.number: idle for idle in fabric_at(plan).policy.idle_rules()} for plan in plans]
    for number, idle in found[-1].items():
        if all(number in each for each in found):
            click.echo(
                f"warning: rule {idle.rule.label} lets nothing pass: {idle.reason}; {idle.fix} "
                f"({record.folder / 'network.yaml'}: zoning.rules.{number})",
                err=True,
            )


def _verify(document: dict[str, Any], where: str) -> None:
    from infra.address.verify import verify
    from infra.errors import TinhError

    try:
        problems = verify(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise TinhError(
            f"no plan: {type(error).__name__}: {error}",
            where=where,
            fix="give a file of `tinh net plan --format json`",
        ) from None
    if problems:
        shown = "\n  ".join(problems[:20])
        more = f"\n  and {len(problems) - 20} more" if len(problems) > 20 else ""
        raise TinhError(
            f"{len(problems)} problem(s):\n  {shown}{more}",
            where=where,
            fix="do not use this plan; make it anew",
        )


def _document(site: str, name: str) -> dict[str, Any]:
    from infra.address.plan import plan_at, recorded

    if Path(name).is_file():
        document = _read(Path(name))
        _verify(document, name)
        return document
    record, before = recorded(site)
    return plan_at(record, name, before).document()


def _read(file: Path) -> Any:  # noqa: ANN401 - what is in it is checked by `verify`
    from infra.model.base import read_json

    return read_json(file, fix="give a file of `tinh net plan --format json`")


def _proof(document: dict[str, Any]) -> str:
    return (
        f"{document['site']}, {document['epoch']}: {len(document['units'])} units, {len(document['allocations'])} "
        f"prefixes, {len(document['held'])} in quarantine; no overlap, inside the registered space, large enough"
    )


def _table(found: Plan) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table("unit", "name", "purpose", "domain", "IPv6", "IPv4", "vlan", box=box.SIMPLE_HEAD)
    purposes = found.province.network.purposes
    for unit in found.province.units:
        for name in found.purposes(unit.code):
            rule = purposes[name]
            pair = found.of(unit.code, name).pair()
            table.add_row(unit.code, unit.name, name, rule.domain, *pair, str(rule.vlan or ""))
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    console.print(table)
