"""The province's network on the lab's routers: who reaches whom, and what happens when something is lost or changed."""

import json
import re
import time

import pytest

from infra.model.network import RouterRole
from infra.network.of_site import fabric_of
from lab.outside import probe
from tests.acceptance.conftest import SITE, tinh
from tests.acceptance.probes import COMMUNE, DISTRICT, SETTLE, Net, longest

#: Seconds without an answer that prove a fault was found by BFD or VRRP: BGP's own hold time is 9. The goals (below 1 s
#: for a line, below 3 s for a core router) are judged by what is printed: timings depend on how busy the machine is.
FOUND = 5
#: A busy host drops a datagram now and then; a session that was lost costs half a second at least.
HICCUP = 0.1


@pytest.fixture(scope="module")
def net(lab):
    found = Net(lab.site)
    found.settle()
    return found


@pytest.fixture(scope="module")
def matrix(net):
    """Every service between all LANs of units with a router, in both families, with what the policy says."""
    flows = net.flows()
    outcome = net.probed(flows)
    print(
        f"zone matrix: {len(net.ends())} LANs, {outcome.allowed} allowed and {outcome.forbidden} forbidden flows "
        f"probed in {outcome.seconds:.0f} s, {outcome.again} of them twice"
    )
    return flows, outcome


def test_the_zone_matrix_holds_for_every_pair_of_lans_in_both_families(matrix):
    flows, outcome = matrix
    assert outcome.wrong == ()
    assert outcome.allowed > 200
    assert outcome.forbidden > 5000
    assert {flow.family for flow in flows} == {"ipv4", "ipv6"}


def test_a_probe_that_should_not_pass_and_does_is_found(net):
    """The matrix test can fail: one router is opened by hand."""
    two = ("99801 government", "dc databases")
    flows = [flow for flow in net.flows(["postgresql"]) if (flow.source, flow.target) == two]
    assert len(flows) == 2
    assert net.probed(flows).wrong == ()
    hosts = ("c-99801", "gw-98-1", "gw-98-2", "core1", "core2")
    try:
        for host in hosts:
            net.on(host, "nft insert rule inet tinh forward accept")
        assert len(net.probed(flows).wrong) == len(flows)
    finally:
        for host in hosts:
            net.on(host, "nft -f /etc/nftables.conf")
    assert net.probed(flows).wrong == ()


def test_units_are_separate_in_everything_but_voice_and_video(matrix):
    """Commune from commune and agency from agency (circular 06/2026 Đ8.3)."""
    flows, outcome = matrix
    assert outcome.wrong == ()
    between = [f for f in flows if "dc" not in (f.source.split()[0], f.target.split()[0])]
    apart = [f for f in between if f.source.split()[0] != f.target.split()[0]]
    assert {"99801", "99804", "998", "so-mot", "so-hai"} <= {f.source.split()[0] for f in apart}
    through = {(f.source.split()[1], f.target.split()[1]) for f in apart if f.allowed}
    assert through == {("voice-video", "voice-video"), ("cameras", "cameras")}


def test_video_reaches_every_unit_and_no_other_lan_of_a_unit_reaches_video(matrix):
    flows, outcome = matrix
    assert outcome.wrong == ()
    video = [f for f in flows if f.target.endswith(" voice-video") and not f.source.startswith("dc ")]
    assert all(f.allowed == f.source.endswith(" voice-video") for f in video)


def test_the_dedicated_network_has_no_way_to_the_internet(net):
    outside = net.site.segments["internet"].prefix
    for device, host in net.routers():
        if device.role is RouterRole.CORE:
            continue
        for flag, prefix in (("-4", outside.ipv4), ("-6", outside.ipv6)):
            table = json.loads(net.on(host, f"ip -j {flag} route show table all"))
            wrong = [r["dst"] for r in table if r["dst"] in ("default", "0.0.0.0/0", "::/0", str(prefix))]
            assert [r for r in wrong if r] == [], device.name
    client = net.nic("dc", "internet").address
    for unit in ("99801", "998", "so-mot"):
        for purpose in ("government", "voice-video", "management"):
            for address in (client.ipv4, client.ipv6):
                done = net.inside(unit, f"ping -c 2 -i 0.2 -W 1 -I {purpose} {address}")
                assert done.returncode != 0, (unit, purpose, address)


def test_names_are_answered_at_the_units_own_gateway(net):
    gateway = net.nic("99801", "government").gateway
    for address in (gateway.ipv6, gateway.ipv4):
        done = net.inside("99801", f"dig +short +time=3 @{address} id.{net.site.zone} AAAA")
        assert str(net.site.front_door.gateway.ipv6) in done.stdout, done.stdout + done.stderr


