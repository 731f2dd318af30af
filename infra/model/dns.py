"""Names at a site: the units' zone, the resolver on the core routers, and the translation that goes with it.

Sources: RFC 6147 (DNS64), RFC 6052 (addresses that hold an IPv4 address), RFC 7915 (translation), RFC 4786 (one address
on several servers).
"""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv6Interface
from typing import Self

from pydantic import Field, model_validator

from infra.model.base import Model
from infra.model.net import DualAddress, DualPrefix

#: Length of the translation's prefix: the one of RFC 6052 2.2 in which an IPv4 prefix stays a prefix.
NAT64_LENGTH = 96


class Resolver(Model):
    """The resolver of the province's own networks: every core router answers at its address."""

    address: DualAddress = Field(description="of every core router, in no segment")
    zones: tuple[str, ...] = Field(
        min_length=1,
        description="zones of the site's LANs whose hosts may ask; in units the routers ask for their hosts",
    )
    forwarders: tuple[DualAddress, ...] = Field(
        default=(), description="who is asked for names of others; none: such names are refused"
    )

    @property
    def block(self) -> DualPrefix:
        """The smallest prefix around the address that is announced: host routes do not leave a unit."""
        return DualPrefix(
            ipv6=IPv6Interface((self.address.ipv6, 127)).network,
            ipv4=IPv4Interface((self.address.ipv4, 31)).network,
        )


class Names(Model):
    """`names` of a site."""

    units: str = Field(
        pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        description="label of the units' zone, below the site's; it is answered to the resolver only",
    )
    resolver: Resolver
    nat64: DualPrefix | None = Field(
        default=None,
        description="ipv6: /96 that stands for IPv4; ipv4: addresses that stand for hosts with IPv6 only, "
        "as many as there are such hosts at one time. None: no translation",
    )

    @property
    def blocks(self) -> tuple[DualPrefix, ...]:
        """What the core routers hold for it."""
        return (self.resolver.block, *([self.nat64] if self.nat64 else []))

    @model_validator(mode="after")
    def _translation(self) -> Self:
        if self.nat64 is None:
            return self
        if self.nat64.ipv6.prefixlen != NAT64_LENGTH:
            raise ValueError(f"nat64.ipv6 {self.nat64.ipv6} is no /{NAT64_LENGTH} (RFC 6052 2.2)")
        if self.nat64.ipv4.prefixlen > 28:
            raise ValueError(
                f"nat64.ipv4 {self.nat64.ipv4} is for fewer than 14 hosts; give it a /28 at least"
            )
        block = self.resolver.block
        if block.ipv6.overlaps(self.nat64.ipv6) or block.ipv4.overlaps(self.nat64.ipv4):
            raise ValueError(f"resolver.address {' and '.join(self.resolver.address.pair())} lies in nat64")
        return self
