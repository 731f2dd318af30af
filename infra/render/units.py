"""What a router's kernel is told at start: forwarding, VLANs, devices of virtual addresses, queues.

`tinh-vrrp.service` is that of playbooks/roles/router, for every LAN of the core.
Sources: RFC 9568 7.3 (virtual MAC addresses), tc-htb(8), RFC 4594 (classes), ip-sysctl of the kernel.
"""

from __future__ import annotations

from collections.abc import Iterable

from infra.network.device import Device

IP, TC = "/sbin/ip", "/sbin/tc"
#: Class of a circuit's queue -> (guaranteed percent, priority); the rest may take what others leave.
CLASSES = {10: (5, 0), 20: (55, 1), 30: (40, 2)}  # routing; voice and video; the rest
VIDEO_MOST = 90  # percent: video never starves the rest
SYSCTL = {
    "net.ipv4.ip_forward": 1,
    "net.ipv6.conf.all.forwarding": 1,
    "net.ipv6.conf.default.forwarding": 1,
    # nftables does it by prefixes; the kernel's check by the best route refuses what comes by the other plane.
    "net.ipv4.conf.all.rp_filter": 0,
    "net.ipv4.conf.default.rp_filter": 0,
    # Without the virtual address a router delivers by the LAN itself, not by the address's device, which is down.
    "net.ipv4.conf.all.ignore_routes_with_linkdown": 1,
    "net.ipv4.conf.default.ignore_routes_with_linkdown": 1,
    "net.ipv6.conf.all.ignore_routes_with_linkdown": 1,
    "net.ipv6.conf.default.ignore_routes_with_linkdown": 1,
    # A device that was switched off for a while still has its addresses; only FRR's start would set them again.
    "net.ipv6.conf.all.keep_addr_on_down": 1,
    "net.ipv6.conf.all.accept_ra": 0,
    "net.ipv6.conf.default.accept_ra": 0,
    "net.ipv4.conf.all.accept_redirects": 0,
    "net.ipv6.conf.all.accept_redirects": 0,
    "net.ipv4.conf.all.send_redirects": 0,
    "net.ipv4.conf.default.send_redirects": 0,
    "net.ipv4.conf.all.accept_source_route": 0,
    "net.ipv6.conf.all.accept_source_route": 0,
    # Each device answers for its own addresses only: the virtual ones have a MAC address of their own.
    "net.ipv4.conf.all.arp_ignore": 1,
    "net.ipv4.conf.all.arp_announce": 2,
}


def render_sysctl() -> str:
    """Return `sysctl.conf`."""
    return "# managed by tinh\n" + "".join(f"{name} = {value}\n" for name, value in SYSCTL.items())


def render_vlans(device: Device) -> str:
    """Return `tinh-vlan.service`: VLANs of the ports (IEEE 802.1Q); empty when there are none."""
    lines = []
    for lan in device.lans:
        if lan.port:
            lines += [
                f"-{IP} link add link {lan.port} name {lan.name} type vlan id {lan.vlan}",
                f"{IP} link set {lan.port} up",
                f"{IP} link set {lan.name} up",
            ]
    return _unit("VLANs of the ports", lines, before="tinh-vrrp.service frr.service")


def render_vrrp(device: Device) -> str:
    """Return `tinh-vrrp.service`: one macvlan for each family and virtual router; empty when there are none."""
    lines = []
    for lan in device.lans:
        if not (virtual := lan.virtual):
            continue
        v4, v6 = lan.macvlans["ipv4"], lan.macvlans["ipv6"]
        # IPv6 addresses are `nodad`: both routers' devices carry the same one by design.
        lines += [
            f"-{IP} link add {v4} link {lan.name} type macvlan mode bridge",
            f"{IP} link set {v4} address 00:00:5e:00:01:{virtual.vrid:02x}",
            f"{IP} addr replace {virtual.address.ipv4}/{lan.ipv4_length} dev {v4}",
            f"{IP} link set {v4} up",
            f"-{IP} link add {v6} link {lan.name} type macvlan mode bridge",
            f"{IP} link set {v6} address 00:00:5e:00:02:{virtual.vrid:02x}",
            f"{IP} addr replace {virtual.address.ipv6}/{lan.ipv6_length} dev {v6} nodad",
            f"{IP} addr replace {virtual.link_local}/64 dev {v6} nodad",
            f"{IP} link set {v6} up",
        ]
    return _unit("Interfaces of the virtual router addresses", lines, before="frr.service")


def render_qos(device: Device) -> str:
    """Return `tinh-qos.service`: each circuit's queue, at its capacity; empty for a router without circuits.

    nftables puts packets into the classes by their marks (`meta priority`), in both families alike.
    """
    lines = []
    for wan in device.wans:
        rate = (wan.capacity_mbps or 0) * 1000
        # It may be there: a queue that is made anew drops packets of a line for as long as it takes.
        lines.append(f"-{TC} qdisc add dev {wan.name} root handle 1: htb default 30")
        lines.append(f"{TC} class replace dev {wan.name} parent 1: classid 1:1 htb rate {rate}kbit")
        for number, (percent, priority) in CLASSES.items():
            most = VIDEO_MOST if number == 20 else 100
            lines.append(
                f"{TC} class replace dev {wan.name} parent 1:1 classid 1:{number} htb "
                f"rate {rate * percent // 100}kbit ceil {rate * most // 100}kbit prio {priority}"
            )
    gone = [f"-{TC} qdisc delete dev {wan.name} root" for wan in device.wans]
    return _unit("Queues of the circuits", lines, before="frr.service", undo=gone)


def _unit(description: str, commands: Iterable[str], *, before: str, undo: Iterable[str] = ()) -> str:
    """Return a unit that runs commands once; a reload runs all of them again."""
    commands = list(commands)
    lines = [f"{key}={command}" for key in ("ExecStart", "ExecReload") for command in commands]
    lines += [f"ExecStop={command}" for command in undo]
    if not lines:
        return ""
    head = ["# managed by tinh", "[Unit]", f"Description={description}", f"Before={before}", "[Service]"]
    tail = ["[Install]", "WantedBy=multi-user.target"]
    return "\n".join([*head, "Type=oneshot", "RemainAfterExit=yes", *lines, *tail]) + "\n"