def test_a_platform_is_reached_from_a_unit_by_its_name_and_certificate(net):
    door, name = net.site.front_door.gateway, net.site.public_name("id")
    for flag, address in (("-4", door.ipv4), ("-6", f"[{door.ipv6}]")):
        done = net.inside(
            "99801",
            f"curl {flag} -sS -m 10 --interface government --resolve {name}:443:{address} "
            f"--cacert /usr/local/share/ca-certificates/tinh-site.crt -o /dev/null -w '%{{http_code}}' "
            f"https://{name}/realms/master/.well-known/openid-configuration",
        )
        assert done.stdout == "200", done.stdout + done.stderr


def spoofed(net, machine):
    """Return how many packets with a foreign source a router has dropped."""
    listing = json.loads(net.on(machine, "nft -j list chain inet tinh sources"))["nftables"]
    rules = [item["rule"] for item in listing if "spoofed" in item.get("rule", {}).get("comment", "")]
    return sum(part["counter"]["packets"] for rule in rules for part in rule["expr"] if "counter" in part)


@pytest.mark.parametrize(("flag", "family", "length"), [("-4", "ipv4", "32"), ("-6", "ipv6", "128 nodad")])
def test_a_foreign_source_is_dropped_where_it_comes_in(net, flag, family, length):
    """RFC 2827: a host of one commune takes an address of another one's."""
    foreign = getattr(net.nic("99802", "government").address, family) + 1
    target = getattr(net.nic("dc", "servers").address, family)
    before = spoofed(net, "c-99801")
    try:
        net.inside("99801", f"ip {flag} addr add dev government {foreign}/{length}")
        done = net.inside("99801", f"ping {flag} -c 3 -i 0.2 -W 1 -I {foreign} {target}")
    finally:
        net.inside("99801", f"ip {flag} addr del dev government {foreign}/{length.split()[0]}")
    assert done.returncode != 0
    assert spoofed(net, "c-99801") >= before + 3


def test_voice_and_video_have_their_own_queue(net):
    wan = net.device("c-99801").wans[0].name

    def sent():
        text = net.on("c-99801", f"tc -s class show dev {wan}")
        return int(re.search(r"class htb 1:20 .*?Sent \d+ bytes (\d+) pkt", text, re.DOTALL)[1])

    before = sent()
    with net.watch([(("99801", "voice-video"), ("99804", "voice-video"))]) as watch:
        time.sleep(2)
        longest("video", watch)
    assert sent() - before > 100


# --- Faults


@pytest.mark.parametrize("family", probe.FAMILIES)
def test_a_line_that_goes_down_is_gone_round(net, family):
    end = net.plane_end(family)
    with net.watch(DISTRICT) as watch:
        time.sleep(1)
        with net.line_down(*end):
            time.sleep(4)
        net.settle()
        assert longest("line down", watch) < FOUND


@pytest.mark.parametrize("family", probe.FAMILIES)
def test_a_line_that_goes_silent_is_found_by_bfd(net, family):
    end = net.plane_end(family)
    with net.watch(DISTRICT) as watch:
        time.sleep(1)
        with net.line_silent(*end):
            time.sleep(4)
        net.settle()
        assert longest("line silent", watch) < FOUND


def test_a_core_router_that_is_lost_is_replaced(net):
    """One after the other, so that the second one has the virtual addresses of both families when it is lost."""
    for machine in ("core1", "core2"):
        with net.watch(COMMUNE + DISTRICT) as watch:
            time.sleep(1)
            with net.machine_lost(machine):
                time.sleep(8)
            net.settle()
            assert longest(f"{machine} lost and back", watch) < FOUND
    states = net.on("core1", "vtysh -c 'show vrrp summary'").split()
    assert (states.count("Master"), states.count("Backup")) == (len(net.device("core1").lans) * 2, 0)


@pytest.mark.parametrize("machine", ["core1", "core2"])
def test_what_comes_by_the_router_without_the_virtual_address_is_delivered(net, machine):
    """Units send by the core router that routing prefers, hosts answer by the one that has their virtual address."""
    for lan in net.device(machine).lans:
        router = f"vrrp {lan.virtual.vrid}"
        vtysh(net, machine, f"interface {lan.name}", f"{router} shutdown", f"no {router} shutdown")
    deadline = time.monotonic() + SETTLE
    while "Master" in (states := net.on(machine, "vtysh -c 'show vrrp summary'")):
        assert time.monotonic() < deadline, states
        time.sleep(0.5)
    flows = [
        f for f in net.flows() if f.allowed and (f.source.startswith("dc ") or f.target.startswith("dc "))
    ]
    assert {flow.source.split()[0] for flow in flows} > {"dc", "99801", "so-mot"}
    assert net.probed(flows).wrong == ()


# --- Changes


def vtysh(net, machine, *lines):
    words = " ".join(f"-c '{line}'" for line in ("configure terminal", *lines))
    net.on(machine, f"vtysh {words}")


