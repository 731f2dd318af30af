"""Dual-stack values: both families or neither."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from pydantic import model_validator

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


class DualRange(Model):
    """A contiguous range of host addresses in both families."""

    first: DualAddress
    last: DualAddress

    @model_validator(mode="after")
    def _ordered(self) -> DualRange:
        if self.first.ipv4 > self.last.ipv4 or self.first.ipv6 > self.last.ipv6:
            raise ValueError("first is after last")
        return self

    def text(self) -> list[str]:
        """Return `first-last` per family, IPv6 first (the form that MetalLB takes)."""
        return [
            f"{self.first.ipv6}-{self.last.ipv6}",
            f"{self.first.ipv4}-{self.last.ipv4}",
        ]
