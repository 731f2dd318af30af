"""What the commands of backups share: the site's data sets, and its copies as a key reaches them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from datetime import datetime

    from infra.backup.catalogue import Copy
    from infra.backup.sets import DataSet
    from infra.backup.vault import Vault
    from infra.model.backup import BackupPolicy
    from infra.model.site import Site

kit_option = click.option(
    "--kit",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with the keys that are kept elsewhere; default: `vault` in the site's state.",
)
identity_option = click.option(
    "--identity",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The private key that opens backups (age); default: in the folder of --kit.",
)


@dataclass(frozen=True)
class Backups:
    """A site's data sets and rules.

    Args:
        site: the site.
        policy: its rules.
        sets: all of its data sets.
        kit: folder with the keys that are kept elsewhere; None: the site's own.
    """

    site: Site
    policy: BackupPolicy
    sets: list[DataSet]
    kit: Path | None

    def choose(self, names: Sequence[str]) -> list[DataSet]:
        """Return the data sets of some names; all without names."""
        from infra.backup.sets import choose

        return choose(self.sets, names, f"site {self.site.name}")

    def vaults(self, role: str) -> list[Vault]:
        """Return the copies, reached with the key of a role: `writer`, `reader` or `keeper`."""
        from infra.backup import vault

        return vault.vaults(self.site, getattr(vault.keys_of(self.site, self.kit), role))

    def look(self, role: str = "writer", data_set: str = "") -> list[Copy]:
        """Return the catalogues of all copies; entries that the province has not signed are left out and named."""
        from infra.backup import keys

        public = keys.signer(self.site, self.kit)
        return [vault.look(public, data_set) for vault in self.vaults(role)]

    def identity(self, file: Path | None) -> str:
        """Return the private key that opens backups."""
        from infra.backup import keys

        return keys.identity(self.site, file or (self.kit / keys.IDENTITY if self.kit else None))


def stop_cleanly() -> None:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does: what it has begun is removed on the way out."""
    import signal
    import threading

    if threading.current_thread() is not threading.main_thread():
        return

    def stop(number: int, frame: object) -> None:
        del number, frame
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)


def open_backups(site: str, kit: Path | None = None) -> Backups:
    """Return the data sets and rules of a site.

    Raises:
        TinhError: unknown site, or malformed facts.
    """
    from infra.backup.sets import data_sets
    from infra.model.backup import load_policy
    from infra.model.site import load_site

    stop_cleanly()
    target = load_site(site)
    return Backups(target, load_policy(site), data_sets(target), kit)


def now() -> datetime:
    """Return the moment, in UTC."""
    from datetime import UTC, datetime

    return datetime.now(UTC)


def counter(what: str) -> Counter:
    """Return what shows how many parts of something are done."""
    return Counter(what)


class Counter:
    """Shows a count on standard error: on one line of a terminal, elsewhere at each tenth.

    Args:
        what: is counted.
    """

    def __init__(self, what: str) -> None:
        self.what, self._shown = what, -1

    def __call__(self, done: int, total: int) -> None:
        """Show a count."""
        tenth = done * 10 // max(total, 1)
        if total < 2 or tenth == self._shown:
            return
        self._shown = tenth
        click.echo(f"{self.what}: {done} of {total}", err=True)
