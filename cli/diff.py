"""`tinh diff`: what `tinh up` would change."""

from __future__ import annotations

from collections.abc import Sequence

import click

from cli.options import layer_option, site_option


@click.command()
@site_option
@layer_option
def command(site: str, layers: Sequence[str]) -> int:
    """Show what `up` would change; exit 0 when nothing, 3 when something."""
    from cli.progress import watcher
    from cli.runner import Runner, select
    from infra.errors import Exit

    target, stacks = select(site, layers)
    view = watcher("diff")
    runner = Runner(target, view, "tinh diff", stacks)
    changed = False
    for stack in stacks:
        if runner.read(stack) is None:
            # Its preview would need the contracts of layers that may not exist either.
            click.echo(f"{stack.name}: not deployed yet; everything in it is new")
            changed = True
            continue
        with view.showing(stack.name):
            outcome = runner.preview(stack)
        if outcome.tally.changed:
            changed = True
            click.echo(outcome.log.read_text("utf-8"))
        click.echo(f"{stack.name}: {outcome.tally.changed} changes ({outcome.tally.text()})")
    return Exit.CHANGES if changed else Exit.OK
