"""`nftables.conf` of a router: one table, everything dropped that is not listed, the same in both families.

Zone matrix, anti-spoofing, limits per source, and marks for voice and video. The table is `inet`, so a rule without a
family holds for both, and every other rule is written for each family from one text (`infra.render.nft`).

Where all packets of a flow pass one router (`Device.strict`), replies are known by connection tracking alone. A unit
with two routers, and the planes, see only one half of some flows, and take over the other half when a line or router
is lost; there replies are allowed by source port too, and the terminal device at the other end stays strict.

Hosts with IPv6 only reach IPv4 by the core's translation (RFC 7915). What they may reach is the same matrix, told by
the IPv4 target that the address holds, and is judged on every router before the packet is translated (`translated`);
what comes out of the translation has been judged. It leads to LANs behind the core and nowhere else.
Sources: circular 12/2022 annex III; RFC 4890 (ICMPv6), RFC 2827 and 3704 (anti-spoofing), RFC 5082, RFC 5881 5
(TTL 255), RFC 9568 (VRRP), RFC 4594 (marks).
"""

from __future__ import annotations

from functools import cached_property

from infra.model.zone import Service
from infra.network.device import Device, Interface
from infra.network.names import NAT64
from infra.network.policy import Endpoint, Permit
from infra.render.firewall import Firewall, lan_set
from infra.render.nft import WORDS, PrefixSet, Table, names

ERRORS = (
    ("icmp type", "destination-unreachable, time-exceeded, parameter-problem"),
    ("icmpv6 type", "destination-unreachable, packet-too-big, time-exceeded, parameter-problem"),
)
#: Ports of BFD, RFC 5881 and RFC 5883: for sessions with GTSM, FRR takes the one for several hops. The check of the TTL
#: makes them single-hop all the same.
BFD = "{ 3784, 4784 }"
NOT_FIRST = " tcp flags & (syn | ack) != syn"  # anything but the first packet


def render_nftables(device: Device, wall: Firewall) -> str:
    """Return `nftables.conf`.

    Args:
        device: the router.
        wall: what it has in common with the others.
    """
    return _Router(wall, device).text()


