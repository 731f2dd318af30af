"""`tinh drill`: whether backups can be restored, as a signed receipt."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.copies import Backups, counter, identity_option, kit_option, now, open_backups
from cli.options import json_option, public_key, site_option

if TYPE_CHECKING:
    from infra.backup.drill import Result
    from infra.backup.sets import DataSet


@click.group()
def command() -> None:
    """Prove that backups can be restored: measure, compare, sign; check receipts offline."""


@command.command()
@site_option
@click.option("--data-set", "names", multiple=True, help="Only this data set; may be repeated.")
@click.option("--from", "source", metavar="COPY", help="This copy; default: the farthest.")
@click.option(
    "--due", is_flag=True, help="Only data sets whose proof is older than three quarters of its limit."
)
@identity_option
@kit_option
def run(
    site: str, names: Sequence[str], source: str | None, due: bool, identity: Path | None, kit: Path | None
) -> int:
    """Restore the newest backups beside everything, compare them with what was recorded, and clean up.

    Writes a receipt that is signed by the province; exit 3 when something is not proven. What serves is not touched.
    """
    from infra import receipt
    from infra.backup import drill
    from infra.errors import Exit
    from infra.model.site import SiteKind

    backups = open_backups(site, kit)
    chosen = backups.choose(names)
    if due:
        late = drill.overdue([_sooner(one) for one in chosen], drill.last_passed(site), now())
        chosen = [one for one in chosen if one.name in late]
    at, key, results = now(), backups.identity(identity), []
    for data_set in chosen:
        result = _one(backups, data_set, source or "", key)
        click.secho(result.line(), fg=None if result.passed else "red")
        results.append(result)
    if not results:
        click.echo("nothing is due")
        return Exit.OK
    lab = backups.site.kind is SiteKind.LAB
    content = drill.body(backups.site, results, at, "all machines are on one host" if lab else "")
    signer = receipt.province_key(site)
    file = drill.folder(site) / f"drill-{site}-{at:%Y%m%dT%H%M%SZ}.json"
    file.parent.mkdir(exist_ok=True, mode=0o700)
    file.write_text(json.dumps(receipt.sign(content, signer), indent=1, ensure_ascii=False) + "\n", "utf-8")
    click.echo(f"{file}; signed by key {receipt.fingerprint(receipt.public_text(signer))}")
    return Exit.OK if content["passed"] else Exit.CHANGES


def _one(backups: Backups, data_set: DataSet, source: str, identity: str) -> Result:
    from cli import locks
    from infra import paths
    from infra.backup import drill
    from infra.backup.plan import plan_restore

    with locks.data_lock(paths.state(backups.site.name), data_set.name, "tinh drill run"):
        copies = backups.look("reader", data_set.name)[::-1]
        plan = plan_restore(data_set, copies, now(), into="a sealed place", only=source)
        vault = next(one for one in backups.vaults("reader") if one.name == plan.source)
        return drill.run(
            backups.site,
            plan,
            vault,
            identity,
            lambda text: click.echo(text, err=True),
            counter(data_set.name),
        )


def _sooner(data_set: DataSet) -> DataSet:
    import dataclasses

    return dataclasses.replace(data_set, drill_days=data_set.drill_days * 3 // 4)


@command.command()
@site_option
@json_option
def status(site: str, as_json: bool) -> int:
    """Show when each data set was proven last; exit 3 when one is overdue. Looks at receipts only."""
    from infra.backup import drill
    from infra.errors import Exit

    backups = open_backups(site)
    passed = drill.last_passed(site)
    late = drill.overdue(backups.sets, passed, now())
    if as_json:
        at = {name: moment.isoformat() for name, moment in passed.items()}
        rows = {one.name: {"proven": at.get(one.name), "overdue": one.name in late} for one in backups.sets}
        click.echo(json.dumps(rows, indent=1))
    else:
        for one in backups.sets:
            said = late.get(one.name) or f"proven {passed[one.name]:%Y-%m-%d %H:%M} UTC"
            click.secho(f"{one.name:<18}{said}", fg="red" if one.name in late else "green")
    return Exit.CHANGES if late else Exit.OK


@command.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--key", help="The province's public key (base64), or any document that it has signed.")
def verify(file: Path, key: str | None) -> int:
    """Check receipt FILE offline: it is as it was signed (exit 7 if not); exit 3 when something in it is not proven."""
    from infra import receipt
    from infra.backup.drill import KIND
    from infra.errors import Exit, TinhError

    document = receipt.read(file)
    content = receipt.verify(document, str(file), public_key(key))
    if content.get("kind") != KIND:
        raise TinhError(
            f"a document of kind {content.get('kind')!r}, not {KIND!r}",
            where=str(file),
            fix="give a file of `tinh drill run`",
        )
    for result in content["results"]:
        word = "proven" if result["passed"] else "NOT PROVEN"
        click.echo(f"{result['data_set']}: {word}: backup {result['backup']} in {result['seconds']} s")
    mark = receipt.fingerprint(document["signature"]["key"])
    whose = (
        "the key that was given" if key else "nobody was named: compare it with what the province publishes"
    )
    click.echo(f"unchanged since {content['at']}; signed by key {mark} ({whose})")
    return Exit.OK if content["passed"] else Exit.CHANGES
