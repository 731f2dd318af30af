"""`tinh unlock`: a stack lock that a dead process has left behind."""

from __future__ import annotations

import click


@click.command()
@click.argument("stack")
@click.option(
    "--force", is_flag=True, help="Also when the process cannot be looked up; asks for the stack's name."
)
def command(stack: str, force: bool) -> None:
    """Show whose lock STACK has, and remove it when its process is dead.

    The lock of a living `tinh` is never removed: interrupt that process instead.
    """
    from cli import backend, locks
    from cli.options import typed
    from infra import paths
    from infra.errors import LockedError
    from infra.model.site import load_site
    from infra.stackinfo import parse_stack

    info = parse_stack(stack)
    state = paths.state(load_site(info.site).name)
    with locks.stack_lock(state, info.name, "tinh unlock"):
        found = backend.locks(state, info.name)
        if not found:
            click.echo(f"{info.name} is not locked")
        for lock in found:
            ours = locks.is_ours(lock)
            living = ours and locks.alive(lock.pid, lock.since)
            word = "alive" if living else "dead" if ours else "unknown: it runs on another machine"
            click.echo(f"{info.name}: Pulumi {lock}: {word}")
            if living or not ours:
                if not force:
                    raise LockedError(
                        f"the process that holds {info.name} is {word}",
                        where=str(lock.file),
                        fix="end it, or look at that machine; only when you are sure: --force",
                    )
                typed(info.name, "stack's name")
            backend.remove_lock(lock)
            click.echo(f"{info.name}: lock removed")
