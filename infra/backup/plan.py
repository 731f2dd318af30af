"""What a restore or a clearing out would do, before anything is done. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from infra.backup.catalogue import Copy, Entry, chain, size_text, text_of
from infra.backup.sets import DataSet, Kind
from infra.errors import TinhError


@dataclass(frozen=True, kw_only=True)
class RestorePlan:
    """One restore.

    Args:
        data_set: what comes back.
        source: copy that it is read from.
        parts: the backup and what it adds to, the complete one first.
        to: moment that is wanted; None: the end of the backup.
        into: name of what is made; in place: of what is replaced.
        in_place: what serves now is replaced at the end.
        now: when the plan was made.
    """

    data_set: DataSet
    source: str
    parts: tuple[Entry, ...]
    to: datetime | None
    into: str
    in_place: bool
    now: datetime

    @property
    def entry(self) -> Entry:
        """The backup itself."""
        return self.parts[-1]

    @property
    def moment(self) -> datetime:
        """As of when the data will be."""
        return self.to or self.entry.at

    @property
    def loss(self) -> timedelta:
        """What was written in this time before now will not be there."""
        return self.now - self.moment

    def text(self) -> str:
        """Return the plan for people."""
        old = f"{self.data_set.name} as it is now" if self.in_place else "nothing"
        after = "; it stays aside until you remove it" if self.in_place else ""
        size = sum(blob.size for part in self.parts for blob in (part.index, *part.blobs))
        count = f", {len(self.parts)} parts" if len(self.parts) > 1 else ""
        return "\n".join(
            (
                f"restore of {self.data_set.name} ({self.data_set.kind}: {self.data_set.holds.en})",
                f"  from:      backup {self.entry.id} at {self.source} ({size_text(size)}{count})",
                f"  data of:   {self.moment:%Y-%m-%d %H:%M:%S %Z}",
                f"  lost:      what was written in the {text_of(self.loss)} since then",
                f"  made:      {self.into}",
                f"  replaced:  {old}{after}",
            )
        )


def plan_restore(
    data_set: DataSet,
    copies: Sequence[Copy],
    now: datetime,
    *,
    to: datetime | None = None,
    into: str = "",
    in_place: bool = False,
    only: str = "",
) -> RestorePlan:
    """Return what a restore would do: from the first copy that has the backup that fits best, whole and good.

    Args:
        data_set: what is to come back.
        copies: what there is, the preferred one first.
        now: the moment.
        to: data as of this moment; None: as new as there are.
        into: name of what is made.
        in_place: replace what serves.
        only: this copy; empty: any.

    Raises:
        TinhError: no backup fits; the message says what there is.
    """
    if to and to > now:
        raise TinhError(f"{to.isoformat()} is in the future", where="--to", fix="give a moment of the past")
    best: tuple[Entry, Copy] | None = None
    for copy in copies:
        if only in ("", copy.name) and (found := _fitting(data_set, copy, to)):
            best = (found, copy) if best is None or _better(found, best[0], to) else best
    if best is None:
        raise TinhError(
            f"no good backup of {data_set.name}{f' for {to.isoformat()}' if to else ''}",
            where=_there_is(data_set, copies, only),
            fix="choose a moment that a backup has; `tinh backup list` and `show` say which there are",
        )
    entry, copy = best
    mine = [e for e in copy.entries if e.data_set == data_set.name]
    return RestorePlan(
        data_set=data_set, source=copy.name, parts=tuple(chain(mine, entry.id)), to=to, into=into,
        in_place=in_place, now=now,
    )  # fmt: skip


def _fitting(data_set: DataSet, copy: Copy, to: datetime | None) -> Entry | None:
    """Return the best backup of a copy for a moment.

    PostgreSQL comes back as of any moment between a complete backup and the end of what was added to it; all others as
    they were when they were backed up.
    """
    if to is None or data_set.kind is not Kind.POSTGRESQL:
        return copy.newest(data_set.name, until=to)
    mine = [e for e in copy.entries if e.data_set == data_set.name]
    spans = [e for e in mine if e.at >= to and copy.good(e) and chain(mine, e.id)[0].at <= to]
    return min(spans, key=lambda e: e.at, default=None)


def _better(new: Entry, old: Entry, to: datetime | None) -> bool:
    """Return whether a backup fits better than the one of an earlier copy; equal ones do not."""
    if to is not None and new.at >= to and old.at >= to:
        return new.at < old.at
    return new.at > old.at


def _there_is(data_set: DataSet, copies: Sequence[Copy], only: str) -> str:
    lines = []
    for copy in copies:
        mine = sorted((e for e in copy.entries if e.data_set == data_set.name), key=lambda e: e.at)
        if only not in ("", copy.name):
            continue
        span = f"{len(mine)} from {mine[0].at.isoformat()} to {mine[-1].at.isoformat()}" if mine else "none"
        lines.append(f"{copy.name}: {copy.problem or span}")
    return "; ".join(lines) or "no copies"


@dataclass(frozen=True)
class PrunePlan:
    """Backups that go from one copy.

    Args:
        copy: the machine.
        gone: by data set, oldest first.
        left: number that stays, by data set.
    """

    copy: str
    gone: dict[str, list[Entry]]
    left: dict[str, int]

    def text(self) -> str:
        """Return the plan for people."""
        lines = [f"{self.copy}: these backups will be gone:"] if any(self.gone.values()) else []
        for name, entries in self.gone.items():
            if entries:
                ids = ", ".join(e.id for e in entries[:4]) + (", ..." if len(entries) > 4 else "")
                lines.append(f"  {name}: {len(entries)} ({ids}); {self.left[name]} stay")
        return "\n".join(lines or [f"{self.copy}: nothing is older than the rules want"])
