"""What a terminal device gives its LANs: addresses, router advertisements, names, time.

One dnsmasq serves DHCPv4, DHCPv6, router advertisements and names (Debian 12: 2.89), chrony the time; kea with radvd
and unbound would be four daemons for the same. Sources: dnsmasq(8), chrony.conf(5), RFC 4861, RFC 8415.
"""

from __future__ import annotations

from infra.model.zone import Zone
from infra.network.device import Device, Interface
from infra.render.options import Options

LEASE = "12h"
#: First and last of the IPv6 host numbers that DHCPv6 gives; those below are for fixed addresses.
POOL6 = 0x1000, 0x1FFF
ADVERTISE_SECONDS, LIFETIME_SECONDS = 60, 1800


def render_dnsmasq(device: Device, options: Options) -> str:
    """Return `dnsmasq.conf` for the LANs of a terminal device.

    Args:
        device: the router; it is the only one of its unit.
        options: arguments; without `dns` it gives no names, without `ntp` it names no time server.
    """
    lines = ["# managed by tinh", "bind-dynamic", "except-interface=lo", "no-hosts", "no-resolv", "no-poll"]
    lines += ["dhcp-authoritative", "dhcp-rapid-commit", "enable-ra", "quiet-ra", "log-facility=-"]
    if options.dns:
        lines += [
            "domain-needed",
            # The resolver validates; what it says of that is passed on, which a cache here would forget (dnsmasq(8)).
            "proxy-dnssec",
            "cache-size=0",
            *(f"server={address}" for address in options.dns.pair()),
        ]
    else:
        lines += ["port=0"]
    for lan in device.lans:
        lines += _lan(lan, options)
    return "\n".join(lines) + "\n"


def _lan(lan: Interface, options: Options) -> list[str]:
    v4, v6, tag = lan.prefix.ipv4, lan.prefix.ipv6, lan.purpose
    # Elsewhere addresses are given, so that it is known who had which; telephones and the like know no DHCPv6.
    slaac = "slaac," if lan.zone == Zone.WIRELESS else ""
    ends = f"{lan.address.ipv4 + 1},{v4.broadcast_address - 1}"
    lines = [
        f"interface={lan.name}",
        f"dhcp-range=set:{tag},{ends},{v4.netmask},{LEASE}",
        f"dhcp-range=set:{tag},{v6[POOL6[0]]},{v6[POOL6[1]]},{slaac}{v6.prefixlen},{LEASE}",
        f"ra-param={lan.name},{ADVERTISE_SECONDS},{LIFETIME_SECONDS}",
        f"dhcp-option=tag:{tag},option:router,{lan.gateway.ipv4}",
    ]
    if options.dns:
        lines.append(f"dhcp-option=tag:{tag},option:dns-server,{lan.gateway.ipv4}")
        lines.append(f"dhcp-option=tag:{tag},option6:dns-server,[{lan.gateway.ipv6}]")
    if options.ntp:
        lines.append(f"dhcp-option=tag:{tag},option:ntp-server,{lan.gateway.ipv4}")
        lines.append(f"dhcp-option=tag:{tag},option6:sntp-server,[{lan.gateway.ipv6}]")
    return lines


def render_chrony(device: Device, options: Options) -> str:
    """Return `chrony.conf`: the province's time, given on to the LANs of a terminal device.

    Raises:
        ValueError: there is no `ntp`.
    """
    if options.ntp is None:
        raise ValueError("no time server")
    lines = ["# managed by tinh", *(f"server {address} iburst" for address in options.ntp.pair())]
    lines += ["driftfile /var/lib/chrony/chrony.drift", "makestep 1 3", "rtcsync"]
    lines += ["cmdport 0"]  # chronyc over its socket only
    if device.strict and device.lans:
        for lan in device.lans:
            lines += [f"allow {prefix}" for prefix in lan.prefix.pair()]
    else:
        lines.append("port 0")
    return "\n".join(lines) + "\n"
