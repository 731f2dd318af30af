"""The routers of a province, compiled from its address plan and topology."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from infra.address.plan import Plan
from infra.errors import TinhError
from infra.model.dns import Names
from infra.model.net import DualAddress, DualPrefix
from infra.model.network import Kind, RouterRole
from infra.model.province import Router
from infra.network.device import Device, Entry, Interface, Neighbour, Virtual
from infra.network.mapping import Mapping, short
from infra.network.policy import Policy
from infra.network.topology import Link, SegmentLan, Topology

PRIORITY = (
    200  # VRRP: the unit's first router 10 less, and so on; below 255, which is for the address's owner
)


class Fabric:
    """All routers, and the policy that each enforces.

    Args:
        plan: province and addresses.
        mapping: kind of machines.
        segments: of the site's own machines; they are behind the core.
        names: resolver and translation of the core.

    Raises:
        TinhError: the data does not make a network: missing loopback, plane or domain, or one ASN for two units.
    """

    def __init__(
        self,
        plan: Plan,
        mapping: Mapping = Mapping.METAL,
        segments: tuple[SegmentLan, ...] = (),
        names: Names | None = None,
    ) -> None:
        self.plan, self.mapping = plan, mapping
        self.topology = Topology(plan, segments, names)
        self.network = plan.province.network

    @cached_property
    def devices(self) -> tuple[Device, ...]:
        """Every router, by unit."""
        return tuple(self._device(router) for router in self.topology.routers)

    @cached_property
    def by_name(self) -> dict[str, Device]:
        """Routers by name."""
        return {device.name: device for device in self.devices}

    @cached_property
    def policy(self) -> Policy:
        """What may pass."""
        return self.topology.policy

    @property
    def unserved(self) -> tuple[str, ...]:
        """Units that have LANs in the plan and no terminal device in the data."""
        return self.topology.unserved

    @cached_property
    def transport(self) -> tuple[DualPrefix, ...]:
        """Pools of the routers' own addresses."""
        pools = self.network.pools.values()
        return tuple(pool.prefix for pool in pools if pool.domain in self.topology.transport)

    @cached_property
    def _most(self) -> int:
        """Limit of prefixes from a plane: twice what there is, in steps so that a new unit rarely changes it."""
        return 2 << len(self.plan.ledger.blocks).bit_length()

    def _device(self, router: Router) -> Device:
        group = self.topology.group(router)
        index, carrier = group.index(router), router.role is RouterRole.TSLCD_GATEWAY
        loopback, announced = self.topology.loopback(router), self.topology.announced(router)
        lans = [] if carrier else self._lans(router, index, len(group))
        lists = {
            "own": tuple(Entry(prefix=p) for p in announced),
            "registered": tuple(Entry(prefix=p, longer=True) for p in self.topology.registered),
        }
        purpose = self.topology.loopbacks(router.unit)[self.topology.by_unit[router.unit].index(router)]
        interfaces = [
            Interface(
                name="lo", purpose=purpose, kind=Kind.LOOPBACK, domain=self.network.purposes[purpose].domain,
                address=loopback, ipv6_length=128, ipv4_length=32,
            ),
            *lans,
        ]  # fmt: skip
        neighbours, number = [], 0
        for link in self.topology.links_of[router.name]:
            number += link.capacity_mbps is not None
            interface, neighbour = self._link(router, link, index, number, lists)
            interfaces.append(interface)
            neighbours.append(neighbour)
        return Device(
            name=self.topology.names[router.name], role=router.role, unit=router.unit, number=index + 1,
            asn=self.topology.asns[router.name], loopback=loopback, interfaces=tuple(interfaces),
            neighbours=tuple(neighbours), prefix_lists=lists, blocks=self.topology.blocks(router),
            announced=announced,
            inner=(interfaces[0].prefix, *(lan.prefix for lan in lans)) if len(group) > 1 else (),
            registered=self.topology.registered, strict=len(group) == 1 and not carrier,
            names=self.topology.central if router.role is RouterRole.CORE else None,
        )  # fmt: skip

    def _lans(self, router: Router, index: int, count: int) -> list[Interface]:
        segments = self.topology.segments if router.role is RouterRole.CORE else ()
        found = [
            Interface(
                name=short(s.name), purpose=s.name, kind=Kind.LAN, domain=self.topology.segment_domain(s),
                address=s.routers[index], ipv6_length=s.prefix.ipv6.prefixlen,
                ipv4_length=s.prefix.ipv4.prefixlen, zone=s.zone,
                virtual=_virtual(number, s.gateway, s.routers, index),
            )
            for number, s in enumerate(segments, 1)
        ]  # fmt: skip
        for name in self.topology.lans(router.unit):
            if name not in {s.name for s in segments}:
                found.append(self._lan(router, name, len(found) + 1, index, count))
        return found

    def _lan(self, router: Router, name: str, vrid: int, index: int, count: int) -> Interface:
        purpose, prefix = self.network.purposes[name], self.plan.of(router.unit, name)
        own, virtual = self.plan.gateway(router.unit, name), None
        if count > 1:  # the routers' own addresses follow the virtual one
            if prefix.ipv4.num_addresses < count + 4:  # network, virtual, a host, broadcast
                raise TinhError(
                    f"{name!r} has {prefix.ipv4}, too small for {count} routers",
                    where=self.plan.province.where(f"purposes.{name}.hosts"),
                    fix="count the routers as hosts, besides at least one other",
                )
            owns = [DualAddress(ipv6=own.ipv6 + 1 + n, ipv4=own.ipv4 + 1 + n) for n in range(count)]
            own, virtual = owns[index], _virtual(vrid, own, owns, index)
        device, port = self.mapping.lan(name, purpose.vlan)
        return Interface(
            name=device, purpose=name, kind=Kind.LAN, domain=purpose.domain, address=own,
            ipv6_length=prefix.ipv6.prefixlen, ipv4_length=prefix.ipv4.prefixlen, zone=purpose.zone,
            vlan=purpose.vlan if port else None, port=port, virtual=virtual,
        )  # fmt: skip

    def _link(
        self, router: Router, link: Link, index: int, number: int, lists: dict[str, tuple[Entry, ...]]
    ) -> tuple[Interface, Neighbour]:
        """Return one end of a link and the neighbour on it; prefix lists that it needs are added."""
        top, upper = self.topology, router.name == link.upper
        far = top.by_name[link.lower if upper else link.upper]
        prefix, first = self.plan.of(link.unit, link.purpose), self.plan.gateway(link.unit, link.purpose)
        second = DualAddress(ipv6=first.ipv6 + 1, ipv4=first.ipv4 + 1)
        far_name = top.names[far.name]
        sources: tuple[DualPrefix, ...] = ()
        prepend = 0
        if link.capacity_mbps is None:
            name = self.mapping.peer(link.purpose, self.network.roles[router.role].lan)
            accept, announce, most = "all", "all", self._most
            lists["all"] = tuple(Entry(prefix=p, longer=True, hosts=True) for p in top.registered)
        elif upper:  # a plane
            twice = sum(x.lower == link.lower for x in top.links_of[router.name]) > 1
            name = short(f"{far_name}-{link.purpose}") if twice else far_name
            sources = top.announced(far)
            accept, announce, most = f"unit-{far.unit}", "registered", len(sources) + 2
            lists[accept] = tuple(Entry(prefix=p) for p in sources)
        else:
            name = self.mapping.wan(link.purpose, number)
            accept, announce, most = "registered", "own", self._most
            prepend = 2 * index  # what leaves by the unit's first router should come in there
        interface = Interface(
            name=name, purpose=link.purpose, kind=Kind.LINK, domain=self.network.purposes[link.purpose].domain,
            address=first if upper else second, ipv6_length=prefix.ipv6.prefixlen,
            ipv4_length=prefix.ipv4.prefixlen, far=far_name, capacity_mbps=link.capacity_mbps, sources=sources,
        )  # fmt: skip
        neighbour = Neighbour(
            name=far_name, interface=name, address=second if upper else first, asn=top.asns[far.name],
            accept=accept, announce=announce, most=most, prepend=prepend,
        )  # fmt: skip
        return interface, neighbour


def _virtual(vrid: int, address: DualAddress, owns: Sequence[DualAddress], index: int) -> Virtual:
    others = tuple(own for number, own in enumerate(owns) if number != index)
    return Virtual(vrid=vrid, priority=PRIORITY - 10 * (index + 1), address=address, others=others)
