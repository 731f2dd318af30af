"""Dual-stack values: both families or neither."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeVar

from infra.model.base import Model


class DualAddress(Model):
    """One host's address in both families."""

    ipv6: IPv6Address
    ipv4: IPv4Address

    def pair(self) -> tuple[str, str]:
        """Return (IPv6, IPv4) as text, IPv6 first as everywhere in `tinh`."""
        return str(self.ipv6), str(self.ipv4)


class DualPrefix(Model):
    """One segment's prefix in both families."""

    ipv6: IPv6Network
    ipv4: IPv4Network

    def host(self, number: int) -> DualAddress:
        """Return the address with the given host number in both families."""
        return DualAddress(ipv6=self.ipv6[number], ipv4=self.ipv4[number])

    def pair(self) -> tuple[str, str]:
        """Return (IPv6, IPv4) as text."""
        return str(self.ipv6), str(self.ipv4)

    def text(self) -> list[str]:
        """Return `first-last` per family, IPv6 first (the form that MetalLB takes)."""
        return [f"{prefix[0]}-{prefix[-1]}" for prefix in (self.ipv6, self.ipv4)]

    def within(self, other: DualPrefix) -> bool:
        """Return whether the prefix lies in another, in both families."""
        return self.ipv6.subnet_of(other.ipv6) and self.ipv4.subnet_of(other.ipv4)


Address = IPv4Address | IPv6Address
Network = TypeVar("Network", IPv4Network, IPv6Network)


def without(prefix: Network, parts: Iterable[Network]) -> list[tuple[Address, Address]]:
    """Return what is left of a prefix, as ranges (first, last) of addresses in order.

    Ranges, not prefixes: a /64 without a /123 is two of the former and 59 of the latter.

    Args:
        prefix: of one family.
        parts: what is taken away; what lies elsewhere does not count.
    """
    found, start = [], int(prefix[0])
    for part in sorted(part for part in parts if part.subnet_of(prefix)):
        found.append((start, int(part[0]) - 1))
        start = max(start, int(part[-1]) + 1)
    address = type(prefix[0])
    found.append((start, int(prefix[-1])))
    return [(address(first), address(last)) for first, last in found if first <= last]
