"""What production remembers of its last backup of a data set: which objects are sealed already, and where.

The copies cannot tell: production cannot read what it has sealed. When this is lost, the next backup is a complete one.
A journal of the backup under way lets a broken one continue with what has arrived.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from pydantic import AwareDatetime, ValidationError

from infra import paths, private
from infra.backup.catalogue import Blob
from infra.model.base import Model

#: Seconds after which a broken backup begins anew: the copies clear away what belongs to none after a day.
KEPT = 12 * 3600


class Stored(Model):
    """An item and the blob that holds it."""

    name: str
    blob: Blob
    sha256: str
    size: int
    mark: str = ""


class Index(Model):
    """What a backup has: the content of its index, a sealed blob itself."""

    items: tuple[Stored, ...]
    gone: tuple[str, ...] = ()


class Memory(Model):
    """The last backup of a data set."""

    id: str
    begun_whole: AwareDatetime
    recipients: tuple[str, ...]
    items: dict[str, Stored]


def _file(site: str, data_set: str, suffix: str) -> Path:
    return paths.state(site).backup / f"{data_set}.{suffix}"


def recall(site: str, data_set: str, recipients: Sequence[str]) -> Memory | None:
    """Return what is remembered, if it was sealed for the same recipients."""
    try:
        found = Memory.model_validate_json(_file(site, data_set, "json").read_text("utf-8"))
    except (FileNotFoundError, ValidationError):
        return None
    return found if found.recipients == tuple(recipients) else None


def remember(
    site: str,
    data_set: str,
    number: str,
    begun: datetime,
    recipients: Sequence[str],
    items: dict[str, Stored],
) -> None:
    """Remember a backup that is entered; its journal is no longer needed."""
    memory = Memory(id=number, begun_whole=begun, recipients=tuple(recipients), items=items)
    private.write(_file(site, data_set, "json"), memory.model_dump_json().encode())
    _file(site, data_set, "journal").unlink(missing_ok=True)


def arrived(site: str, data_set: str, recipients: Sequence[str]) -> dict[str, Stored]:
    """Return what a backup that was broken off has brought to the first copy, by name."""
    found: dict[str, Stored] = {}
    file = _file(site, data_set, "journal")
    with contextlib.suppress(FileNotFoundError):
        if time.time() - file.stat().st_mtime > KEPT:
            file.unlink()
        for line in file.read_text("utf-8").splitlines():
            with contextlib.suppress(ValueError, KeyError):  # the last line may be half a line
                row = json.loads(line)
                if row["recipients"] == list(recipients):
                    item = Stored.model_validate(row["item"])
                    found[item.name] = item
    return found


def note_arrival(site: str, data_set: str, recipients: Sequence[str], item: Stored) -> None:
    """Note in the journal that an item has arrived; one without a mark is read anew in any case."""
    if not item.mark:
        return
    file = _file(site, data_set, "journal")
    file.parent.mkdir(exist_ok=True, mode=0o700)
    with file.open("a", encoding="utf-8") as out:
        out.write(json.dumps({"recipients": list(recipients), "item": item.model_dump(mode="json")}) + "\n")
