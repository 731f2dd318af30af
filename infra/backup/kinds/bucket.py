"""A bucket of the cluster's object storage: the newest version of each object; what is known already is not read."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path

from infra.backup.kubectl import Kubectl
from infra.backup.source import Facts, Ground, Taken
from infra.backup.store import opened


@contextlib.contextmanager
def take(ground: Ground) -> Generator[Taken, None, None]:
    """See `KindModule`.

    Raises:
        TinhError: the storage is not there.
    """
    bucket = ground.data_set.name
    with opened(ground.site, Kubectl(ground.site)) as store:
        at = datetime.now(UTC)
        found = list(store.list(bucket))
        sizes = {item.key: item.size for item in found}
        yield Taken([store.item(bucket, item) for item in found], at, _facts(sizes))


def count(folder: Path) -> Facts:
    """See `KindModule`."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return _facts({str(file.relative_to(folder)): file.stat().st_size for file in files})


def _facts(sizes: dict[str, int]) -> Facts:
    """Return number, bytes and a digest of names and sizes; contents are checked one by one on their way back."""
    lines = "\n".join(f"{name}\0{size}" for name, size in sorted(sizes.items()))
    return {
        "objects": len(sizes), "bytes": sum(sizes.values()), "digest": hashlib.sha256(lines.encode()).hexdigest()
    }  # fmt: skip
