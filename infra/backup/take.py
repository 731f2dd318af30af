"""Takes a backup: what is new is sealed and put to the first copy, then the signed entry makes it one."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra import receipt
from infra.backup import memory
from infra.backup.catalogue import Blob, Entry, chain
from infra.backup.memory import Index, Memory, Stored
from infra.backup.sets import DataSet
from infra.backup.source import Item, Taken, Tell
from infra.backup.vault import Vault
from infra.errors import IntegrityError
from infra.model.site import Site


def take(
    site: Site,
    data_set: DataSet,
    taken: Taken,
    vault: Vault,
    *,
    number: str,
    begun: datetime,
    recipients: Sequence[str],
    key: Ed25519PrivateKey,
    tell: Tell,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Entry:
    """Bring what was taken to a copy, and enter it.

    Args:
        site: the site.
        data_set: what it is.
        taken: what the source gave.
        vault: the first copy, reached with the writer's key.
        number: name of the backup.
        begun: when it was begun.
        recipients: public keys for which it is sealed.
        key: the province's, which signs the entry.
        tell: gets a line per step.
        progress: gets the number of items that are done, and of all.

    Raises:
        TinhError: the machine does not answer or refuses; nothing that was there before is changed.
    """
    last = _usable(memory.recall(site.name, data_set.name, recipients), vault, key, data_set)
    whole = last is None or taken.whole or begun - last.begun_whole > timedelta(hours=data_set.full_hours)
    known = (last.items if last else {}) | memory.arrived(site.name, data_set.name, recipients)
    items: dict[str, Stored] = {}
    fresh, started = 0, time.monotonic()
    for done, item in enumerate(taken.items, start=1):
        before = known.get(item.name)
        if before and item.mark and before.mark == item.mark:
            items[item.name] = before
        else:
            items[item.name] = stored = _put(vault, item, recipients)
            memory.note_arrival(site.name, data_set.name, recipients, stored)
            fresh += stored.size
        progress(done, len(taken.items))
    old = {} if whole or last is None else last.items
    new = [item for name, item in items.items() if old.get(name) != item]
    index = Index(items=tuple(new), gone=tuple(sorted(old.keys() - items.keys())))
    sealed, _ = vault.put(io.BytesIO(index.model_dump_json().encode()), recipients)
    entry = Entry(
        site=site.name, data_set=data_set.name, engine=str(data_set.kind), id=number,
        parent="" if whole or last is None else last.id, at=taken.at,
        milliseconds=round((time.monotonic() - started) * 1000), size=sum(item.size for item in new),
        index=sealed, blobs=_distinct(item.blob for item in new), revision=taken.revision, facts=taken.facts,
        recipients=tuple(recipients),
    )  # fmt: skip
    vault.enter(receipt.sign(entry.body(), key))
    memory.remember(
        site.name,
        data_set.name,
        number,
        begun if whole or last is None else last.begun_whole,
        recipients,
        items,
    )
    kind = "complete" if not entry.parent else f"adds to {entry.parent}"
    tell(f"{data_set.name}: backup {number} at {vault.name}, {len(new)} item(s), {fresh} bytes sent, {kind}")
    return entry


def _usable(last: Memory | None, vault: Vault, key: Ed25519PrivateKey, data_set: DataSet) -> Memory | None:
    """Return what is remembered, unless the copy no longer has it whole: then a complete backup is due."""
    if last is None:
        return None
    copy = vault.look(receipt.public_text(key), data_set.name)
    try:
        entry = chain(copy.entries, last.id)[-1]
    except IntegrityError:
        return None
    return last if copy.good(entry) else None


def _put(vault: Vault, item: Item, recipients: Sequence[str]) -> Stored:
    with item.open() as stream:
        blob, read = vault.put(stream, recipients)
    return Stored(name=item.name, blob=blob, sha256=read.sha256, size=read.size, mark=item.mark)


def _distinct(blobs: Iterable[Blob]) -> tuple[Blob, ...]:
    return tuple({blob.sha256: blob for blob in blobs}.values())
