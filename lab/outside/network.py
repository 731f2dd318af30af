"""The lab's network outside the data centre: machines, wires and hosts, compiled from the province. Simulator; pure.

Routers of units and the carrier's planes are system containers like the site's machines, reached over a console segment
of their own, so that no mistake in their configuration cuts the lab off. Each line is a veth pair. Hosts are network
namespaces of one machine: one for each unit, with a device for each LAN. Units of all epochs are there at once, since
no address passes to another unit while it rests: a reorganisation changes routers and pulls no wire.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from infra.errors import TinhError
from infra.model.net import DualAddress
from infra.model.network import RouterRole
from infra.model.site import Machine, Role, Site
from infra.network.device import Device, Interface
from infra.network.fabric import Fabric
from infra.network.mapping import short
from infra.network.of_site import host_name

#: Number of a host in its LAN: the smallest LANs have room for 13, the routers are the first three.
HOST = 10
#: Console addresses of routers begin here; before are the host and what a site wants to put there.
CONSOLE = 256


@dataclass(frozen=True, order=True)
class End:
    """One end of a wire: a device of a machine, or of a network namespace in it."""

    machine: str
    device: str
    netns: str = ""


@dataclass(frozen=True, order=True)
class Wire:
    """A veth pair."""

    a: End
    b: End


@dataclass(frozen=True)
class Nic:
    """A host in a LAN.

    Args:
        netns: namespace of its unit.
        device: named by the purpose of the LAN.
        address: its own, with `lengths` (IPv6, IPv4) of the LAN's prefixes.
        gateway: the LAN's.
        ports: devices that it bridges, where several routers are in the LAN.
        segment: segment of the site's machines that it is in; empty: there is a wire to it.
    """

    netns: str
    device: str
    address: DualAddress
    lengths: tuple[int, int]
    gateway: DualAddress
    ports: tuple[str, ...] = ()
    segment: str = ""


@dataclass(frozen=True)
class Outside:
    """What the lab has outside the data centre."""

    hosts: str
    machines: tuple[Machine, ...]
    wires: tuple[Wire, ...]
    nics: tuple[Nic, ...]

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Namespaces of hosts."""
        return tuple(dict.fromkeys(nic.netns for nic in self.nics))


def netns(unit: str) -> str:
    """Return the network namespace with a unit's hosts."""
    return f"h-{unit}"


def compile_outside(site: Site, fabrics: Sequence[Fabric]) -> Outside:
    """Return what plays the units and the carrier.

    Args:
        site: of kind lab, with one machine of role `outside` and one segment without a gateway, the console.
        fabrics: of every epoch.

    Raises:
        TinhError: the site has no such machine or segment, or the console is too small.
    """
    hosts = site.by_role(Role.OUTSIDE)
    if len(hosts) != 1:
        raise TinhError(
            f"{len(hosts)} machines have role {Role.OUTSIDE}; the units' hosts are in one",
            where=f"stacks/sites/{site.name}/site.yaml: machines",
            fix="give exactly one machine this role",
        )
    machines: dict[str, Machine] = {}
    wires: dict[Wire, None] = {}
    nics: dict[tuple[str, str], Nic] = {}
    for fabric in fabrics:
        for device in fabric.devices:
            if device.role is not RouterRole.CORE:
                machines[device.name] = _machine(site, fabric, device)
            wires |= dict.fromkeys(_lines(site, fabric, device))
            for lan in device.lans:
                nic = _nic(hosts[0], fabric, device, lan)
                nics[nic.netns, nic.device] = nic
                if not nic.segment:
                    port = nic.ports[device.number - 1] if nic.ports else nic.device
                    far = End(hosts[0].name, port, nic.netns)
                    wires[Wire(End(host_name(device, site), lan.name), far)] = None
    return Outside(hosts[0].name, tuple(machines.values()), tuple(wires), tuple(nics.values()))


def _machine(site: Site, fabric: Fabric, device: Device) -> Machine:
    """Return a router as a machine; its console address follows its loopback, so it never changes either."""
    name, console = next(((n, s) for n, s in site.segments.items() if s.gateway is None), ("", None))
    pools = [prefix.ipv4 for prefix in fabric.transport if device.loopback.ipv4 in prefix.ipv4]
    number = CONSOLE + int(device.loopback.ipv4) - int(pools[0].network_address)
    if console is None or number >= console.prefix.ipv4.num_addresses - 1:
        raise TinhError(
            f"there is no console address for router {device.name}: host {number} of {console and console.prefix.ipv4}",
            where=f"stacks/sites/{site.name}/site.yaml: segments",
            fix="give the site a larger segment without a gateway, over which its routers are managed",
        )
    return Machine(name=device.name, role=Role.ROUTER, addresses={name: console.prefix.host(number)})


def _lines(site: Site, fabric: Fabric, device: Device) -> Iterator[Wire]:
    for link in device.links:
        far = fabric.by_name[link.far]
        other = next(i for i in far.links if i.far == device.name and i.purpose == link.purpose)
        ends = End(host_name(device, site), link.name), End(host_name(far, site), other.name)
        yield Wire(*sorted(ends))


def _nic(hosts: Machine, fabric: Fabric, device: Device, lan: Interface) -> Nic:
    name = short(lan.purpose)
    place, lengths = netns(device.unit), (lan.ipv6_length, lan.ipv4_length)
    if lan.purpose in {segment.name for segment in fabric.topology.segments}:
        own = hosts.addresses[lan.purpose]
        address = DualAddress(ipv6=own.ipv6 + 1, ipv4=own.ipv4 + 1)
        return Nic(place, name, address, lengths, lan.gateway, segment=lan.purpose)
    count = len(lan.virtual.others) + 1 if lan.virtual else 1
    ports = tuple(f"{short(lan.purpose, 13)}.{number}" for number in range(1, count + 1)) if count > 1 else ()
    return Nic(place, name, lan.prefix.host(HOST), lengths, lan.gateway, ports)
