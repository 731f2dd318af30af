"""What a client that writes numbered rows has seen: acknowledgements, outages, and what was lost. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tests.bench.measure import MeasureError


@dataclass(frozen=True)
class Ack:
    """A row that the database has acknowledged.

    Args:
        number: of the row.
        at: seconds since the client began.
    """

    number: int
    at: float


def parse(lines: Iterable[str]) -> list[Ack]:
    """Return the acknowledgements in the client's output.

    Raises:
        MeasureError: a line is none: the client has failed.
    """
    found = []
    for line in filter(str.strip, lines):
        try:
            number, at = json.loads(line)
            found.append(Ack(int(number), float(at)))
        except (ValueError, TypeError):
            raise MeasureError(f"the client says: {line.strip()[:300]}") from None
    return found


def outage(acks: Sequence[Ack], interval: float) -> float:
    """Return the longest time without an acknowledgement in seconds, without the client's own pause.

    Raises:
        MeasureError: the client has written too little to have seen one.
    """
    gaps = [after.at - before.at for before, after in pairwise(acks)]
    if not gaps:
        raise MeasureError(f"the client has written {len(acks)} row(s)")
    return max(0.0, max(gaps) - interval)


def lost(acks: Sequence[Ack], there: Iterable[int]) -> list[int]:
    """Return the numbers of rows that were acknowledged and are not there."""
    return sorted({ack.number for ack in acks} - set(there))
