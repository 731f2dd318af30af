"""`tinh lab`: the machine-sized data centre in system containers."""

from __future__ import annotations

import click

from infra.errors import Exit

site_option = click.option("--site", default="lab", show_default=True, help="Site of kind lab.")


@click.group()
def command() -> None:
    """The machine-sized data centre in system containers."""


@command.command()
@site_option
@click.option("--control-planes", type=click.IntRange(1, 5), help="Number of control planes (1, 3 or 5).")
@click.option("--workers", type=click.IntRange(1, 16), help="Number of workers.")
@click.option(
    "--outside/--no-outside", default=None, help="With routers and hosts outside the data centre or not."
)
def up(site: str, control_planes: int | None, workers: int | None, outside: bool | None) -> None:
    """Bring the lab up, or what is missing of it; can be repeated and interrupted at any time."""
    from infra.model.site import Role
    from lab import up as lab

    asked = {Role.CONTROL_PLANE: control_planes, Role.WORKER: workers}
    counts = {role: count for role, count in asked.items() if count}
    result = lab.up(site, counts or None, click.echo, outside=outside)
    click.echo(f"lab is up: {len(result.all_machines())} machines; `tinh lab status`, `tinh up`")


@command.command()
@site_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def down(site: str, yes: bool) -> None:
    """Remove the lab: machines, volumes, networks. What is stored in it is lost."""
    _confirm(site, yes)
    from lab import up as lab

    lab.down(site, click.echo)


@command.command()
@site_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def reset(ctx: click.Context, site: str, yes: bool) -> None:
    """Remove the lab and bring it up anew. What is stored in it is lost."""
    _confirm(site, yes)
    from lab import up as lab

    lab.down(site, click.echo)
    ctx.invoke(up, site=site, control_planes=None, workers=None, outside=None)


@command.command()
@site_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(site: str, as_json: bool) -> None:
    """Show every machine with its addresses and state; exit 3 when something is not running."""
    import json

    from infra import paths
    from infra.model.site import load_site
    from lab import podman, topology
    from lab.up import machines_of

    rows = []
    for machine in machines_of(load_site(site)):
        data = podman.inspect("container", topology.prefix(paths.instance()) + machine.name)
        rows.append(
            {
                "machine": machine.name,
                "role": str(machine.role),
                "state": data["State"]["Status"] if data else "absent",
                "addresses": [text for address in machine.addresses.values() for text in address.pair()],
            }
        )
    if as_json:
        click.echo(json.dumps(rows, indent=1))
    else:
        for row in rows:
            click.echo(f"{row['machine']:<12}{row['role']:<15}{row['state']:<10}{' '.join(row['addresses'])}")
    if any(row["state"] != "running" for row in rows):
        raise SystemExit(int(Exit.CHANGES))


@command.command()
@site_option
@click.argument("name")
def epoch(name: str, site: str) -> None:
    """Have the lab play epoch NAME of its province; `tinh up --layer network` then changes its routers."""
    from lab.up import choose_epoch

    choose_epoch(site, name)
    click.echo(f"lab {site}: epoch {name} from the next `tinh up --layer network` on")


@command.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> None:
    """Check this host; nothing is changed. Exit 4 when the lab cannot run here."""
    import dataclasses
    import json

    from lab import doctor as checks

    findings = checks.judge(checks.probe())
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(f) for f in findings], indent=1))
    else:
        for f in findings:
            more = "; ".join(text for text in (f.follows, f.fix) if text)
            click.echo(f"{f.level:<9}{f.check:<22}{f.found}{'  -> ' + more if more else ''}")
    if checks.missing(findings):
        raise SystemExit(int(Exit.HOST))


@command.command(context_settings={"ignore_unknown_options": True})
@click.argument("machine")
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
@site_option
def shell(machine: str, words: tuple[str, ...], site: str) -> None:
    """Open a shell on a machine, or run a command there."""
    import os
    import shlex

    from infra.model.site import load_site
    from lab.up import ssh_command

    line = ssh_command(load_site(site), machine)
    if words:
        line.append(shlex.join(words))
    os.execvp(line[0], line)  # noqa: S606 - the user's own terminal goes to ssh


def _confirm(site: str, yes: bool) -> None:
    """Ask before the lab is removed."""
    if yes:
        return
    click.echo(
        f"All machines, volumes and networks of lab {site!r} will be removed, with everything stored in them."
    )
    if click.prompt("Type the site's name to go on") != site:
        raise click.Abort
