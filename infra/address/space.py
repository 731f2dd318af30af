"""Free space of a set of prefixes in one family, in whole powers of two; numbers instead of `ipaddress` for speed.

A prefix is (first address, bits): it has 2^bits addresses and begins at a multiple of that. Which prefix is taken
depends only on what is occupied, not on the order in which it became so.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heappush

Prefix = tuple[int, int]


class Full(Exception):
    """No free prefix of the wanted size is left."""


class Space:
    """Free space.

    Args:
        pools: disjoint prefixes to take from.
        occupied: prefixes that are taken; what lies outside the pools does not matter.
    """

    def __init__(self, pools: Iterable[Prefix], occupied: Iterable[Prefix] = ()) -> None:
        self._free: dict[int, list[int]] = {}
        taken = sorted((first, first + (1 << bits)) for first, bits in occupied)
        at = 0
        for first, bits in sorted(pools):
            begin, end = first, first + (1 << bits)
            while at < len(taken) and taken[at][0] < end:
                if taken[at][1] > begin:
                    self._add(begin, taken[at][0])
                    begin = taken[at][1]
                at += 1
            self._add(begin, end)
        for heap in self._free.values():
            heapify(heap)

    def take(self, bits: int) -> Prefix:
        """Take a prefix of 2^bits addresses: from the smallest free one that holds it, and there the lowest.

        Raises:
            Full: there is none.
        """
        size = min((size for size, heap in self._free.items() if heap and size >= bits), default=None)
        if size is None:
            raise Full
        first = heappop(self._free[size])
        while size > bits:
            size -= 1
            heappush(self._free.setdefault(size, []), first + (1 << size))
        return first, bits

    @property
    def free(self) -> int:
        """Number of free addresses."""
        return sum(len(heap) << size for size, heap in self._free.items())

    def _add(self, begin: int, end: int) -> None:
        """Add a gap as the largest aligned powers of two that it consists of."""
        while begin < end:
            fits = (end - begin).bit_length() - 1
            bits = min(fits, (begin & -begin).bit_length() - 1) if begin else fits
            self._free.setdefault(bits, []).append(begin)
            begin += 1 << bits
