"""The site's facts from the repository, and its keys and secrets from the state folder.

The key that opens backups is left out: sealed in a backup it would be of no use, and production must not have it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path

from infra import paths
from infra.backup.source import (
    TREE,
    Facts,
    Ground,
    Taken,
    file_item,
    pack,
    private_folder,
    tree_facts,
    unpack,
)

FACTS, STATE = "site", "state"
#: In the state folder: what has a backup of its own, what is made anew, and what production must not have.
LEFT_OUT = (
    "pulumi",
    "pulumi-home",
    "logs",
    "locks",
    "backup",
    "vault",
    "restored",
    "converged",
    "outside",
    "sim",
)


@contextlib.contextmanager
def take(ground: Ground) -> Generator[Taken, None, None]:
    """See `KindModule`."""
    name = ground.site.name
    with private_folder(name) as work:
        at = datetime.now(UTC)
        pack(work / TREE, [(FACTS, paths.SITES / name), (STATE, paths.state(name).root)], _left_out)
        unpack(work / TREE, work / "again")
        yield Taken([file_item(TREE, work / TREE)], at, tree_facts(work / "again"))


def count(folder: Path) -> Facts:
    """See `KindModule`."""
    unpack(folder / TREE, folder / "again")
    return tree_facts(folder / "again")


def _left_out(name: str) -> bool:
    top, _, rest = name.partition("/")
    first = rest.partition("/")[0]
    return top == STATE and (first in LEFT_OUT or first.startswith("events-") or name.endswith(".part"))
