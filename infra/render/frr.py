"""`frr.conf` and `daemons` of a router, for FRR 8.4 (Debian 12).

Sources: FRR manual (BGP, BFD, VRRP, filtering); RFC 4271, RFC 8212 (nothing without a policy), RFC 5082 (GTSM),
RFC 5880 (BFD), RFC 9568 (VRRPv3). There is no `ip forwarding`: FRR shows only its absence, so a line would be a
difference at every reload; `sysctl.conf` switches it on.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network

from infra.model.net import DualPrefix
from infra.model.network import Bfd
from infra.network.device import Device, Entry, Interface, Neighbour
from infra.render.options import Options

BFD = "tinh"
VRRP_MS = 200
BLACKHOLE_DISTANCE = 250  # a block is announced whether its LANs are up or not; any better route wins
STANDBY_DISTANCE = 240  # what a core router's own daemon does not do now, the other router's does
RESTART_MINUTES = 5  # after too many prefixes
FAMILIES = (("ip", "ipv4"), ("ipv6", "ipv6"))


def render_frr(device: Device, options: Options, management: tuple[DualPrefix, ...], bfd: Bfd) -> str:
    """Return `frr.conf`.

    Args:
        device: the router.
        options: arguments.
        management: from where vty may be reached.
        bfd: how lost lines are found.
    """
    parts = [
        _head(device, options),
        *(_interface(interface) for interface in device.interfaces),
        _statics(device),
        *_lists(device),
        *_maps(device),
        _bfd(bfd),
        _bgp(device),
        _vty(management),
    ]
    return "!\n".join("".join(f"{line}\n" for line in part) for part in parts)


def render_daemons(device: Device, options: Options) -> str:
    """Return FRR's `daemons`: which run, and their options. Consoles listen on loopback only."""
    on = {"bgpd", "bfdd"} | ({"vrrpd"} if any(i.virtual for i in device.interfaces) else set())
    names = "bgpd ospfd ospf6d ripd ripngd isisd pimd ldpd nhrpd eigrpd babeld sharpd pbrd bfdd fabricd vrrpd pathd"
    lines = [f"{name}={'yes' if name in on else 'no'}" for name in names.split()]
    lines += [
        "vtysh_enable=yes",
        'zebra_options="  -A 127.0.0.1 -s 90000000"',
        'staticd_options="-A 127.0.0.1"',
    ]
    modules = " -M snmp" if options.agentx else ""
    lines += [f'{name}_options="  -A 127.0.0.1{modules if name == "bgpd" else ""}"' for name in sorted(on)]
    return "# managed by tinh\n" + "\n".join(lines) + "\n"


def _head(device: Device, options: Options) -> list[str]:
    lines = ["! managed by tinh", "frr defaults datacenter", f"hostname {device.name}"]
    lines += ["log syslog informational", "service integrated-vtysh-config"]
    # The kernel drops next hops with their link, which zebra does not notice: it refuses routes over them for ever.
    lines += ["no zebra nexthop kernel enable"]
    return [*lines, "agentx"] if options.agentx else lines


def _interface(interface: Interface) -> list[str]:
    lines = [f"interface {interface.name}"]
    if interface.far:
        lines.append(f" description {interface.purpose} to {interface.far}")
    elif interface.zone:
        lines.append(f" description {interface.purpose}")
    lines.append(f" ip address {interface.address.ipv4}/{interface.ipv4_length}")
    lines.append(f" ipv6 address {interface.address.ipv6}/{interface.ipv6_length}")
    if virtual := interface.virtual:
        vrrp = f" vrrp {virtual.vrid}"
        lines += [
            f"{vrrp} version 3",
            f"{vrrp} priority {virtual.priority}",
            # A router that comes back has its LANs before it has its routes: it waits until it is needed.
            f" no{vrrp} preempt",
            f"{vrrp} advertisement-interval {VRRP_MS}",
            f"{vrrp} ip {virtual.address.ipv4}",
            f"{vrrp} ipv6 {virtual.link_local}",
            f"{vrrp} ipv6 {virtual.address.ipv6}",
        ]
    return [*lines, "exit"]


def _of(prefix: DualPrefix, family: str) -> IPv4Network | IPv6Network:
    return prefix.ipv4 if family == "ipv4" else prefix.ipv6


