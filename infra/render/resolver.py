"""`unbound.conf` and `tayga.conf` of a core router, and the units that run them.

Unbound 1.17 (Debian 12) resolves: the province's own zones from their server, validated by their DS records, and
others by forwarders, where there are any. Names with IPv4 only get an AAAA record in the translation's prefix, also
`ipv4only.arpa`, by which hosts find the prefix (RFC 7050); dnsmasq 2.89 cannot tell it in router advertisements (RFC
8781). TAYGA 0.9.2 translates. Its packets pass the filter twice, and what may pass is judged before it, by the IPv6
source and the IPv4 target that the address holds (`infra.render.nftables`).
Sources: unbound.conf(5), tayga.conf(5), RFC 6147, RFC 7050, RFC 7915, RFC 4786, RFC 8767 (stale answers).
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network

from infra.model.net import DualPrefix
from infra.network.device import Device
from infra.network.names import NAT64, translated
from infra.render.firewall import Firewall
from infra.render.options import Options

#: Seconds that an answer may be used after its time, while the server does not answer.
STALE = 86400
#: The well-known name's addresses (RFC 7050 2.2).
IPV4ONLY = ("192.0.0.170", "192.0.0.171")
#: The root's key, for names that forwarders find: package dns-root-data.
ROOT_KEY = "/usr/share/dns/root.key"
UNBOUND, TAYGA, IP = "/usr/sbin/unbound", "/usr/sbin/tayga", "/sbin/ip"
UNBOUND_FILE, TAYGA_FILE = (
    "/etc/unbound/tinh.conf",
    "/etc/tayga-tinh.conf",
)  # as infra/providers/router has them


def render_unbound(device: Device, wall: Firewall) -> str:
    """Return `unbound.conf`.

    Args:
        device: a core router.
        wall: what it has in common with others; `Options.authority` is there.

    Raises:
        ValueError: the router has no resolver, or there is no authority.
    """
    authority, names = wall.options.authority, device.names
    if names is None or authority is None:
        raise ValueError("no resolver")
    resolver = names.resolver
    sources = [lan.prefix for lan in device.lans if lan.zone in resolver.zones]
    lines = [
        "# managed by tinh",
        "server:",
        *(f"    interface: {address}" for address in resolver.address.pair()),
        # The address comes with the daemon and goes with it (tinh-resolver.service).
        "    ip-freebind: yes",
        '    username: "unbound"',
        '    chroot: ""',
        '    pidfile: ""',
        "    use-syslog: no",
        "    do-daemonize: no",
        "    hide-identity: yes",
        "    hide-version: yes",
        "    qname-minimisation: no",  # there is nobody to hide a name from: each zone is asked of its server
        "    minimal-responses: yes",
        "    harden-below-nxdomain: yes",
        "    aggressive-nsec: yes",
        "    serve-expired: yes",
        f"    serve-expired-ttl: {STALE}",
        "    serve-expired-client-timeout: 1800",  # milliseconds: a fresh answer is better, RFC 8767 5
        "    prefetch: yes",
        "    val-permissive-mode: no",
        "    access-control: ::/0 refuse",
        "    access-control: 0.0.0.0/0 refuse",
        "    access-control: ::1 allow",
        "    access-control: 127.0.0.0/8 allow",
        *(
            f"    access-control: {prefix} allow"
            for each in (*sources, *wall.fabric.transport, resolver.block)  # the last is the router itself
            for prefix in each.pair()
        ),
        *_translation(device),
        # Of a zone that others know nothing of, and of those that Unbound answers by itself (RFC 6303, RFC 6761).
        *(f'    local-zone: "{zone}." transparent' for zone in authority.zones),
        *(f'    trust-anchor: "{anchor}"' for anchor in authority.anchors),
        *_others(device, wall),
        "remote-control:",
        "    control-enable: no",
    ]
    for zone in authority.zones:
        lines += ["stub-zone:", f'    name: "{zone}."']
        lines += [f"    stub-addr: {address}" for address in authority.server.pair()]
    if resolver.forwarders:
        lines += ["forward-zone:", '    name: "."']
        lines += [f"    forward-addr: {address}" for each in resolver.forwarders for address in each.pair()]
    return "\n".join(lines) + "\n"


def _translation(device: Device) -> list[str]:
    if not (nat64 := device.nat64):
        return ['    module-config: "validator iterator"']
    return [
        '    module-config: "dns64 validator iterator"',
        f"    dns64-prefix: {nat64.ipv6}",
        '    local-zone: "ipv4only.arpa." transparent',
        *(f'    local-data: "ipv4only.arpa. A {address}"' for address in IPV4ONLY),
        # What is answered by itself is not translated.
        *(f'    local-data: "ipv4only.arpa. AAAA {_stands_for(address, nat64)}"' for address in IPV4ONLY),
    ]


def _stands_for(address: str, nat64: DualPrefix) -> str:
    return str(translated(IPv4Network(address), nat64.ipv6).network_address)


def _others(device: Device, wall: Firewall) -> list[str]:
    """Return what holds for names of others."""
    if device.names is None or not device.names.resolver.forwarders:
        # There is nobody to ask: it says so at once.
        return ['    local-zone: "." refuse']
    own = [address for prefix in device.registered for address in prefix.pair()]
    zones = wall.options.authority.zones if wall.options.authority else ()
    return [
        f"    trust-anchor-file: {ROOT_KEY}",
        # No name of others leads to an address of the province's own (DNS rebinding).
        *(f"    private-address: {prefix}" for prefix in own),
        *(f'    private-domain: "{zone}."' for zone in zones),
    ]


def render_resolver_unit(device: Device, options: Options) -> str:
    """Return `tinh-resolver.service`; empty for a router that resolves nothing."""
    if device.names is None or options.authority is None:
        return ""
    v6, v4 = device.names.resolver.address.pair()
    lines = [
        "Type=notify",
        f"ExecStart={UNBOUND} -d -p -c {UNBOUND_FILE}",
        # A router whose daemon has ended sends questions to the other one (`infra.render.frr`).
        f"ExecStartPost={IP} address replace {v6}/128 dev lo",
        f"ExecStartPost={IP} address replace {v4}/32 dev lo",
        f"ExecStopPost=-{IP} address delete {v6}/128 dev lo",
        f"ExecStopPost=-{IP} address delete {v4}/32 dev lo",
    ]
    return _service("Resolver of the province's networks", lines)


def render_tayga(device: Device) -> str:
    """Return `tayga.conf`; empty for a router that translates nothing."""
    if not (nat64 := device.nat64):
        return ""
    lines = [
        "# managed by tinh",
        f"tun-device {NAT64}",
        f"ipv4-addr {nat64.ipv4[1]}",
        f"prefix {nat64.ipv6}",
        f"dynamic-pool {nat64.ipv4}",
    ]
    return "\n".join(lines) + "\n"


def render_nat64_unit(device: Device) -> str:
    """Return `tinh-nat64.service`; empty for a router that translates nothing."""
    if not (nat64 := device.nat64):
        return ""
    lines = [
        f"ExecStartPre={TAYGA} -c {TAYGA_FILE} --mktun",
        f"ExecStartPre={IP} link set {NAT64} up",
        # Better than what FRR has for them. They go with the device, and the other router does it.
        f"ExecStartPre={IP} -6 route replace {nat64.ipv6} dev {NAT64} metric 1",
        f"ExecStartPre={IP} -4 route replace {nat64.ipv4} dev {NAT64} metric 1",
        f"ExecStart={TAYGA} -c {TAYGA_FILE} --nodetach --user nobody --group nogroup",
        f"ExecStopPost=-{TAYGA} -c {TAYGA_FILE} --rmtun",
    ]
    return _service("Translation between IPv6 and IPv4", lines)


def _service(description: str, lines: Iterable[str]) -> str:
    head = ["# managed by tinh", "[Unit]", f"Description={description}", "After=network.target"]
    # However often it fails: without it, hosts have no names or reach less, and nobody would start it again.
    head += ["StartLimitIntervalSec=0", "[Service]"]
    tail = ["Restart=always", "RestartSec=1", "[Install]", "WantedBy=multi-user.target"]
    return "\n".join([*head, *lines, *tail]) + "\n"