class _Router:
    def __init__(self, wall: Firewall, device: Device) -> None:
        self.wall, self.device, self.options, self.table = wall, device, wall.options, Table()
        self.inner = [name for lan in device.lans for name in lan.names]
        for name, prefixes in wall.common.items():
            self.table.prefixes(name, prefixes)
        self.table.prefixes("own", PrefixSet(device.blocks))
        for words in WORDS:
            pairs = [f'"{n.interface}" . {getattr(n.address, words["family"])}' for n in device.neighbours]
            self.table.named(f"neighbours{words['n']}", f"type ifname . {words['family']}_addr", pairs)
            self.table.named(f"open{words['n']}", f"type {words['family']}_addr; size 65535; flags dynamic")
            kind = f"type {words['family']}_addr; size 65535; flags dynamic,timeout; timeout 1m"
            self.table.named(f"rate{words['n']}", kind)

    def text(self) -> str:
        self._sources()
        self._marks()
        self._input()
        self._output()
        self._limits()
        if self.device.transit:
            self._returns()
        self._forward()
        self._translated_source()
        self._queues()
        return self.table.text()

    def _sources(self) -> None:
        """Anti-spoofing before anything else sees the packet: strict on LANs, by whose space it is on links."""
        rule = self.table.rule
        rule("ip6 saddr { fe80::/10, :: }", "never forwarded: neighbours and address checks")
        if self.inner:
            rule(
                f"iifname {names(self.inner)} ip saddr 0.0.0.0 udp sport 68 udp dport 67",
                "who has no address yet",
            )
        for lan in self.device.lans:
            for words in WORDS:
                rule(
                    f"iifname {names(lan.names)} {words['ip']} saddr != {getattr(lan.prefix, words['family'])}",
                    f"spoofed: not of {lan.purpose}", verdict="drop",
                )  # fmt: skip
        if nat64 := self.device.nat64:
            for words in WORDS:
                mine = f"{words['ip']} saddr != {getattr(nat64, words['family'])}"
                rule(f'iifname "{NAT64}" {mine}', "spoofed: not translated", verdict="drop")
        rule("iifname . {ip} saddr @neighbours{n}", "routing neighbours")
        for link in self.device.links:
            self._link_sources(link)
        self.table.chain("sources", "prerouting priority raw", "accept")

    def _link_sources(self, link: Interface) -> None:
        rule, name = self.table.rule, names([link.name])
        if link.sources:
            for words in WORDS:
                mine = ", ".join(str(getattr(prefix, words["family"])) for prefix in link.sources)
                text = f"iifname {name} {words['ip']} saddr != {{ {mine} }}"
                rule(text, f"spoofed: not of {link.far}", verdict="drop")
            return
        if link.capacity_mbps is not None:
            rule(f"iifname {name} {{ip}} saddr @own{{n}}", "spoofed: own space from outside", verdict="drop")
        rule(f"iifname {name} {{ip}} saddr != @registered{{n}}", "spoofed: not registered", verdict="drop")

    def _marks(self) -> None:
        """Marks are given where packets come in from hosts, and foreign ones taken off; links keep them."""
        if self.inner:
            rule, lans = self.table.rule, f"iifname {names(self.inner)}"
            rule(f"{lans} {{ip}} saddr @realtime{{n}} {{ip}} dscp ef", "voice marks itself")
            for end in ("saddr", "daddr"):
                rule(f"{lans} {{ip}} {end} @realtime{{n}} {{ip}} dscp set af41", "pictures", verdict="accept")
            rule(f"{lans} {{ip}} dscp != cs0 {{ip}} dscp set cs0", "foreign mark", verdict="accept")
        self.table.chain("marks", "prerouting priority mangle", "accept")

    def _input(self) -> None:
        rule = self.table.rule
        rule('iifname "lo"')
        rule("ct state established,related", "replies")
        rule("ct state invalid", verdict="drop")
        self._icmp()
        rule("iifname . {ip} saddr @neighbours{n} tcp dport 179", "BGP")
        rule(f"iifname . {{ip}} saddr @neighbours{{n}} udp dport {BFD} {{ttl}} 255", "BFD")
        for lan in self.device.lans:
            if lan.virtual:
                others = ", ".join(str(other.ipv4) for other in lan.virtual.others)
                near = f"iifname {names(lan.names)} meta l4proto vrrp"
                rule(f"{near} ip saddr {{ {others} }} ip daddr 224.0.0.18 ip ttl 255", "VRRP")
                rule(f"{near} ip6 saddr fe80::/10 ip6 daddr ff02::12 ip6 hoplimit 255", "VRRP")
        rule("{ip} saddr @management{n} tcp dport 22 ct state new", "management: SSH")
        if self.options.snmp:
            rule("{ip} saddr @management{n} udp dport 161", "management: SNMPv3")
        if self.device.strict and self.inner:
            lans = f"iifname {names(self.inner)}"
            rule(f"{lans} udp sport 68 udp dport 67", "DHCP")
            rule(f"{lans} ip6 saddr fe80::/10 udp sport 546 udp dport 547", "DHCPv6")
            if self.options.dns:
                rule(lans, verdict="jump limits")
                rule(f"{lans} meta l4proto {{ tcp, udp }} th dport 53", "names")
            if self.options.ntp:
                rule(f"{lans} udp dport 123", "time")
        self._questions()
        self._refuse("input")
        self.table.chain("input", "input priority filter", "drop")

    def _questions(self) -> None:
        """Who may ask a core router's resolver: hosts of the site by their zone, and routers for their units' hosts."""
        central = self.device.names
        if central is None or self.options.authority is None:
            return
        rule, resolver, ports = self.table.rule, central.resolver, "meta l4proto { tcp, udp } th dport 53"
        near = [name for lan in self.device.lans if lan.zone in resolver.zones for name in lan.names]
        for words in WORDS:
            to = f"{words['ip']} daddr {getattr(resolver.address, words['family'])} {ports}"
            if near:
                rule(f"iifname {names(near)} {to}", verdict="jump limits")
                rule(f"iifname {names(near)} {to}", "names")
            rule(f"{words['ip']} saddr @routers{words['n']} {to}", "names of routers")

    def _icmp(self) -> None:
        rule = self.table.rule
        for head, types in ERRORS:
            rule(f"{head} {{ {types} }}", "errors, RFC 4890 4.4.1")
        near = "{ nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert }"
        rule(f"icmpv6 type {near} ip6 hoplimit 255", "neighbour discovery, RFC 4861")
        groups = "{ mld-listener-query, mld-listener-report, mld-listener-done, mld2-listener-report }"
        rule(f"ip6 saddr {{ fe80::/10, :: }} icmpv6 type {groups}", "multicast listeners, RFC 4890 4.4.1")
        rule("ip protocol igmp", "multicast listeners")
        echo = "{ip} saddr @registered{n} {icmp} type echo-request limit rate 50/second"
        rule(echo, "echo, RFC 4890 4.4.1")

    def _output(self) -> None:
        rule = self.table.rule
        rule('oifname "lo"')
        rule("ct state established,related", "replies")
        rule("meta l4proto { icmp, ipv6-icmp, igmp }", "errors, neighbours, groups")
        rule("oifname . {ip} daddr @neighbours{n} tcp dport 179", "BGP")
        rule(f"oifname . {{ip}} daddr @neighbours{{n}} udp dport {BFD}", "BFD")
        if any(lan.virtual for lan in self.device.lans):
            rule("meta l4proto vrrp ip daddr 224.0.0.18", "VRRP")
            rule("meta l4proto vrrp ip6 daddr ff02::12", "VRRP")
        if self.device.strict and self.inner:
            lans = f"oifname {names(self.inner)}"
            rule(f"{lans} udp sport 67 udp dport 68", "DHCP")
            rule(f"{lans} udp sport 547 udp dport 546", "DHCPv6")
        for server in (*self.wall.servers, *self.wall.asked_by(self.device)):
            for words in WORDS:
                to = f"{words['ip']} daddr {getattr(server.address, words['family'])}"
                rule(f"{to} {server.protocol} dport {server.port}", f"own {server.name}")
        self._refuse("output")
        self.table.chain("output", "output priority filter", "drop")

    def _limits(self) -> None:
        """A source that exceeds a limit loses only what exceeds it."""
        limits, rule = self.options.limits, self.table.rule
        rate = f"limit rate over {limits.rate}/second burst {limits.burst} packets"
        rule("update @rate{n} { {ip} saddr " + rate + " }", "too many at once", verdict="drop")
        rule(
            "add @open{n} { {ip} saddr ct count over " + f"{limits.connections}" + " }",
            "too many",
            verdict="drop",
        )
        self.table.chain("limits")

    def _forward(self) -> None:
        rule = self.table.rule
        rule("ct state established,related", "replies")
        if self.device.strict:
            rule("ct state invalid", verdict="drop")
        limited = self.inner if self.device.strict else [link.name for link in self.device.links]
        if limited and not self.device.carrier:
            rule(f"iifname {names(limited)} ct state new", verdict="jump limits")
        for permit in self._permits:
            rule(self._match(permit), permit.reason, verdict="accept" if permit.allow else "drop")
        for permit in self._translated:
            # Of whom a server sees no more than the router's address: the log says who it was.
            log = f' log prefix "tinh {NAT64}: "' if self.device.nat64 else ""
            rule(self._match_translated(permit) + log, f"translated: {permit.reason}")
        if (nat64 := self.device.nat64) and self.inner:
            text = f'iifname "{NAT64}" ip saddr {nat64.ipv4} oifname {names(self.inner)}'
            rule(text, "translated: was judged before")
        for name in self._meshes:
            everywhere = self.table.prefixes(f"all-{name}", self.wall.everywhere[name])
            rule(f"{{ip}} saddr {everywhere} {{ip}} daddr {everywhere}", f"mesh: {name} of every unit")
        if self.device.transit:
            self._routers()
            for head, types in ERRORS:
                rule(f"{head} {{ {types} }}", "errors, RFC 4890 4.3.1")
            rule("", verdict="jump returns")
        self._refuse("forward")
        self.table.chain("forward", "forward priority filter", "drop")

    def _returns(self) -> None:
        """Replies of what the policy allows, for flows whose first half passed another router."""
        for permit in self._permits:
            if permit.allow:
                self.table.rule(self._match(permit, back=True), f"reply: {permit.reason}")
        for permit in self._translated:
            self.table.rule(self._match_translated(permit, back=True), f"translated reply: {permit.reason}")
        self._routers(back=True)
        self.table.chain("returns")

    def _routers(self, *, back: bool = False) -> None:
        """Allow what routers elsewhere need, or the replies to it."""
        rule = self.table.rule
        here, there, port = ("daddr", "saddr", "sport") if back else ("saddr", "daddr", "dport")
        manage = f"{{ip}} {here} @management{{n}} {{ip}} {there} @routers{{n}}"
        rule(f"{manage} tcp {port} 22{NOT_FIRST if back else ''}", "management: SSH of routers")
        if self.options.snmp:
            rule(f"{manage} udp {port} 161", "management: SNMPv3 of routers")
        for server in self.wall.servers:
            for words in WORDS:
                ends = f"{words['ip']} {here} @routers{words['n']} {words['ip']} {there} "
                text = (
                    f"{ends}{getattr(server.address, words['family'])} {server.protocol} {port} {server.port}"
                )
                rule(
                    text + (NOT_FIRST if back and server.protocol == "tcp" else ""),
                    f"{server.name} of routers",
                )

    def _translated_source(self) -> None:
        """Translated packets have the router's own address, so that their replies come back to the same router."""
        if (nat64 := self.device.nat64) and self.inner:
            out = f"ip saddr {nat64.ipv4} oifname {names(self.inner)}"
            self.table.rule(out, "translated: by this router", verdict="masquerade")
            self.table.chain(NAT64, "postrouting priority srcnat", "accept", kind="nat")

    def _queues(self) -> None:
        """Classes of the circuits' queues (`tinh-qos.service`) by mark."""
        if wans := [link.name for link in self.device.wans]:
            rule, out = self.table.rule, f"oifname {names(wans)}"
            rule(f"{out} {{ip}} dscp cs6 meta priority set 1:10", "routing", verdict="accept")
            rule(
                f"{out} {{ip}} dscp {{ ef, af41 }} meta priority set 1:20",
                "voice and video",
                verdict="accept",
            )
            rule(f"{out} meta priority set 1:30", "the rest", verdict="accept")
        self.table.chain("queues", "postrouting priority mangle", "accept")

    @cached_property
    def _permits(self) -> list[Permit]:
        """What concerns this router: flows from its LANs, or all where flows of others pass."""
        permits = self.wall.policy.permits
        if self.device.transit:
            return list(permits)
        return [p for p in permits if p.source in self._mine and (self._mine[p.source].hub or not p.hub)]

    @cached_property
    def _translated(self) -> list[Permit]:
        """What may pass by the translation: what the matrix allows to LANs behind the core."""
        return [p for p in self._permits if p.allow and p.target in self.wall.translated]

    @cached_property
    def _mine(self) -> dict[str, Endpoint]:
        """The unit's LANs by purpose."""
        return self.wall.policy.by_unit.get(self.device.unit, {})

    @cached_property
    def _meshes(self) -> list[str]:
        mine = {lan.purpose for lan in self.device.lans}
        return [name for name in self.wall.policy.meshes if self.device.transit or name in mine]

    def _source(self, permit: Permit) -> str:
        if not self.device.transit:
            return self.table.prefixes(f"own-{permit.source}", lan_set([self._mine[permit.source]]))
        if permit.hub:
            return self.table.prefixes(f"hub-{permit.source}", self.wall.hubs[permit.source])
        return self.table.prefixes(f"all-{permit.source}", self.wall.everywhere[permit.source])

    def _match_translated(self, permit: Permit, *, back: bool = False) -> str:
        name = f"{NAT64}-{permit.target}"
        self.table.named(name, "type ipv6_addr; flags interval;", [self.wall.translated[permit.target]])
        source = self._source(permit).replace("{n}", WORDS[1]["n"])
        a, b = (f"@{name}", source) if back else (source, f"@{name}")
        ports = _ports(self.wall.policy.service(permit), back=back).replace("{icmp}", WORDS[1]["icmp"])
        return f"ip6 saddr {a} ip6 daddr {b} {ports}"

    def _match(self, permit: Permit, *, back: bool = False) -> str:
        source = self._source(permit)
        target = self.table.prefixes(f"hub-{permit.target}", self.wall.hubs[permit.target])
        a, b = (target, source) if back else (source, target)
        return f"{{ip}} saddr {a} {{ip}} daddr {b} {_ports(self.wall.policy.service(permit), back=back)}"

    def _refuse(self, chain: str) -> None:
        """Count what is left, and log some of it; the chain's policy drops it."""
        self.table.rule(f'limit rate 10/minute burst 20 packets log prefix "tinh {chain}: "', verdict="")
        self.table.rule("", "not listed", verdict="drop")


def _ports(service: Service, *, back: bool) -> str:
    if service.protocol == "icmp":
        return "{icmp} type echo-reply" if back else "{icmp} type echo-request"
    ports = ", ".join(map(str, service.ports))
    end = "sport" if back else "dport"
    reply = NOT_FIRST if back and service.protocol == "tcp" else ""
    return f"{service.protocol} {end} {{ {ports} }}{reply}"
