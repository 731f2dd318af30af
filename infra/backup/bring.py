"""Brings back what a backup has: opens its index, then the items, each checked against what was recorded."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath

from infra.backup.catalogue import Blob, Entry
from infra.backup.memory import Index, Stored
from infra.backup.seal import Measured, Writable, WrongKeyError, public_of, wrong_key
from infra.backup.vault import Delivery, Vault
from infra.errors import IntegrityError


def items_of(parts: Sequence[Entry], vault: Vault, identity: str) -> dict[str, Stored]:
    """Return all items of a backup by name.

    Args:
        parts: the backup and what it adds to, the complete one first.
        vault: a copy, reached with a reader's key.
        identity: the private key.

    Raises:
        TinhError: the key does not open it; said before anything is read.
        IntegrityError: an index is missing or damaged.
    """
    mine = public_of(identity, "the private key")
    for part in parts:
        if mine not in part.recipients:
            raise wrong_key(mine, part.recipients, f"backup {part.id} of {part.data_set}")
    found: dict[str, Stored] = {}
    with vault.delivery([part.index for part in parts]) as coming:
        for part in parts:
            sink = io.BytesIO()
            _opened(part.index, coming, identity, sink)
            index = Index.model_validate_json(sink.getvalue())
            for name in index.gone:
                found.pop(name, None)
            found |= {item.name: item for item in index.items}
    return found


def fetch(item: Stored, coming: Delivery, identity: str, sink: Writable) -> None:
    """Write one item, the next one that comes; what was written is no good when this fails.

    Raises:
        IntegrityError: it is missing, damaged, or not what was recorded.
        ToolError: the copy does not answer.
    """
    written = _opened(item.blob, coming, identity, sink)
    if (written.sha256, written.size) != (item.sha256, item.size):
        raise IntegrityError(
            f"{item.name} is not what was recorded", where=coming.where(item.blob),
            fix="take another copy or an older backup",
        )  # fmt: skip


def _opened(blob: Blob, coming: Delivery, identity: str, sink: Writable) -> Measured:
    """Write the content of a blob that is known to be sealed for the key, as `items_of` has seen.

    Raises:
        IntegrityError: it is missing or damaged.
    """
    try:
        return coming.take(blob, sink, identity)
    except WrongKeyError:
        raise IntegrityError(
            "it is damaged: the list of those who can open it", where=coming.where(blob),
            fix="take another copy or an older backup",
        ) from None  # fmt: skip


def into_folder(
    items: Iterable[Stored],
    vault: Vault,
    identity: str,
    folder: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write items as files below a folder, by their names.

    Raises:
        IntegrityError: see `fetch`; or a name leads out of the folder.
    """
    wanted = list(items)
    with vault.delivery([item.blob for item in wanted]) as coming:
        for done, item in enumerate(wanted, start=1):
            parts = PurePosixPath(item.name)
            if parts.is_absolute() or ".." in parts.parts or not parts.parts:
                raise IntegrityError(
                    f"{item.name!r} is no name of a file", where=vault.name, fix="take an older backup"
                )
            file = folder / parts
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with file.open("wb") as sink:
                fetch(item, coming, identity, sink)
            progress(done, len(wanted))
