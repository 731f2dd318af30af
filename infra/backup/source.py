"""What every kind of data set gives when it is backed up, and how that is counted again after a restore."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from infra import paths
from infra.backup.seal import Readable
from infra.backup.sets import DataSet
from infra.errors import IntegrityError
from infra.model.site import Site

Tell = Callable[[str], None]
Facts = dict[str, Any]
#: Name of the one item of a data set that is a tree of files.
TREE = "files.tar"


@dataclass(frozen=True)
class Item:
    """A part that is sealed by itself.

    Args:
        name: of an object, or of the file that it becomes after a restore.
        open: begins to read it.
        mark: changes whenever its content may have changed; empty: it is always read anew.
    """

    name: str
    open: Callable[[], AbstractContextManager[Readable]]
    mark: str = ""


@dataclass(frozen=True)
class Taken:
    """What was taken from the source, ready to be read.

    Args:
        items: all that there is, not only what is new.
        at: as of when.
        facts: what was counted.
        revision: of the source.
        whole: begin a new chain.
    """

    items: Sequence[Item]
    at: datetime
    facts: Facts = field(default_factory=dict)
    revision: str = ""
    whole: bool = False


@dataclass(frozen=True)
class Ground:
    """Where a backup or a restore takes place.

    Args:
        site: the site.
        data_set: what is backed up.
        number: name of the backup.
        tell: gets a line per step.
    """

    site: Site
    data_set: DataSet
    number: str
    tell: Tell


class KindModule(Protocol):
    """A module of `infra.backup.kinds`."""

    def take(self, ground: Ground) -> AbstractContextManager[Taken]:
        """Take a backup from the source; what it needs meanwhile is removed in the end."""
        ...

    def count(self, folder: Path) -> Facts:
        """Return the facts of what was brought back into a folder, as `take` has counted them."""
        ...


@contextlib.contextmanager
def private_folder(site: str) -> Generator[Path, None, None]:
    """Return a folder that only its owner can read, on the disk of the state folder; it is removed in the end.

    Those of commands that were killed are removed as well: they hold what is sealed elsewhere.
    """
    home = paths.state(site).backup
    home.mkdir(exist_ok=True, mode=0o700)
    for old in home.glob("work-*"):
        if not Path("/proc", old.name.split("-")[1]).exists():
            shutil.rmtree(old, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"work-{os.getpid()}-", dir=home))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def file_item(name: str, file: Path) -> Item:
    """Return a file as an item; its content is its mark."""
    with file.open("rb") as stream:
        mark = hashlib.file_digest(stream, "sha256").hexdigest()
    return Item(name, lambda: file.open("rb"), mark)


def pack(
    tar: Path, trees: Iterable[tuple[str, Path]], leave_out: Callable[[str], bool] = lambda _: False
) -> None:
    """Write trees of files into a tar, always in the same order.

    Args:
        tar: the file to be written.
        trees: name in the tar and folder; one that is missing is left out.
        leave_out: whether to leave out a name, as it is in the tar.
    """

    def select(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
        return None if leave_out(info.name) else info

    with tarfile.open(tar, "w") as archive:
        for name, folder in trees:
            if folder.exists():
                archive.add(folder, name, filter=select)


def unpack(tar: Path, folder: Path) -> None:
    """Unpack a tar of ours into a folder.

    Raises:
        IntegrityError: it is no tar, or it has names that lead out of the folder.
    """
    try:
        with tarfile.open(tar) as archive:
            archive.extractall(folder, filter="data")
    except (tarfile.TarError, OSError) as error:
        raise IntegrityError(
            f"it cannot be unpacked: {error}", where=str(tar), fix="take an older backup"
        ) from None


def tree_facts(folder: Path) -> Facts:
    """Return number, bytes and one digest of all files below a folder: names and contents."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    seen = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        seen.update(f"{file.relative_to(folder)}\0{content}\n".encode())
    return {
        "files": len(files),
        "bytes": sum(file.stat().st_size for file in files),
        "digest": seen.hexdigest(),
    }
