"""Files that only their owner may read: keys, passphrases, kubeconfigs. The one place that writes them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path


def write(path: Path, data: bytes) -> None:
    """Write a file of mode 0600 atomically: a reader sees the old content or the new one."""
    _part(path, data).replace(path)


def once(path: Path, make: Callable[[], bytes]) -> bytes:
    """Return what a file holds; what `make` returns is written first when there is no file.

    Of two processes that make it at once, one wins, and both return the winner's.
    """
    if not path.exists():
        part = _part(path, make())
        try:
            os.link(part, path)
        except FileExistsError:
            pass  # the other process was quicker
        finally:
            part.unlink()
    return path.read_bytes()


def _part(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return part
