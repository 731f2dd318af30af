"""A whole province in one machine: simulators of its routers with their rendered filters, and of hosts behind them.

One network namespace for each router on the carrier's first plane (the plane itself, the first core router, each
unit's), one for the hosts of each unit (`h-<unit>`), and a veth pair for each circuit and LAN. The filters are those
that production gets; static routes stand in for BGP, and neighbours are permanent: the kernel's table of them is one
for all namespaces and would overflow. Pure: what is made here as data, `lab/outside/agent.py` installs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import count
from typing import Any

from infra.model.net import DualAddress, DualPrefix
from infra.model.network import RouterRole
from infra.network.device import Device, Interface, Neighbour
from infra.network.fabric import Fabric
from infra.network.mapping import short
from infra.network.policy import Endpoint
from infra.render.units import SYSCTL
from lab.outside.probe import FAMILIES, Flow, Place, lan_name, matrix_flows

#: Besides what routers have: addresses are there at once.
ROUTER = SYSCTL | {"net.ipv6.conf.default.accept_dad": 0}
HOST = {
    "net.ipv4.conf.all.rp_filter": 0,
    "net.ipv4.conf.default.rp_filter": 0,
    # The LANs of a unit are in one namespace: what comes from one of them to another has a local source.
    "net.ipv4.conf.all.accept_local": 1,
    "net.ipv6.conf.default.accept_ra": 0,
    "net.ipv6.conf.default.accept_dad": 0,
}


@dataclass
class Space:
    """A network namespace.

    Args:
        sysctl: the kernel's parameters, set before there are devices.
        ip: lines of `ip -batch`, run inside.
        nft: filter; empty: none.
    """

    sysctl: dict[str, int]
    ip: list[str] = field(default_factory=lambda: ["link set lo up"])
    nft: str = ""


@dataclass(frozen=True)
class Plug:
    """One end of a veth pair.

    Args:
        space: name of its namespace.
        device: its name there, at most 15 characters.
        address: its address.
        prefix: the prefix that both ends are in.
    """

    space: str
    device: str
    address: DualAddress
    prefix: DualPrefix


class Province:
    """A province as network namespaces.

    Args:
        fabric: its routers, with the interfaces of the lab (`Mapping.LAB`).
        filters: returns a router's `nftables.conf`.
        unit_lans: purposes of the units' LANs that have hosts.
        centre_lans: purposes of the core's LANs that have hosts.
        prefix: what every namespace's name begins with.
    """

    def __init__(
        self,
        fabric: Fabric,
        filters: Callable[[Device], str],
        *,
        unit_lans: Collection[str],
        centre_lans: Collection[str],
        prefix: str = "",
    ) -> None:
        self.fabric, self.filters, self.prefix = fabric, filters, prefix
        self.unit_lans, self.centre_lans = unit_lans, centre_lans

    @cached_property
    def plane(self) -> Device:
        """The carrier's first router."""
        return next(device for device in self.fabric.devices if device.carrier)

    @cached_property
    def routers(self) -> tuple[Device, ...]:
        """The first router of each unit that has one on the plane: the core's and the units'."""
        found: dict[str, Device] = {}
        for device in self.fabric.devices:
            if not device.carrier and any(link.far == self.plane.name for link in device.links):
                found.setdefault(device.unit, device)
        return tuple(found.values())

    @cached_property
    def lans(self) -> tuple[tuple[Device, Interface, Endpoint], ...]:
        """Every LAN that has hosts: router, its interface, the LAN's place in the policy."""
        known = {(e.unit, e.purpose): e for e in self.fabric.policy.endpoints}
        return tuple(
            (device, lan, known[device.unit, lan.purpose])
            for device in self.routers
            for lan in device.lans
            if lan.purpose in (self.centre_lans if device.role is RouterRole.CORE else self.unit_lans)
        )

    @cached_property
    def units(self) -> tuple[Endpoint, ...]:
        """LANs of the units."""
        return tuple(lan for device, _, lan in self.lans if device.role is not RouterRole.CORE)

    @cached_property
    def centre(self) -> tuple[Endpoint, ...]:
        """LANs of the data centre."""
        return tuple(lan for device, _, lan in self.lans if device.role is RouterRole.CORE)

    @cached_property
    def places(self) -> dict[str, Place]:
        """Name of a LAN -> where its hosts are."""
        return {
            lan_name(lan): Place(self._hosts(lan.unit), short(lan.purpose), str(host.ipv4), str(host.ipv6))
            for _, interface, lan in self.lans
            for host in [last_host(interface)]
        }

    @cached_property
    def pairs(self) -> tuple[tuple[Plug, Plug], ...]:
        """Every veth pair: circuits (router, plane), then LANs (router, hosts)."""
        return (*self._circuits(), *self._lans())

    @cached_property
    def spaces(self) -> dict[str, Space]:
        """Every namespace by name."""
        found = {
            self._router(device): Space(dict(ROUTER), nft=self.filters(device))
            for device in (self.plane, *self.routers)
        }
        found |= {self._hosts(device.unit): Space(dict(HOST)) for device, _, _ in self.lans}
        for device in (self.plane, *self.routers):
            found[self._router(device)].ip += _address("lo", device.loopback, 32, 128)
        for number, pair in enumerate(self.pairs):
            for end in (0, 1):
                found[pair[end].space].ip += _plugged(pair[end], pair[1 - end], mac(2 * number + 1 - end))
        for device in self.routers:
            found[self._router(device)].ip += self._routes(device)
        found[self._router(self.plane)].ip += self._plane_routes()
        for number, (device, lan, _) in enumerate(self.lans):
            found[self._hosts(device.unit)].ip += [
                f"route add {everything} via {via} dev {short(lan.purpose)} metric {100 + number}"
                for everything, via in (("::/0", lan.gateway.ipv6), ("0.0.0.0/0", lan.gateway.ipv4))
            ]
        return found

    @cached_property
    def links(self) -> tuple[str, ...]:
        """Lines of `ip -batch` that make the veth pairs."""
        numbers = count()
        return tuple(
            f"link add {one.device} address {mac(next(numbers))} netns {one.space} type veth "
            f"peer name {two.device} address {mac(next(numbers))} netns {two.space}"
            for one, two in self.pairs
        )

    def request(self, state: str) -> dict[str, Any]:
        """Return the request with which the agent installs it.

        Args:
            state: file in the machine that remembers what was made; below `/run`, which ends when the namespaces do.
        """
        spaces = {key: asdict(space) for key, space in self.spaces.items()}
        return {"mode": "install", "state": state, "namespaces": spaces, "links": list(self.links)}

    def flows(self, between: str) -> list[Flow]:
        """Return what is probed: every LAN to every other in both families, with what the policy says.

        To the data centre it is every service; for the rest one, since there the policy lets all pass or nothing.

        Args:
            between: the one service.
        """
        policy = self.fabric.policy
        return [
            *matrix_flows(policy, (*self.units, *self.centre), self.centre),
            *matrix_flows(policy, self.centre, self.units, [between]),
            *matrix_flows(policy, self.units, self.units, [between]),
        ]

    def _router(self, device: Device) -> str:
        return f"{self.prefix}{device.name}"

    def _hosts(self, unit: str) -> str:
        return f"{self.prefix}h-{unit}"

    def _circuits(self) -> Iterator[tuple[Plug, Plug]]:
        far = {link.prefix: link for link in self.plane.links}
        for device in self.routers:
            for link in device.links:
                if other := far.get(link.prefix):
                    yield (
                        Plug(self._router(device), link.name, link.address, link.prefix),
                        Plug(self._router(self.plane), other.name, other.address, link.prefix),
                    )

    def _lans(self) -> Iterator[tuple[Plug, Plug]]:
        for device, lan, _ in self.lans:
            yield (
                # Routers that share an address are one here: it has the shared address itself.
                Plug(self._router(device), lan.name, lan.gateway, lan.prefix),
                Plug(self._hosts(device.unit), short(lan.purpose), last_host(lan), lan.prefix),
            )

    def _routes(self, device: Device) -> Iterator[str]:
        """Registered space by the plane; the unit's own LANs are more specific."""
        for near in self._to(device, {self.plane.name}):
            yield from _route(device.registered, near)

    def _plane_routes(self) -> Iterator[str]:
        """Each unit's blocks by its router."""
        sources = {link.name: link.sources for link in self.plane.links}
        for near in self._to(self.plane, {device.name for device in self.routers}):
            yield from _route(sources[near.interface], near)

    def _to(self, device: Device, names: Collection[str]) -> Iterator[Neighbour]:
        """Yield the neighbours of some names, each once though there may be several circuits."""
        yield from {near.name: near for near in reversed(device.neighbours) if near.name in names}.values()


