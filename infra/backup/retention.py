"""Which backups stay. Pure; the machines with the copies have a lock of their own besides (`vault.py` there)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

from infra.backup.catalogue import Entry, chain
from infra.errors import IntegrityError
from infra.model.backup import Retention

#: Rule -> what makes two backups of the same period.
PERIODS: dict[str, Callable[[datetime], tuple[int, ...]]] = {
    "daily": lambda at: (at.year, at.month, at.day),
    "weekly": lambda at: tuple(at.isocalendar()[:2]),
    "monthly": lambda at: (at.year, at.month),
}


def keep(
    entries: Sequence[Entry], rule: Retention, now: datetime, good: Callable[[Entry], bool] = lambda _: True
) -> set[str]:
    """Return the names of the backups of one data set that stay.

    The newest good one always stays, and so does what a kept one adds to. A damaged one is no period's last one.

    Args:
        entries: all of the data set.
        rule: what is to be kept.
        now: the moment.
        good: whether a backup can be read.
    """
    usable = sorted((e for e in entries if good(e)), key=lambda e: e.at, reverse=True)
    wanted = {e.id for e in usable[:1]}
    limit = now - timedelta(days=max(rule.all_days, rule.locked_days))
    wanted |= {e.id for e in entries if e.at >= limit}
    for name, period in PERIODS.items():
        wanted |= _last_of_each(usable, period, getattr(rule, name))
    return {part.id for name in wanted for part in _whole(entries, name)}


def drop(
    entries: Sequence[Entry], rule: Retention, now: datetime, good: Callable[[Entry], bool] = lambda _: True
) -> list[Entry]:
    """Return the backups of one data set that go, oldest first; see `keep`."""
    stay = keep(entries, rule, now, good)
    return sorted((e for e in entries if e.id not in stay), key=lambda e: e.at)


def _last_of_each(
    newest_first: Iterable[Entry], period: Callable[[datetime], tuple[int, ...]], count: int
) -> set[str]:
    last: dict[tuple[int, ...], str] = {}
    for entry in newest_first:
        last.setdefault(period(entry.at), entry.id)
    return set(list(last.values())[:count])


def _whole(entries: Sequence[Entry], name: str) -> list[Entry]:
    """Return a backup with what it adds to; of a broken chain, what is there of it."""
    try:
        return chain(entries, name)
    except IntegrityError:
        return [entry for entry in entries if entry.id == name]
