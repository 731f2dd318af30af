"""`tinh backup`: copies outside the cluster, and what they are worth."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.copies import Backups, counter, kit_option, now, open_backups
from cli.options import json_option, site_option, typed

if TYPE_CHECKING:
    from infra.backup.catalogue import Copy, Entry, Standing
    from infra.backup.plan import PrunePlan
    from infra.backup.sets import DataSet
    from infra.errors import TinhError


@click.group()
def command() -> None:
    """Back up, list, verify and clear out what is kept outside the cluster."""


@command.command()
@site_option
@click.argument("names", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Also what is not due yet.")
@click.option("--whole", is_flag=True, help="Begin a new chain instead of adding to the last backup.")
def run(site: str, names: Sequence[str], everything: bool, whole: bool) -> int:
    """Back up data sets NAMES; without names all that are due: older than half of what may be lost.

    One that fails does not keep the others from being backed up. May be interrupted and repeated at any time.
    """
    from infra.errors import Exit, TinhError

    backups = open_backups(site)
    chosen = backups.choose(names)
    if not (names or everything):
        chosen = _due(backups, chosen)
        if not chosen:
            click.echo("nothing is due")
    failed: TinhError | None = None
    for data_set in chosen:
        try:
            back_up(backups, data_set, whole=whole)
        except TinhError as error:
            click.echo(f"{data_set.name}: {error}", err=True)
            failed = failed or error
    if failed:
        click.echo(f"not everything was backed up; the first reason: {failed.what}", err=True)
    return failed.code if failed else Exit.OK


def back_up(backups: Backups, data_set: DataSet, *, whole: bool = False) -> Entry:
    """Take one backup, with the data set's lock held.

    Raises:
        LockedError: another command works on it.
        TinhError: see `take_one`.
    """
    from cli import locks
    from infra import paths

    with locks.data_lock(paths.state(backups.site.name), data_set.name, "tinh backup run"):
        return take_one(backups, data_set, whole=whole)


def take_one(backups: Backups, data_set: DataSet, *, whole: bool = False) -> Entry:
    """Take one backup; the caller holds the data set's lock.

    Raises:
        TinhError: see `infra.backup.take` and the module of the kind.
    """
    import dataclasses

    from infra import receipt
    from infra.backup import keys, kinds
    from infra.backup.catalogue import new_id
    from infra.backup.source import Ground
    from infra.backup.take import take

    site = backups.site
    begun = now()
    number = new_id(begun)
    recipients, key = keys.recipients(site), receipt.province_key(site.name)
    first = backups.vaults("writer")[0]
    with kinds.of(data_set.kind).take(Ground(site, data_set, number, _say)) as taken:
        return take(
            site, data_set, dataclasses.replace(taken, whole=taken.whole or whole), first, number=number,
            begun=begun, recipients=recipients, key=key, tell=_say, progress=counter(data_set.name),
        )  # fmt: skip


@command.command("list")
@site_option
@json_option
def list_(site: str, as_json: bool) -> int:
    """Show per data set the newest good backup, its age and where the copies are; exit 3 when one is red."""
    from infra.backup.sets import unbacked
    from infra.errors import Exit

    backups = open_backups(site)
    copies = backups.look()
    found, missing = standings(backups, copies), unbacked(backups.site)
    if as_json:
        click.echo(json.dumps([one.model_dump(mode="json") for one in found], indent=1))
    else:
        for line in table(backups.sets, found):
            click.echo(line)
        for copy in copies:
            if copy.problem:
                click.secho(f"{copy.name}: {copy.problem}", fg="red")
        for name in missing:
            click.secho(f"{name}: nothing is done for it", fg="red")
    red = any(one.problems for one in found) or any(copy.problem for copy in copies) or missing
    return Exit.CHANGES if red else Exit.OK


def standings(backups: Backups, copies: Sequence[Copy]) -> list[Standing]:
    """Return how well each data set is backed up."""
    from infra.backup.catalogue import standing

    at = now()
    return [standing(one.name, one.point, copies, backups.policy.copies, at) for one in backups.sets]


def table(sets: Sequence[DataSet], found: Sequence[Standing]) -> list[str]:
    """Return the lines of `tinh backup list`."""
    from infra.backup.catalogue import size_text, text_of

    lines = [f"{'data set':<18}{'newest good':<18}{'age':>8} {'of':>7}  {'size':>10} {'kept':>5}  copies"]
    for data_set, one in zip(sets, found, strict=True):
        newest = one.newest.id if one.newest else "none"
        age = text_of(one.age) if one.age is not None else "-"
        row = (
            f"{data_set.name:<18}{newest:<18}{age:>8} {text_of(one.target):>7}  {size_text(one.total):>10}"
            f" {one.count:>5}  {', '.join(one.holders) or '-'}"
        )
        lines.append(click.style(row, fg="red" if one.problems else "green"))
        lines += [click.style(f"{'':<18}{problem}", fg="red") for problem in one.problems]
    return lines


@command.command()
@site_option
@json_option
@click.argument("name")
@click.argument("backup", required=False)
def show(site: str, name: str, backup: str | None, as_json: bool) -> None:
    """Show the backups of data set NAME, or what is recorded of one BACKUP."""
    from infra.errors import TinhError

    backups = open_backups(site)
    (data_set,) = backups.choose([name])
    copies = backups.look(data_set=data_set.name)
    found = {e.id: e for copy in copies for e in copy.entries}
    where = {number: [c.name for c in copies if e in c.entries and c.good(e)] for number, e in found.items()}
    if backup and backup not in found:
        raise TinhError(f"no backup {backup} of {name}", where=f"site {site}", fix=f"tinh backup show {name}")
    rows = [_row(e, where[e.id]) for _, e in sorted(found.items()) if backup in (None, e.id)]
    if backup or as_json:
        click.echo(json.dumps(rows[0] if backup else rows, indent=1, ensure_ascii=False))
        return
    for row in rows:
        adds = f"adds to {row['parent']}" if row["parent"] else "complete"
        click.echo(
            f"{row['id']}  {row['at']}  {row['size']:>12}  {adds:<27} {', '.join(row['good_at']) or 'DAMAGED'}"
        )


def _row(entry: Entry, where: list[str]) -> dict[str, Any]:
    return {key: value for key, value in entry.body().items() if key not in ("blobs", "index")} | {
        "good_at": where
    }


@command.command()
@site_option
@click.argument("names", nargs=-1)
@click.option("--repair", is_flag=True, help="Give a copy anew what is damaged there and whole elsewhere.")
@kit_option
def verify(site: str, names: Sequence[str], repair: bool, kit: Path | None) -> int:
    """Have every copy read its backups again; exit 7 when something is damaged.

    This finds what was changed or lost. That a backup can be restored is what `tinh drill` proves.
    """
    from infra.errors import Exit

    backups = open_backups(site, kit)
    backups.choose(names)
    bad: dict[str, set[str]] = {}
    for vault in backups.vaults("writer"):
        for name in names or [""]:
            bad.setdefault(vault.name, set()).update(vault.check(name))
    if repair:
        from infra.backup.repair import repair as mend

        mended = mend(backups.vaults("writer"), backups.vaults("reader"), bad)
        click.echo(f"{mended} blob(s) were given anew")
    for copy in backups.look():
        hurt = [f"{e.data_set} {e.id}" for e in copy.entries if not copy.good(e)]
        lost = [text for text in hurt if not names or text.split()[0] in names]
        said = f"DAMAGED: {', '.join(lost)}" if lost else copy.problem or "every backup is whole"
        click.secho(f"{copy.name}: {said}", fg="red" if lost or copy.problem else None)
        bad[copy.name] = set(lost)
    return Exit.INTEGRITY if any(bad.values()) else Exit.OK


@command.command()
@site_option
@click.argument("names", nargs=-1)
@click.option("--yes", is_flag=True, help="Do not ask for the site's name.")
@kit_option
def prune(site: str, names: Sequence[str], yes: bool, kit: Path | None) -> None:
    """Clear out backups of data sets NAMES (all) that the site's rules no longer want.

    The last good backup of a data set stays in any case, and nothing goes that a kept one needs. The machines with the
    copies refuse what came less than `locked_days` ago, whoever asks.
    """
    backups = open_backups(site, kit)
    plans = prune_plans(backups, backups.choose(names))
    for plan in plans:
        click.echo(plan.text())
    if not any(entries for plan in plans for entries in plan.gone.values()):
        return
    if not yes:
        typed(backups.site.name, "site's name")
    for vault, plan in zip(backups.vaults("keeper"), plans, strict=True):
        gone = [entry for entries in plan.gone.values() for entry in entries]
        if gone:
            freed = vault.prune(gone)
            click.echo(f"{vault.name}: {len(gone)} backup(s) removed, {freed} bytes")


def prune_plans(backups: Backups, sets: Sequence[DataSet]) -> list[PrunePlan]:
    """Return what would go, for each copy."""
    from infra.backup.plan import PrunePlan
    from infra.backup.retention import drop

    plans = []
    at = now()
    for copy in backups.look("keeper"):
        mine = {one.name: [e for e in copy.entries if e.data_set == one.name] for one in sets}
        gone = {one.name: drop(mine[one.name], one.retention, at, copy.good) for one in sets}
        plans.append(PrunePlan(copy.name, gone, {name: len(mine[name]) - len(gone[name]) for name in mine}))
    return plans


@command.command()
@site_option
def keys(site: str) -> None:
    """Make the keys of the machines with the copies, once, and the kit that is to be kept elsewhere.

    The private key that opens backups is made in a ceremony and not here, but in a lab (docs/backup.md).
    """
    from infra import paths
    from infra.backup import keys as made
    from infra.model.site import load_site

    target = load_site(site)
    made.make(target)
    click.echo(f"kit: {paths.state(site).vault}: bring it to where it is kept, then remove it here")
    click.echo(f"backups are sealed for {', '.join(made.recipients(target))}")


@command.command()
@site_option
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder for the units, such as /etc/systemd/system.",
)
def timers(site: str, output: Path) -> None:
    """Write systemd's timers for the management station: backups when they are due, drills at night."""
    import sys

    from infra import paths
    from infra.render.timers import render_timers

    open_backups(site)  # the site is known and its facts are right
    program = Path(sys.prefix) / "bin" / "tinh"
    output.mkdir(parents=True, exist_ok=True)
    for name, text in render_timers(site, paths.instance(), program, paths.REPO).items():
        (output / name).write_text(text, "utf-8")
        click.echo(str(output / name))
    click.echo("systemctl daemon-reload; systemctl enable --now tinh-backup.timer tinh-drill.timer")


def _due(backups: Backups, sets: Sequence[DataSet]) -> list[DataSet]:
    from datetime import timedelta

    copies, at = backups.look()[:1], now()
    newest = {one.name: copies[0].newest(one.name) for one in sets}
    return [
        one
        for one in sets
        if (entry := newest[one.name]) is None or at - entry.at >= timedelta(minutes=one.point) / 2
    ]


def _say(text: str) -> None:
    click.echo(text, err=True)
