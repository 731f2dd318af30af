"""The province's network on the lab's routers: who reaches whom, and what happens when something is lost or changed."""

import json
import re
import subprocess
import threading
import time

import pytest

from infra import paths
from infra.model.network import RouterRole
from infra.network.of_site import fabric_of, host_name
from lab import podman, topology
from lab import up as lab_up
from lab.outside import probe
from lab.outside.network import netns
from lab.outside.up import outside_of
from tests.acceptance.conftest import SITE, tinh

SETTLE = 30  # s: until sessions and routes are back after a change


class Net:
    """The lab's network with its probes."""

    def __init__(self, lab):
        self.lab, self.site = lab, lab.site
        self.fabric = fabric_of(SITE)
        self.outside = outside_of(lab.site)
        self.nics = {(nic.netns, nic.device): nic for nic in self.outside.nics}
        self.podman = ["podman", "exec", "-i", self.container(self.outside.hosts)]

    @staticmethod
    def container(machine):
        return topology.prefix(paths.instance()) + machine

    def endpoint(self, unit, purpose):
        nic = self.nics[netns(unit), purpose]
        return {
            "netns": nic.netns,
            "device": nic.device,
            "ipv4": str(nic.address.ipv4),
            "ipv6": str(nic.address.ipv6),
        }

    def inside(self, unit, command):
        """Run a command where a unit's hosts are."""
        full = [*self.podman, "ip", "netns", "exec", netns(unit), "sh", "-c", command]
        return subprocess.run(full, capture_output=True, text=True, timeout=60, check=False)

    def on(self, machine, command):
        """Run a command on a router's own system, past its filter and whatever it routes."""
        full = ["podman", "exec", self.container(machine), "sh", "-c", command]
        done = subprocess.run(full, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def routers(self):
        return [(device, host_name(device, self.site)) for device in self.fabric.devices]

    def watch(self, flows, seconds, port=5060):
        """Return a running watch of flows (name -> (source, target), each (unit, purpose)), in both families."""
        return Watch(self, flows, seconds, port)

    def settle(self):
        """Wait until every session of every router is up."""
        deadline = time.monotonic() + SETTLE * 2
        while True:
            down = [f"{d.name}: {line}" for d, host in self.routers() for line in self.sessions_down(d, host)]
            if not down:
                return
            assert time.monotonic() < deadline, down
            time.sleep(0.5)

    def sessions_down(self, device, host):
        text = self.on(host, "vtysh -c 'show bgp summary json'")
        peers = {}
        for family in json.loads(text or "{}").values():
            if isinstance(family, dict):
                peers |= {name: peer["state"] for name, peer in family.get("peers", {}).items()}
        wanted = {str(a) for n in device.neighbours for a in (n.address.ipv4, n.address.ipv6)}
        return [f"{name} {peers.get(name)}" for name in wanted if peers.get(name) != "Established"]


class Watch:
    """Numbered packets over some flows, sent while something happens."""

    def __init__(self, net, flows, seconds, port):
        self.names = [f"{name} {family}" for name in flows for family in ("ipv4", "ipv6")]
        ends = {end for pair in flows.values() for end in pair}
        request = {
            "mode": "watch",
            "endpoints": {"/".join(end): net.endpoint(*end) for end in ends},
            "flows": [
                ["/".join(a), "/".join(b), "udp", family]
                for a, b in flows.values()
                for family in ("ipv4", "ipv6")
            ],
            "interval": 0.01,
            "seconds": seconds,
            "port": port,
        }
        self.result = None
        self.thread = threading.Thread(target=self._run, args=(net.podman, request))
        self.thread.start()
        time.sleep(1.5)

    def _run(self, command, request):
        self.result = probe.run(command, request)

    def outages(self):
        """Return flow -> report, when the time is over."""
        self.thread.join()
        assert self.result is not None
        return dict(zip(self.names, self.result["flows"], strict=True))


@pytest.fixture(scope="module")
def net(lab):
    found = Net(lab)
    found.settle()
    return found


@pytest.fixture(scope="module")
def matrix(net):
    """All flows between all LANs of units with a router, each with what is expected and what was seen."""
    policy = net.fabric.policy
    ends, services = {}, {name: s.model_dump() for name, s in net.fabric.network.zoning.services.items()}
    for each in policy.endpoints:
        if (netns(each.unit), each.purpose) in net.nics:
            ends[each.unit, each.purpose] = each
    flows, expected = probe.matrix_flows(policy, tuple(ends.values()))
    endpoints = {f"{unit}/{purpose}": net.endpoint(unit, purpose) for unit, purpose in ends}
    request = {"endpoints": endpoints, "services": services, "flows": flows}
    seen = probe.run(net.podman, request)
    passed = set(seen["passed"])
    print(f"zone matrix: {len(ends)} LANs, {len(flows)} probes in {seen['seconds']:.0f} s, {sum(expected)} allowed")
    return [(*flow, want, index in passed) for index, (flow, want) in enumerate(zip(flows, expected, strict=True))]


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_the_zone_matrix_holds_for_every_pair_of_lans(matrix, family):
    mine = [row for row in matrix if row[3] == family]
    assert sum(row[4] for row in mine) > 100
    assert sum(not row[4] for row in mine) > 1000
    wrong = [f"{a} -> {b} {s}: {'must' if want else 'must not'}" for a, b, s, _, want, got in mine if want != got]
    assert wrong == []


def test_both_families_are_treated_alike(matrix):
    seen = {}
    for a, b, service, family, _, got in matrix:
        seen.setdefault((a, b, service), {})[family] = got
    assert [key for key, by in seen.items() if len(set(by.values())) != 1] == []


def test_units_are_separate_in_everything_but_voice_and_video(matrix):
    """Commune from commune and agency from agency (circular 06/2026 Đ8.3)."""
    meshes = {"voice-video", "cameras"}
    units = {a.split("/")[0] for a, *_ in matrix} - {"dc"}
    assert {"99801", "99804", "so-mot", "so-hai"} <= units
    between = [row for row in matrix if {row[0].split("/")[0], row[1].split("/")[0]} <= units]
    through = [row for row in between if row[0].split("/")[0] != row[1].split("/")[0] and row[5]]
    assert through
    assert {purpose.split("/")[1] for row in through for purpose in row[:2]} <= meshes


def test_video_reaches_every_unit_and_nothing_else_reaches_video(matrix):
    video = [row for row in matrix if row[1].endswith("/voice-video")]
    for row in video:
        if row[0].endswith("/voice-video"):
            assert row[5], row
        elif not row[0].startswith("dc/"):
            assert not row[5], row


def test_the_dedicated_network_has_no_way_to_the_internet(net):
    outside = net.site.segments["internet"].prefix
    inner = [(d, h) for d, h in net.routers() if d.role is not RouterRole.CORE]
    for device, host in inner:
        for family, prefix in (("-4", outside.ipv4), ("-6", outside.ipv6)):
            table = json.loads(net.on(host, f"ip -j {family} route show"))
            # The console is the lab's own; nothing else may lead out.
            assert [r for r in table if r["dst"] in ("default", "0.0.0.0/0", "::/0")] == [], device.name
            assert [r for r in table if r["dst"] == str(prefix)] == [], device.name
    client = net.nics[netns("dc"), "internet"].address
    for unit in ("99801", "998", "so-mot"):
        for purpose in ("government", "wifi", "voice-video"):
            if (netns(unit), purpose) in net.nics:
                for address in (client.ipv4, client.ipv6):
                    done = net.inside(unit, f"ping -c 2 -i 0.2 -W 1 -I {purpose} {address}")
                    assert done.returncode != 0, (unit, purpose, address)


def test_names_are_answered_at_the_units_own_gateway(net):
    gateway = net.nics[netns("99801"), "government"].gateway
    for address in (gateway.ipv6, gateway.ipv4):
        done = net.inside("99801", f"dig +short +time=3 @{address} id.{net.site.zone} AAAA")
        assert str(net.site.front_door.gateway.ipv6) in done.stdout, done.stdout + done.stderr


def test_a_platform_is_reached_from_a_unit_by_its_name_and_certificate(net):
    site = net.site
    for flag, address in (("-4", site.front_door.gateway.ipv4), ("-6", f"[{site.front_door.gateway.ipv6}]")):
        name = site.public_name("id")
        done = net.inside(
            "99801",
            f"curl {flag} -sS -m 10 --interface government --resolve {name}:443:{address} "
            f"--cacert /usr/local/share/ca-certificates/tinh-site.crt -o /dev/null -w '%{{http_code}}' "
            f"https://{name}/realms/master/.well-known/openid-configuration",
        )
        assert done.stdout == "200", done.stdout + done.stderr


def _spoofed(net, machine):
    text = net.on(machine, "nft -j list chain inet tinh sources")
    rules = [item["rule"] for item in json.loads(text)["nftables"] if "rule" in item]
    counters = [
        part["counter"]["packets"]
        for rule in rules
        if "spoofed" in rule.get("comment", "")
        for part in rule["expr"]
        if "counter" in part
    ]
    return sum(counters)


@pytest.mark.parametrize("flag", ["-4", "-6"])
def test_a_foreign_source_is_dropped_where_it_comes_in(net, flag):
    """RFC 2827: a host of one commune takes an address of another one's."""
    family = {"-4": "ipv4", "-6": "ipv6"}[flag]
    foreign = getattr(net.nics[netns("99802"), "government"].address, family) + 1
    target = getattr(net.nics[netns("dc"), "servers"].address, family)
    length = {"-4": 32, "-6": 128}[flag]
    before = _spoofed(net, "c-99801")
    try:
        net.inside("99801", f"ip {flag} addr add {foreign}/{length} dev government")
        done = net.inside("99801", f"ping {flag} -c 3 -i 0.2 -W 1 -I {foreign} {target}")
    finally:
        net.inside("99801", f"ip {flag} addr del {foreign}/{length} dev government")
    assert done.returncode != 0
    assert _spoofed(net, "c-99801") >= before + 3


def test_voice_and_video_have_their_own_queue(net):
    device = next(d for d, h in net.routers() if h == "c-99801")
    wan = device.wans[0].name

    def sent():
        text = net.on("c-99801", f"tc -s class show dev {wan}")
        return int(re.search(r"class htb 1:20 .*?Sent \d+ bytes (\d+) pkt", text, re.DOTALL)[1])

    before = sent()
    net.watch({"video": (("99801", "voice-video"), ("99804", "voice-video"))}, 2).outages()
    assert sent() - before > 100


# --- Faults


DISTRICT = {"district": (("998", "government"), ("dc", "servers"))}


def _plane_end(net, link):
    """Return (machine, device) of the plane's end of the district's line."""
    device = next(d for d, h in net.routers() if h == "d-998")
    far = next(i for i in device.links if i.purpose == link)
    plane = net.fabric.by_name[far.far]
    return plane.name, next(i.name for i in plane.links if i.far == device.name and i.purpose == link)


def test_a_line_that_goes_down_costs_less_than_a_second(net):
    machine, device = _plane_end(net, "link-a")
    watch = net.watch(DISTRICT, 12)
    try:
        net.on(machine, f"ip link set {device} down")
        time.sleep(4)
    finally:
        net.on(machine, f"ip link set {device} up")
    found = watch.outages()
    print("line down:", {name: report["longest"] for name, report in found.items()})
    assert all(report["answered"] > 500 for report in found.values()), found
    assert all(report["longest"] < 1.0 for report in found.values()), found
    net.settle()


def test_a_line_that_goes_silent_is_found_by_bfd_within_a_second(net):
    machine, device = _plane_end(net, "link-a")
    cut = (
        f"nft 'table inet outage {{ chain in {{ type filter hook prerouting priority -400; iifname {device} drop; }}; "
        f"chain out {{ type filter hook output priority -400; oifname {device} drop; }}; "
        f"chain through {{ type filter hook forward priority -400; oifname {device} drop; }} }}'"
    )
    watch = net.watch(DISTRICT, 12)
    try:
        net.on(machine, cut)
        time.sleep(4)
    finally:
        net.on(machine, "nft delete table inet outage")
    found = watch.outages()
    print("line silent:", {name: report["longest"] for name, report in found.items()})
    assert all(report["answered"] > 500 for report in found.values()), found
    assert all(report["longest"] < 1.0 for report in found.values()), found
    net.settle()


def test_the_loss_of_a_core_router_costs_less_than_three_seconds(net):
    flows = {
        "commune": (("99801", "government"), ("dc", "servers")),
        "district": (("998", "government"), ("dc", "servers")),
    }
    watch = net.watch(flows, 20)
    try:
        podman.run("kill", net.container("core1"))
        time.sleep(8)
    finally:
        podman.run("start", net.container("core1"))
        lab_up.ensure_outside(net.site, print)
    found = watch.outages()
    print("core router lost:", {name: report["longest"] for name, report in found.items()})
    assert all(report["answered"] > 500 for report in found.values()), found
    assert all(report["longest"] < 3.0 for report in found.values()), found
    net.settle()


# --- Changes


def _change(net, machine, *lines):
    words = " ".join(f"-c '{line}'" for line in ("configure terminal", *lines))
    net.on(machine, f"vtysh {words}")


def _routes(net, machine, prefix):
    kind = "ipv6" if ":" in prefix else "ipv4"
    found = json.loads(net.on(machine, f"vtysh -c 'show bgp {kind} unicast {prefix} json'") or "{}")
    return found.get("paths", [])


def test_an_unregistered_or_foreign_prefix_is_refused_and_the_hand_edit_is_seen_and_repaired(net):
    """The carrier's plane takes a unit's own blocks only, whatever the unit's router says."""
    device = next(d for d, h in net.routers() if h == "c-99801")
    other = net.fabric.plan.of("99804", "government")
    strange = ["192.0.2.0/24", str(other.ipv4), "2001:db8:bad::/48", str(other.ipv6)]
    peers = device.neighbours
    edits = []
    for family, ip in (("ipv4", "ip"), ("ipv6", "ipv6")):
        mine = [p for p in strange if (":" in p) == (family == "ipv6")]
        edits += [f"{ip} route {p} blackhole" for p in mine]
        edits += [f"router bgp {device.asn}", f"address-family {family} unicast"]
        edits += [f"no neighbor {getattr(n.address, family)} prefix-list {n.announce} out" for n in peers]
        # Without a policy nothing is sent (RFC 8212): one that lets everything out
        edits += [f"neighbor {getattr(n.address, family)} route-map everything out" for n in peers]
        edits += [f"network {p}" for p in mine]
        edits += ["exit-address-family", "exit"]
    _change(net, "c-99801", "route-map everything permit 10", "exit", *edits)
    try:
        time.sleep(3)
        sent = net.on("c-99801", f"vtysh -c 'show bgp ipv4 unicast neighbors {peers[0].address.ipv4} advertised-routes'")
        assert "192.0.2.0" in sent  # it does try
        plane = net.fabric.by_name[peers[0].name]
        for prefix in strange:
            assert _routes(net, plane.name, prefix) == [] or prefix in map(str, (other.ipv4, other.ipv6)), prefix
            for _, host in net.routers():
                if host != "c-99801":
                    paths_ = _routes(net, host, prefix)
                    assert all(str(device.asn) not in json.dumps(p.get("aspath", "")) for p in paths_), (host, prefix)
        seen = tinh("diff", "--site", SITE, "--layer", "network")
        assert seen.returncode == 3, seen.stdout[-2000:] + seen.stderr[-2000:]
        assert "192.0.2.0/24" in seen.stdout
    finally:
        mended = tinh("up", "--site", SITE, "--layer", "network", "--yes")
    assert mended.returncode == 0, mended.stdout[-2000:] + mended.stderr[-2000:]
    assert "192.0.2.0" not in net.on("c-99801", "vtysh -c 'show running-config'")
    assert tinh("diff", "--site", SITE, "--layer", "network").returncode == 0


def test_a_router_that_does_not_answer_fails_alone_and_the_others_are_changed(net):
    net.on("c-99804", "ip link set console down")
    edited = ("c-99801", "c-99803")
    try:
        for host in edited:
            net.on(host, "nft insert rule inet tinh forward accept")
        began = time.monotonic()
        result = tinh("up", "--site", SITE, "--layer", "network", "--yes")
        print(f"one of {len(net.routers())} routers away: {time.monotonic() - began:.0f} s")
        assert result.returncode == 5, result.stdout[-2000:] + result.stderr[-2000:]
        assert "c-99804" in result.stdout + result.stderr
        for host in edited:
            assert "accept" not in net.on(host, "nft list chain inet tinh forward").split("established")[0]
    finally:
        net.on("c-99804", "ip link set console up")
        time.sleep(2)
        assert tinh("up", "--site", SITE, "--layer", "network", "--yes").returncode == 0


def test_a_reorganisation_is_applied_without_loss_for_units_that_stay(net):
    """Two communes become one (epochs 2023 and 2024 of the lab's province), forth and back."""
    flows = {
        "commune": (("99801", "government"), ("dc", "servers")),
        "video": (("99801", "voice-video"), ("99804", "voice-video")),
        "district": (("998", "government"), ("dc", "servers")),
        "agency": (("so-mot", "government"), ("dc", "servers")),
    }
    before = {d.name for d, _ in net.routers()}
    for epoch in ("2024", "2023"):
        watch = net.watch(flows, 600)
        try:
            assert tinh("lab", "epoch", epoch).returncode == 0
            result = tinh("up", "--site", SITE, "--layer", "network", "--yes")
        finally:
            found = watch.stop()
        assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
        print(f"to {epoch}:", {n: (r["sent"], r["answered"], r["longest"]) for n, r in found.items()})
        assert all(report["sent"] == report["answered"] for report in found.values()), found
        now = {d.name for d in fabric_of(SITE).devices}
        assert now == (before if epoch == "2023" else before - {"c-99802"})