def paths_to(net, machine, prefix):
    kind = "ipv6" if ":" in prefix else "ipv4"
    return json.loads(net.on(machine, f"vtysh -c 'show bgp {kind} unicast {prefix} json'") or "{}").get(
        "paths", []
    )


def test_an_unregistered_or_foreign_prefix_is_refused_and_the_hand_edit_is_seen_and_repaired(net):
    """The carrier's planes take a unit's own blocks only, whatever the unit's router says."""
    device, other = net.device("c-99801"), net.fabric.plan.of("99804", "government")
    strange = {"ipv4": ["192.0.2.0/24", str(other.ipv4)], "ipv6": ["2001:db8:bad::/48", str(other.ipv6)]}
    edits = ["route-map everything permit 10", "exit"]
    for family, ip in (("ipv4", "ip"), ("ipv6", "ipv6")):
        edits += [f"{ip} route {prefix} blackhole" for prefix in strange[family]]
        edits += [f"router bgp {device.asn}", f"address-family {family} unicast"]
        for near in device.neighbours:
            edits.append(f"no neighbor {getattr(near.address, family)} prefix-list {near.announce} out")
            # Without any policy nothing is sent (RFC 8212).
            edits.append(f"neighbor {getattr(near.address, family)} route-map everything out")
        edits += [f"network {prefix}" for prefix in strange[family]]
        edits += ["exit-address-family", "exit"]
    vtysh(net, "c-99801", *edits)
    try:
        time.sleep(3)
        near = device.neighbours[0].address
        for family in ("ipv4", "ipv6"):
            say = f"show bgp {family} unicast neighbors {getattr(near, family)} advertised-routes"
            said = net.on("c-99801", f"vtysh -c '{say}'")
            assert all(prefix.split("/")[0] in said for prefix in strange[family]), said  # it does try
        for _, host in net.routers():
            if host != "c-99801":
                for prefix in (*strange["ipv4"], *strange["ipv6"]):
                    found = paths_to(net, host, prefix)
                    assert str(device.asn) not in json.dumps([path.get("aspath") for path in found]), (
                        host,
                        prefix,
                    )
        seen = tinh("diff", "--site", SITE, "--layer", "network")
        assert seen.returncode == 3, seen.stdout[-2000:] + seen.stderr[-2000:]
        assert "192.0.2.0/24" in seen.stdout
    finally:
        mended = tinh("up", "--site", SITE, "--layer", "network", "--yes")
    assert mended.returncode == 0, mended.stdout[-2000:] + mended.stderr[-2000:]
    assert "192.0.2.0" not in net.on("c-99801", "vtysh -c 'show running-config'")
    assert tinh("diff", "--site", SITE, "--layer", "network").returncode == 0


def test_a_router_that_does_not_answer_fails_alone_and_the_others_are_changed(net):
    edited = ("c-99801", "c-99803")
    net.on("c-99804", "ip link set console down")
    try:
        for host in edited:
            net.on(host, "nft insert rule inet tinh forward counter accept comment by-hand")
        began = time.monotonic()
        result = tinh("up", "--site", SITE, "--layer", "network", "--yes")
        print(f"one of {len(net.routers())} routers away: {time.monotonic() - began:.0f} s")
        assert result.returncode == 5, result.stdout[-2000:] + result.stderr[-2000:]
        assert "c-99804" in result.stdout + result.stderr
        for host in edited:
            assert "by-hand" not in net.on(host, "nft list chain inet tinh forward")
    finally:
        net.on("c-99804", "ip link set console up")
        time.sleep(2)
        mended = tinh("up", "--site", SITE, "--layer", "network", "--yes")
    assert mended.returncode == 0, mended.stdout[-2000:] + mended.stderr[-2000:]


def test_a_reorganisation_is_applied_without_loss_for_units_that_stay(net):
    """Two communes become one (epochs 2023 and 2024 of the lab's province), forth and back."""
    flows = [
        (("99801", "government"), ("dc", "servers")),
        (("99801", "voice-video"), ("99804", "voice-video")),
        (("998", "government"), ("dc", "servers")),
        (("so-mot", "government"), ("dc", "servers")),
    ]
    declared = {epoch: {d.name for d in fabric_of(SITE, epoch).devices} for epoch in ("2023", "2024")}
    assert declared["2023"] - declared["2024"] == {"c-99802"}
    for epoch in ("2024", "2023"):
        try:
            with net.watch(flows) as watch:
                assert tinh("lab", "epoch", epoch).returncode == 0
                result = tinh("up", "--site", SITE, "--layer", "network", "--yes")
                lost = longest(f"reorganisation to {epoch}", watch)
            assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
            assert lost < HICCUP, epoch
            runs = "bgpd" in net.on("c-99802", "cat /run/frr/bgpd.pid 2>/dev/null && echo bgpd || true")
            assert runs == (epoch == "2023")
        finally:
            tinh("lab", "epoch", "2023")
    assert tinh("diff", "--site", SITE, "--layer", "network").returncode == 0