def _statics(device: Device) -> list[str]:
    # Both core routers announce these, so neither learns from BGP that the other one has them too.
    shared = device.names.blocks if device.names else ()
    peers = [near.address for near in device.neighbours if near.asn == device.asn]
    return [
        line
        for ip, f in FAMILIES
        for line in (
            *(f"{ip} route {_of(b, f)} blackhole {BLACKHOLE_DISTANCE}" for b in device.announced),
            *(f"{ip} route {_of(b, f)} {getattr(p, f)} {STANDBY_DISTANCE}" for b in shared for p in peers),
        )
    ]


def _lists(device: Device) -> Iterator[list[str]]:
    for name, entries in device.prefix_lists.items():
        for ip, family in FAMILIES:
            yield [
                f"{ip} prefix-list {name} seq {5 * number} permit {_of(entry.prefix, family)}{_le(entry, family)}"
                for number, entry in enumerate(entries, 1)
            ]


def _le(entry: Entry, family: str) -> str:
    """Return the longest prefix that matches; host routes only within a unit."""
    if not entry.longer:
        return ""
    width = 32 if family == "ipv4" else 128
    return f" le {width if entry.hosts else width - 1}"


def _maps(device: Device) -> Iterator[list[str]]:
    for times in sorted({n.prepend for n in device.neighbours} - {0}):
        own = " ".join([str(device.asn)] * times)
        yield [f"route-map second-{times} permit 10", f" set as-path prepend {own}", "exit"]


def _bfd(bfd: Bfd) -> list[str]:
    return [
        "bfd",
        f" profile {BFD}",
        f"  detect-multiplier {bfd.multiplier}",
        f"  transmit-interval {bfd.interval_ms}",
        f"  receive-interval {bfd.interval_ms}",
        " exit",
        "exit",
    ]


def _bgp(device: Device) -> list[str]:
    lines = [f"router bgp {device.asn}", f" bgp router-id {device.router_id}"]
    # Both are as the RFC has them, which the profile `datacenter` and old releases have not.
    lines += [" bgp ebgp-requires-policy", " no bgp default ipv4-unicast"]
    for neighbour in device.neighbours:
        for _, family in FAMILIES:
            lines += _session(device, neighbour, family)
    for _, family in FAMILIES:
        lines.append(" !")
        lines.append(f" address-family {family} unicast")
        # The unit's other router is also told what is up here: LANs and the loopback.
        mine = dict.fromkeys(_of(prefix, family) for prefix in (*device.announced, *device.inner))
        lines += [f"  network {prefix}" for prefix in mine]
        for neighbour in device.neighbours:
            lines += _exchange(device, neighbour, family)
        lines.append(" exit-address-family")
    return [*lines, "exit"]


def _session(device: Device, neighbour: Neighbour, family: str) -> list[str]:
    head = f" neighbor {getattr(neighbour.address, family)}"
    lines = [f"{head} remote-as {neighbour.asn}", f"{head} description {neighbour.name}"]
    lines += [f"{head} bfd", f"{head} bfd profile {BFD}"]
    # RFC 5082: only who is on the link has TTL 255. FRR has it for external sessions.
    return lines if neighbour.asn == device.asn else [*lines, f"{head} ttl-security hops 1"]


def _exchange(device: Device, neighbour: Neighbour, family: str) -> list[str]:
    head = f"  neighbor {getattr(neighbour.address, family)}"
    lines = [f"{head} activate", f"{head} soft-reconfiguration inbound"]
    if neighbour.asn == device.asn:
        lines.append(f"{head} next-hop-self")
    lines += [f"{head} prefix-list {neighbour.accept} in", f"{head} prefix-list {neighbour.announce} out"]
    if neighbour.prepend:
        lines.append(f"{head} route-map second-{neighbour.prepend} out")
    return [*lines, f"{head} maximum-prefix {neighbour.most} restart {RESTART_MINUTES}"]


def _vty(management: tuple[DualPrefix, ...]) -> list[str]:
    lines = []
    for ip, family in FAMILIES:
        prefix = "ipv6 " if ip == "ipv6" else ""
        sources = [
            "127.0.0.0/8" if family == "ipv4" else "::1/128",
            *(str(_of(m, family)) for m in management),
        ]
        lines += [
            f"{prefix}access-list management seq {5 * number} permit {source}"
            for number, source in enumerate(sources, 1)
        ]
    return [*lines, "line vty", " access-class management", " ipv6 access-class management", "exit", "end"]
