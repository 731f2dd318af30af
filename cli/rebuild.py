"""`tinh rebuild`: a site on empty machines, from the repository, its site data and one copy of its backups."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.copies import Backups, counter, identity_option, kit_option, now, open_backups
from cli.options import site_option, typed

if TYPE_CHECKING:
    from infra.backup.rebuild import Step


@click.command()
@site_option
@click.option(
    "--from", "source", metavar="COPY", help="Read from this machine only; default: the farthest copy."
)
@click.option("--yes", is_flag=True, help="Do not ask for the site's name.")
@kit_option
@identity_option
def command(site: str, source: str | None, yes: bool, kit: Path | None, identity: Path | None) -> None:
    """Bring a site back on empty machines; writes a signed receipt with the time of each step.

    Needs the repository with the site's data, one machine with backups, and the kit (docs/backup.md). A rebuild that
    was interrupted goes on after the last step that has ended. A site that still runs is refused.
    """
    from infra import paths, receipt
    from infra.backup import rebuild
    from infra.backup.vault import machines
    from infra.model.site import SiteKind

    backups = open_backups(site, kit)
    lab = backups.site.kind is SiteKind.LAB
    copy = source or machines(backups.site)[-1].name
    done = rebuild.ended(site)
    if not done:
        _refuse_living(backups)
    planned = rebuild.steps(backups.sets, lab)
    click.echo(f"rebuild of site {site} from {copy}:")
    for step in planned:
        click.echo(f"  {'done' if step.name in done else '    '}  {step.does}")
    if not yes:
        typed(backups.site.name, "site's name")
    key = backups.identity(identity)
    at = now()
    for step in planned:
        if step.name in done:
            continue
        click.echo(f"{step.name}: {step.does}", err=True)
        started = time.monotonic()
        said = _do(backups, step, copy, key)
        done[step.name] = rebuild.Done(step.name, round(time.monotonic() - started), said)
        rebuild.note(site, list(done.values()))
    signer = receipt.province_key(site)
    content = rebuild.body(site, copy, at, list(done.values()), "all machines are on one host" if lab else "")
    file = paths.state(site).root / "receipts" / f"rebuild-{site}-{at:%Y%m%dT%H%M%SZ}.json"
    file.parent.mkdir(exist_ok=True, mode=0o700)
    file.write_text(json.dumps(receipt.sign(content, signer), indent=1, ensure_ascii=False) + "\n", "utf-8")
    rebuild.forget(site)
    for one in done.values():
        click.echo(f"{one.name:<20}{one.seconds:>6} s  {one.said}")
    click.echo(f"{'all':<20}{content['seconds']:>6} s  {file}")


def _refuse_living(backups: Backups) -> None:
    """Refuse to rebuild what is there.

    Raises:
        RefusedError: the site's cluster answers.
    """
    import os

    from cli.runner import tool_path
    from infra.cluster import check_cluster
    from infra.errors import RefusedError, TinhError

    os.environ["PATH"] = tool_path()  # for kubectl
    try:
        uid = check_cluster(backups.site)
    except TinhError:
        return
    raise RefusedError(
        f"site {backups.site.name} is there: cluster {uid} answers",
        where=f"site {backups.site.name}",
        fix="`tinh restore` brings single data sets back; to begin anew take the site down first",
    )


def _do(backups: Backups, step: Step, copy: str, key: str) -> str:
    """Do one step; return what came of it."""
    if step.data_set:
        return _bring_back(backups, step.data_set, copy, key)
    single: dict[str, Callable[[Backups], str]] = {
        "machines": _machines, "layers": lambda b: _tinh(b, "up", "--yes"), "backup": _back_up,
    }  # fmt: skip
    return single[step.name](backups)


def _bring_back(backups: Backups, name: str, copy: str, key: str) -> str:
    """Restore one data set in place, from the copy."""
    from cli import locks
    from infra import paths
    from infra.backup.plan import plan_restore
    from infra.backup.restore import Restore, run

    # The facts may have been moved by what the first step has brought back: a lab's addresses.
    fresh = open_backups(backups.site.name, backups.kit)
    (data_set,) = fresh.choose([name])
    with locks.data_lock(paths.state(fresh.site.name), name, "tinh rebuild"):
        copies = fresh.look("reader", name)
        plan = plan_restore(data_set, copies, now(), into=name, in_place=True, only=copy)
        vault = next(one for one in fresh.vaults("reader") if one.name == copy)
        return run(
            Restore(site=fresh.site, plan=plan, vault=vault, identity=key, tell=_say, progress=counter(name))
        )


def _machines(backups: Backups) -> str:
    from infra.model.site import SiteKind

    if backups.site.kind is SiteKind.LAB:
        return _tinh(backups, "lab", "up")
    from infra import paths
    from infra.ansible import play
    from infra.backup.machines import inventory_of

    log = paths.state(backups.site.name).logs / "rebuild-ansible.log"
    recap = play("site.yml", inventory_of(backups.site), log=log, tell=_say)
    return f"{len(recap.ok)} machines are prepared"


def _back_up(backups: Backups) -> str:
    return _tinh(backups, "backup", "run", "--all", "--whole")


def _tinh(backups: Backups, *words: str) -> str:
    """Run another command of ours, in the same terminal.

    Raises:
        ToolError: it failed; it has said why.
        KeyboardInterrupt: it was interrupted, and has cleaned up.
    """
    from infra.errors import ToolError

    command = [sys.executable, "-m", "cli.main", *words, "--site", backups.site.name]
    # In a session of its own, so that each Ctrl-C reaches it once: through us, and it cleans up in its own time.
    process = subprocess.Popen(command, start_new_session=True)
    interrupted = False
    while True:
        try:
            code = process.wait()
            break
        except KeyboardInterrupt:
            interrupted = True
            process.send_signal(signal.SIGINT)
    if interrupted:
        raise KeyboardInterrupt
    if code:
        raise ToolError(
            f"`tinh {' '.join(words)}` ended with {code}", where=f"site {backups.site.name}",
            fix="see what it said above; `tinh rebuild` goes on from here",
        )  # fmt: skip
    return "done"


def _say(text: str) -> None:
    click.echo(text, err=True)
