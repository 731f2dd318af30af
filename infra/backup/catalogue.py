"""The catalogue: one signed entry for each backup, kept beside it at every copy.

An entry says what was backed up, when, how much, what was counted then (`facts`), and which blobs hold it. Blobs are
sealed files that are named by their own SHA-256. What is in them is said by the index, itself a sealed blob, because
names of objects may be personal data. An increment has only what is new since its parent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, Field

from infra import receipt
from infra.errors import IntegrityError, TinhError
from infra.model.base import Model, validate

KIND = "backup"
_HASH = Field(pattern=r"^[0-9a-f]{64}$")


class Blob(Model):
    """A sealed file, as it lies at the copies."""

    sha256: str = _HASH
    size: int = Field(ge=0)


class Entry(Model):
    """One backup."""

    kind: Literal["backup"] = KIND
    site: str
    data_set: str
    engine: str
    id: str = Field(pattern=r"^[0-9]{8}T[0-9]{6}Z$", description="when it was begun, UTC")
    parent: str = Field(default="", description="the backup that it adds to; empty: it is complete by itself")
    at: AwareDatetime = Field(description="the data are in it as they were then")
    milliseconds: int = Field(ge=0, description="how long it took")
    size: int = Field(ge=0, description="bytes before sealing, without what the parent has")
    index: Blob
    blobs: tuple[Blob, ...]
    revision: str = Field(default="", description="of the source: LSN, revision, commit")
    facts: dict[str, Any] = Field(description="what was counted when it was taken; a drill counts again")
    recipients: tuple[str, ...] = Field(min_length=1, description="public keys for which it is sealed")

    def body(self) -> dict[str, Any]:
        """Return what is signed."""
        return self.model_dump(mode="json")


def new_id(at: datetime) -> str:
    """Return the name of a backup that is begun at a moment."""
    return f"{at.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def read_entry(document: Any, where: str, public: str | None) -> Entry:  # noqa: ANN401 - checked here
    """Return the entry in a signed document.

    Args:
        document: as a copy gave it.
        where: which copy, for messages.
        public: the province's key; None: only changes are found, not who made it.

    Raises:
        TinhError: it is no entry, it was changed, or another key has signed it.
    """
    return validate(Entry, receipt.verify(document, where, public), Path(where))


class Copy(Model):
    """What one machine outside the cluster has."""

    name: str
    entries: tuple[Entry, ...]
    damaged: frozenset[str] = Field(default=frozenset(), description="blobs that are not what they were")
    problem: str = Field(default="", description="why nothing is known of it")

    def good(self, entry: Entry) -> bool:
        """Return whether a backup and all that it adds to can be read here, as far as it was looked at."""
        mine = {item.id: item for item in self.entries if item.data_set == entry.data_set}
        try:
            parts = chain(mine.values(), entry.id)
        except IntegrityError:
            return False
        return not any(blob.sha256 in self.damaged for part in parts for blob in (part.index, *part.blobs))

    def newest(self, data_set: str, *, until: datetime | None = None) -> Entry | None:
        """Return the newest good backup of a data set, of those that are not after a moment."""
        found = [e for e in self.entries if e.data_set == data_set and (until is None or e.at <= until)]
        return max((e for e in found if self.good(e)), key=lambda e: e.at, default=None)


def chain(entries: Iterable[Entry], wanted: str) -> list[Entry]:
    """Return a backup with all that it adds to, the complete one first.

    Args:
        entries: of one data set.
        wanted: its name.

    Raises:
        IntegrityError: one of them is missing.
    """
    by_id = {entry.id: entry for entry in entries}
    found: list[Entry] = []
    while wanted:
        if wanted not in by_id or len(found) > len(by_id):
            raise IntegrityError(
                f"backup {wanted} is missing",
                where=f"{found[0].data_set}, of which {found[-1].id} is a part" if found else "the catalogue",
                fix="take another copy (`tinh backup list` shows which have it) or an older backup",
            )
        found.append(by_id[wanted])
        wanted = by_id[wanted].parent
    return found[::-1]


class Standing(Model):
    """How well a data set is backed up."""

    data_set: str
    newest: Entry | None
    total: int = Field(description="bytes at one copy, of all its backups")
    count: int
    holders: tuple[str, ...] = Field(description="copies where the newest one is, and good")
    age: timedelta | None
    target: timedelta
    problems: tuple[str, ...] = Field(description="why it is red; none: it is not")


#: How much later than the first copy the others may have a backup.
LAG = timedelta(minutes=30)


def standing(data_set: str, point: int, copies: Sequence[Copy], asked: int, now: datetime) -> Standing:
    """Return how well a data set is backed up.

    Args:
        data_set: its name.
        point: minutes of data that may be lost.
        copies: what the machines outside the cluster have.
        asked: number of copies that there must be.
        now: the moment.
    """
    target = timedelta(minutes=point)
    have = {copy.name: newest for copy in copies if (newest := copy.newest(data_set))}
    newest = max(have.values(), key=lambda entry: entry.at, default=None)
    everywhere = {e.id: e for copy in copies for e in copy.entries if e.data_set == data_set}
    problems = []
    if newest is None:
        problems.append("no good backup")
    else:
        if (age := now - newest.at) > target:
            problems.append(f"the newest is {text_of(age)} old, allowed {text_of(target)}")
        fresh = [name for name, entry in have.items() if newest.at - entry.at <= target + LAG]
        if len(fresh) < asked:
            problems.append(f"{len(fresh)} of {asked} copies are up to date")
    for copy in copies:
        bad = [e.id for e in copy.entries if e.data_set == data_set and not copy.good(e)]
        if bad:
            problems.append(f"damaged at {copy.name}: {', '.join(sorted(bad)[-3:])}")
    blobs = {b.sha256: b.size for e in everywhere.values() for b in (e.index, *e.blobs)}
    return Standing(
        data_set=data_set, newest=newest, total=sum(blobs.values()), count=len(everywhere),
        holders=tuple(c.name for c in copies if newest and newest in c.entries and c.good(newest)),
        age=now - newest.at if newest else None, target=target, problems=tuple(problems),
    )  # fmt: skip


def text_of(span: timedelta) -> str:
    """Return a time span for people."""
    minutes = int(span.total_seconds() // 60)
    if minutes < 1:
        return f"{int(span.total_seconds())} s"
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 2 * 24 * 60 else f"{minutes // (24 * 60)} d"


def size_text(count: int) -> str:
    """Return a number of bytes for people."""
    size, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        units.pop(0)
    return f"{size:.0f} {units[0]}" if units[0] == "B" else f"{size:.1f} {units[0]}"


def differences(recorded: Mapping[str, Any], found: Mapping[str, Any], path: str = "") -> list[str]:
    """Return how two sets of facts differ, a line each; none: they are the same.

    Args:
        recorded: from the catalogue.
        found: counted after a restore.
        path: where they are, for the lines.
    """
    lines: list[str] = []
    for key in sorted({*recorded, *found}):
        here = f"{path}{key}"
        before, now = recorded.get(key, "nothing"), found.get(key, "nothing")
        if isinstance(before, dict) and isinstance(now, dict):
            lines += differences(before, now, f"{here}.")
        elif before != now:
            lines.append(f"{here}: recorded {before}, found {now}")
    return lines


def parse_time(text: str, where: str) -> datetime:
    """Return a moment that a user has typed: ISO 8601; without a zone it is UTC.

    Raises:
        TinhError: it is none.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise TinhError(
            f"{text!r} is no time", where=where, fix="write it as 2026-11-26T17:00:00Z (ISO 8601)"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
