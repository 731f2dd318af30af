"""Gives a copy anew what is damaged there and whole at another one. The content mends only what has its name."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Collection, Mapping, Sequence

from infra.backup.vault import Vault


def repair(writers: Sequence[Vault], readers: Sequence[Vault], damaged: Mapping[str, Collection[str]]) -> int:
    """Return how many blobs were mended.

    Only the first copy takes anything from production; the others get theirs from it by themselves (`pull`).

    Args:
        writers: all copies, reached with the writer's key.
        readers: all copies, reached with the reader's key.
        damaged: copy -> names of its damaged blobs.
    """
    first = writers[0]
    mended = 0
    for name in sorted(damaged.get(first.name, ())):
        for other in readers:
            if (
                other.name != first.name
                and name not in damaged.get(other.name, ())
                and _carry(other, first, name)
            ):
                mended += 1
                break
    if mended:
        first.check()
    return mended


def _carry(source: Vault, target: Vault, name: str) -> bool:
    """Bring a sealed blob from one copy to another; return whether it arrived as what its name says."""
    with (
        subprocess.Popen([*source.command, "get", name], stdout=subprocess.PIPE) as out,
        subprocess.Popen([*target.command, "put"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as into,
    ):
        assert out.stdout and into.stdin and into.stdout  # noqa: S101 - asked for above
        out.stdout.readline()  # its size
        shutil.copyfileobj(out.stdout, into.stdin)
        into.stdin.close()
        return name.encode() in into.stdout.read()
