"""Pulumi's file backend: state and history of all layers. Pulumi replaces its files, so each is whole at any time."""

from __future__ import annotations

import contextlib
import json
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

#: In the tar.
NAME = "pulumi"


@contextlib.contextmanager
def take(ground: Ground) -> Generator[Taken, None, None]:
    """See `KindModule`. Locks are left out: whoever holds one is not there after a restore."""
    with private_folder(ground.site.name) as work:
        at = datetime.now(UTC)
        pack(
            work / TREE,
            [(NAME, paths.state(ground.site.name).pulumi)],
            lambda name: "/.pulumi/locks/" in name or name.endswith((".tmp", ".bak")),
        )
        unpack(work / TREE, work / "again")
        yield Taken([file_item(TREE, work / TREE)], at, _facts(work / "again"))


def count(folder: Path) -> Facts:
    """See `KindModule`."""
    unpack(folder / TREE, folder / "again")
    return _facts(folder / "again")


def _facts(folder: Path) -> Facts:
    stacks: dict[str, int | str] = {}
    for file in sorted(folder.glob(f"{NAME}/.pulumi/stacks/*/*.json")):
        try:
            latest = json.loads(file.read_text("utf-8"))["checkpoint"].get("latest") or {}
        except (ValueError, KeyError):
            stacks[file.stem] = "damaged"  # backed up all the same, and said
        else:
            stacks[file.stem] = len(latest.get("resources") or [])
    return {"stacks": stacks, **tree_facts(folder)}
