"""`tinh restore`: bring a data set back. The plan comes first, always."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.copies import Backups, counter, identity_option, kit_option, now, open_backups
from cli.options import need_terminal, site_option, typed

if TYPE_CHECKING:
    from infra.backup.plan import RestorePlan
    from infra.backup.sets import DataSet


@click.command()
@site_option
@click.argument("name")
@click.option("--to", metavar="TIME", help="Data as of this moment (ISO 8601, UTC unless it says otherwise).")
@click.option("--as", "into", metavar="NEW", help="Make something new of this name and change nothing.")
@click.option(
    "--in-place", is_flag=True, help="Take the place of what serves, at the end; asks for the name."
)
@click.option(
    "--from", "source", metavar="COPY", help="Only from this machine; default: the nearest good copy."
)
@click.option("--no-backup", is_flag=True, help="In place: do not try to back up first what is there now.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@identity_option
@kit_option
def command(
    site: str,
    name: str,
    to: str | None,
    into: str | None,
    in_place: bool,
    source: str | None,
    no_backup: bool,
    yes: bool,
    identity: Path | None,
    kit: Path | None,
) -> None:
    """Bring data set NAME back, beside what serves (--as) or in its place (--in-place).

    What serves is left alone until everything is back and has been compared with what was recorded; a restore that
    fails or is interrupted changes nothing. Without --as and --in-place only the plan is shown.
    """
    from cli import locks
    from infra import paths
    from infra.backup.catalogue import parse_time
    from infra.backup.restore import Restore, refuse_early, run
    from infra.errors import TinhError

    backups = open_backups(site, kit)
    (data_set,) = backups.choose([name])
    if into and in_place:
        raise TinhError(
            "--as and --in-place exclude each other", where="tinh restore", fix="give one of them"
        )
    if into and into == data_set.name:
        raise TinhError(
            f"--as {into} is the data set itself", where="--as", fix="another name, or --in-place"
        )
    if to:
        parse_time(to, "--to")  # before the copies are asked
    refuse_early(backups.site, data_set.kind, in_place=in_place, into=into or "")
    if into or in_place:
        key = backups.identity(identity)
    with locks.data_lock(paths.state(site), data_set.name, "tinh restore"):
        plan = make_plan(backups, data_set, to, into or "", in_place, source or "")
        click.echo(plan.text())
        if not (into or in_place):
            click.echo("nothing was done: give --as NEW or --in-place")
            return
        if not yes:
            need_terminal("give --yes")
            if in_place:
                typed(data_set.name, "data set's name")
            else:
                click.confirm(f"Make {plan.into}?", abort=True, err=True)
        if in_place and not no_backup:
            _last_backup(backups, data_set)  # after the plan was made: what is restored is older than it
        vault = next(one for one in backups.vaults("reader") if one.name == plan.source)
        started = now()
        made = run(
            Restore(
                site=backups.site, plan=plan, vault=vault, identity=key, tell=_say, progress=counter(data_set.name)
            )
        )  # fmt: skip
        click.echo(f"{made}; {(now() - started).total_seconds():.1f} s")


def make_plan(
    backups: Backups, data_set: DataSet, to: str | None, into: str, in_place: bool, source: str
) -> RestorePlan:
    """Return the plan, from the catalogues as they are now."""
    from infra.backup.catalogue import parse_time
    from infra.backup.plan import plan_restore

    return plan_restore(
        data_set, backups.look("reader", data_set.name), now(), to=parse_time(to, "--to") if to else None,
        into=into or data_set.name, in_place=in_place, only=source,
    )  # fmt: skip


def _last_backup(backups: Backups, data_set: DataSet) -> None:
    """Back up what is there now, so that the restore can be undone; what is broken may refuse."""
    from cli.backup import take_one
    from infra.errors import TinhError

    try:
        take_one(backups, data_set)
    except TinhError as error:
        click.echo(f"{data_set.name}: what is there now could not be backed up first: {error.what}", err=True)


def _say(text: str) -> None:
    click.echo(text, err=True)
