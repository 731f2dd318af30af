"""`tinh down`: destroys what a site's stacks have made.

Two keys: the site's name typed (or --yes) confirms the command; data-bearing objects need in addition the
digest of exactly the list of objects that will be lost, which only `tinh down --show-data` prints. So data is
lost only by two separate acts, and never objects that were not on the list that was looked at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from cli.options import layer_option, site_option, typed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cli.backend import Record, StackState
    from infra.model.site import Site
    from infra.stackinfo import StackInfo


@click.command()
@site_option
@layer_option
@click.option("--yes", is_flag=True, help="Do not ask for the site's name (the first key).")
@click.option("--show-data", is_flag=True, help="Only list the data that would be lost, with its digest.")
@click.option("--data-key", metavar="DIGEST", help="The digest that --show-data printed (the second key).")
def command(site: str, layers: Sequence[str], yes: bool, show_data: bool, data_key: str | None) -> None:
    """Destroy all layers of a site in reverse order.

    Objects that hold data are lost only when their digest from --show-data is given back with --data-key.
    """
    from cli.progress import watcher
    from cli.runner import Runner, select

    target, stacks = select(site, layers)
    _refuse_gap(target, stacks)
    found = _existing(target, reversed(stacks))
    data = [record for state in found.values() for record in state.protected]
    if show_data:
        click.echo(describe_data(target, data))
        return
    if not any(state.records for state in found.values()):
        click.echo(f"site {target.name}: nothing is deployed")
        return
    click.echo(f"Site {target.name}: these will be destroyed and cannot be brought back:", err=True)
    for stack, state in found.items():
        click.echo(f"  {stack.name}: {len(state.records)} resources", err=True)
    check_data_key(target, data, data_key)
    if not yes:
        typed(target.name, "site's name")
    view = watcher("down")
    runner = Runner(target, view, "tinh down", list(found))
    for stack in found:
        with runner.locked(stack):
            # Looked at again with the lock held: data that appeared since was not confirmed.
            now = runner.read(stack)
            new = set(now.protected if now else ()) - set(data)
            if new:
                check_data_key(target, [*data, *sorted(new, key=_line)], data_key)
            with view.showing(stack.name):
                outcome = runner.destroy(
                    stack, [record.resource.urn for record in data if now and record in now.protected]
                )
            view.done(outcome)


def _existing(site: Site, stacks: Iterable[StackInfo]) -> dict[StackInfo, StackState]:
    from cli import backend
    from infra import paths

    states = {stack: backend.read_stack(paths.state(site.name), stack.name) for stack in stacks}
    return {stack: state for stack, state in states.items() if state}


def _refuse_gap(site: Site, stacks: Sequence[StackInfo]) -> None:
    """Refuse to take away a layer from under another.

    Raises:
        RefusedError: a stack of a later layer is deployed and would stay.
    """
    from cli import backend
    from infra import paths
    from infra.errors import RefusedError
    from infra.stackinfo import LAYERS, parse_stack

    state = paths.state(site.name)
    lowest = min(LAYERS.index(stack.layer) for stack in stacks)
    for name in backend.stacks(state):
        other = parse_stack(name)
        if other in stacks or LAYERS.index(other.layer) <= lowest:
            continue
        found = backend.read_stack(state, name)
        if found and found.records:
            raise RefusedError(
                f"stack {name} stands on what would be destroyed",
                where=f"site {site.name}, {len(found.records)} resources in {name}",
                fix=f"destroy {name} first",
            )


def _line(record: Record) -> str:
    return f"{record.resource.urn.split('::', 1)[0].rsplit(':', 1)[-1]}  {record.resource}  {record.id}"


def digest(site: Site, data: Sequence[Record]) -> str:
    """Return the second key for exactly these data objects of this instance's site: 16 hexadecimal digits."""
    from infra import paths

    lines = [
        f"{paths.instance()}/{site.name}",
        *sorted(f"{record.resource.urn} {record.id}" for record in data),
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def describe_data(site: Site, data: Sequence[Record]) -> str:
    """Return the list of data objects and their digest, for people."""
    if not data:
        return f"site {site.name}: no object that holds data is deployed"
    lines = [f"site {site.name}: these objects hold data:", *(f"  {_line(record)}" for record in data)]
    return "\n".join([*lines, f"digest: {digest(site, data)}"])


def check_data_key(site: Site, data: Sequence[Record], key: str | None) -> None:
    """Check the second key.

    Raises:
        RefusedError: there is data, and the key is missing or is for another list.
    """
    from infra.errors import RefusedError

    if not data or key == digest(site, data):
        return
    listed = "\n".join(f"  {_line(record)}" for record in data)
    wrong = f"{key} is not the digest of this list; it has changed" if key else "the second key is missing"
    raise RefusedError(
        f"{len(data)} object(s) hold data, and {wrong}:\n{listed}",
        where=f"site {site.name}",
        fix="look at `tinh down --show-data`, see that there is a backup, then give --data-key DIGEST",
    )
