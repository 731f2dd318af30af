"""`tinh env`: the environment of every run, for a shell."""

from __future__ import annotations

import shlex

import click

from cli.options import site_option


@click.command()
@site_option
def command(site: str) -> None:
    """Print the shell environment for plain `pulumi` and `kubectl`.

    Use: eval "$(tinh env)"; pulumi up -s base.lab
    """
    from cli.runner import environment, foreign, select, sync_stack_file

    target, stacks = select(site)
    env = environment(target)
    for stack in stacks:
        sync_stack_file(target, stack)
    for name in foreign(env):
        click.echo(f"unset {name}")
    for name, value in env.items():
        click.echo(f"export {name}={shlex.quote(value)}")
