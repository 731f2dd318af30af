"""What a router is told: interfaces, BGP neighbours, virtual addresses. Compiled by `infra.network.fabric`."""

from __future__ import annotations

from functools import cached_property
from ipaddress import IPv4Interface, IPv6Interface

from infra.model.base import Model
from infra.model.dns import Names
from infra.model.net import DualAddress, DualPrefix
from infra.model.network import Kind, RouterRole


class Virtual(Model):
    """An address that routers share by VRRPv3 (RFC 9568), one virtual router for both families.

    Args:
        vrid: its number.
        priority: 1-254; the highest one that is up holds the address.
        address: the shared one.
        others: own addresses of the other routers.
    """

    vrid: int
    priority: int
    address: DualAddress
    others: tuple[DualAddress, ...]

    @property
    def link_local(self) -> str:
        """The virtual router's IPv6 link-local address; RFC 9568 5.2.9 wants it first."""
        return f"fe80::5e:0:{self.vrid:x}"


class Interface(Model):
    """One interface.

    Args:
        name: of the device in the kernel, at most 15 characters (IFNAMSIZ).
        port: the port below a VLAN; empty: the interface is no VLAN.
        far: name of the router at the other end of a link.
        capacity_mbps: of the circuit; None: LAN, loopback, or a link between a unit's own routers.
        sources: for a plane, what may come from the router at the other end; empty: see `Device.transit`.
    """

    name: str
    purpose: str
    kind: Kind
    domain: str
    address: DualAddress
    ipv6_length: int
    ipv4_length: int
    zone: str = ""
    vlan: int | None = None
    port: str = ""
    far: str = ""
    capacity_mbps: int | None = None
    virtual: Virtual | None = None
    sources: tuple[DualPrefix, ...] = ()

    @cached_property
    def prefix(self) -> DualPrefix:
        """The prefix that the interface is in."""
        return DualPrefix(
            ipv6=IPv6Interface((self.address.ipv6, self.ipv6_length)).network,
            ipv4=IPv4Interface((self.address.ipv4, self.ipv4_length)).network,
        )

    @property
    def gateway(self) -> DualAddress:
        """What the hosts of a LAN send to."""
        return self.virtual.address if self.virtual else self.address

    @property
    def macvlans(self) -> dict[str, str]:
        """Family -> device that carries the virtual address; what hosts send to it comes in there (RFC 9568 7.3)."""
        if self.virtual is None:
            return {}
        short = self.name if len(self.name) <= 12 else f"vr{self.virtual.vrid}"
        return {"ipv4": f"v4-{short}", "ipv6": f"v6-{short}"}

    @property
    def names(self) -> tuple[str, ...]:
        """Every device on which the interface's packets come in."""
        return (self.name, *self.macvlans.values())


class Entry(Model):
    """One entry of a prefix list.

    Args:
        longer: longer prefixes match too, except host routes.
        hosts: host routes match as well; they never leave a unit.
    """

    prefix: DualPrefix
    longer: bool = False
    hosts: bool = False


class Neighbour(Model):
    """A BGP neighbour: one session per family, each over its own family, with BFD.

    Args:
        accept: name of the prefix list for what is taken from it.
        announce: name of the prefix list for what it is told.
        most: more prefixes than this end the session.
        prepend: how often the own ASN is put before the path, so that others prefer the unit's first router.
    """

    name: str
    interface: str
    address: DualAddress
    asn: int
    accept: str
    announce: str
    most: int
    prepend: int = 0


class Device(Model):
    """One router.

    Args:
        name: short and stable: from the unit's code and the role's kind, not from who else there is.
        asn: private (RFC 6996), the unit's.
        blocks: the unit's own space: its blocks, and the segments behind the core.
        announced: what of it others are told: all but what is outside.
        inner: prefixes that only the unit's other router is told: LANs that are up, and the loopback.
        strict: all packets of a flow pass here, so replies are known by connection tracking alone.
        names: what it resolves and translates; core routers only.
    """

    name: str
    role: RouterRole
    unit: str
    number: int
    asn: int
    loopback: DualAddress
    interfaces: tuple[Interface, ...]
    neighbours: tuple[Neighbour, ...]
    prefix_lists: dict[str, tuple[Entry, ...]]
    blocks: tuple[DualPrefix, ...]
    announced: tuple[DualPrefix, ...]
    inner: tuple[DualPrefix, ...]
    registered: tuple[DualPrefix, ...]
    strict: bool
    names: Names | None = None

    @property
    def nat64(self) -> DualPrefix | None:
        """The translation that it does."""
        return self.names.nat64 if self.names else None

    @property
    def router_id(self) -> str:
        """BGP identifier: the IPv4 loopback."""
        return str(self.loopback.ipv4)

    @property
    def carrier(self) -> bool:
        """Whether it is one of the carrier's planes; it has no LANs."""
        return self.role is RouterRole.TSLCD_GATEWAY

    @property
    def transit(self) -> bool:
        """Whether flows pass it whose ends are elsewhere."""
        return self.carrier or not self.strict

    @cached_property
    def lans(self) -> tuple[Interface, ...]:
        """Interfaces to hosts."""
        return tuple(i for i in self.interfaces if i.kind is Kind.LAN)

    @cached_property
    def links(self) -> tuple[Interface, ...]:
        """Interfaces to other routers."""
        return tuple(i for i in self.interfaces if i.kind is Kind.LINK)

    @cached_property
    def wans(self) -> tuple[Interface, ...]:
        """Interfaces to circuits of the carrier."""
        return tuple(i for i in self.links if i.capacity_mbps is not None)