def last_host(lan: Interface) -> DualAddress:
    """Return the last address of a LAN in IPv4 that is no router's, and the one of the same number in IPv6."""
    virtual = (lan.virtual.address, *lan.virtual.others) if lan.virtual else ()
    routers = {lan.address, *virtual}
    last = lan.prefix.ipv4.num_addresses - 2  # then comes the broadcast address
    return next(host for number in range(last, 0, -1) if (host := lan.prefix.host(number)) not in routers)


def mac(number: int) -> str:
    """Return a locally administered MAC address (IEEE 802-2014 8.2)."""
    return ":".join(f"{byte:02x}" for byte in (2, 0, *number.to_bytes(4, "big")))


def _address(device: str, address: DualAddress, ipv4_length: int, ipv6_length: int) -> list[str]:
    return [
        f"address add {address.ipv6}/{ipv6_length} dev {device} nodad",
        f"address add {address.ipv4}/{ipv4_length} dev {device}",
    ]


def _plugged(own: Plug, other: Plug, other_mac: str) -> list[str]:
    """Return the lines that bring up one end of a pair and make the other end known to it."""
    return [
        f"link set {own.device} up",
        *_address(own.device, own.address, own.prefix.ipv4.prefixlen, own.prefix.ipv6.prefixlen),
        *(
            f"neigh replace {a} lladdr {other_mac} dev {own.device} nud permanent"
            for a in other.address.pair()
        ),
    ]


def _route(prefixes: Collection[DualPrefix], near: Neighbour) -> Iterator[str]:
    for prefix in dict.fromkeys(prefixes):
        for family in FAMILIES:
            via = getattr(near.address, family)
            yield f"route add {getattr(prefix, family)} via {via} dev {near.interface}"
