"""Names and translation on the lab: signed answers, who gets them, and hosts with IPv6 only that reach IPv4."""

import json
import subprocess
import time
from ipaddress import IPv4Network

import pytest

from infra import dnssec, paths
from infra.model.site import Role
from infra.network.names import translated
from infra.network.of_site import fabric_of
from infra.render.zones import units_zone, zone_names
from lab import topology
from lab.outside import probe
from lab.outside.network import netns
from lab.outside.up import outside_of
from tests.acceptance.conftest import SITE
from tests.acceptance.writers import wait_for

FAMILIES = ("ipv6", "ipv4")
#: A unit that is looked at as one with IPv6 only, and one whose probes have targets answer over IPv4.
ONLY6, HELPER = ("99801", "government"), ("99804", "government")


class Names:
    """The lab with its units' hosts."""

    def __init__(self, lab):
        self.lab, self.site, self.fabric = lab, lab.site, fabric_of(SITE)
        self.outside = outside_of(lab.site)
        self.nics = {(nic.netns, nic.device): nic for nic in self.outside.nics}
        self.podman = ["podman", "exec", "-i", topology.prefix(paths.instance()) + self.outside.hosts]
        self.keys = dnssec.keys(SITE)

    def inside(self, unit, command):
        """Run a command where a unit's hosts are."""
        full = [*self.podman, "ip", "netns", "exec", netns(unit), "sh", "-c", command]
        return subprocess.run(full, capture_output=True, text=True, timeout=60, check=False)

    def nic(self, unit, purpose):
        return self.nics[netns(unit), purpose]

    def dig(self, unit, name, kind, family="ipv6", *more):
        """Ask a unit's router, as its hosts do."""
        nic = self.nic(unit, "government")
        gateway, own = getattr(nic.gateway, family), getattr(nic.address, family)
        return self.inside(unit, f"dig -b {own} @{gateway} {name} {kind} {' '.join(more)}").stdout

    def mapped(self, address):
        """Return the IPv6 address that stands for an IPv4 address."""
        return str(translated(IPv4Network(str(address)), self.site.names.nat64.ipv6).network_address)

    def place(self, unit, purpose):
        nic = self.nic(unit, purpose)
        return probe.Place(nic.netns, nic.device, str(nic.address.ipv4), str(nic.address.ipv6))

    def delv(self, keys, server, name, kind="AAAA"):
        """Validate an answer outside the province with the DS records of some keys alone."""
        zone = self.site.zone
        lines = [key.ds(zone).partition(" IN DS ")[2].split() for key in keys]
        anchors = "".join(f'"{zone}." static-ds {a} {b} {c} "{d}";\n' for a, b, c, d in lines)
        client = self.lab.machine("client1")
        client.run(f"cat > /tmp/anchors <<'EOF'\ntrust-anchors {{\n{anchors}}};\nEOF")
        family = "-6" if ":" in server else "-4"
        return self.lab.client(
            "dual", f"delv {family} @{server} -a /tmp/anchors +root={zone} {name} {kind}"
        ).stdout


@pytest.fixture(scope="module")
def names(lab):
    return Names(lab)


# --- The public's side


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["AAAA", "A"])
def test_a_published_name_is_signed_by_the_provinces_key(names, family, kind):
    server = str(getattr(names.site.front_door.dns, family))
    said = names.delv(names.keys, server, names.site.public_name("id"), kind)
    assert "; fully validated" in said
    assert (
        str(names.site.front_door.gateway.ipv6 if kind == "AAAA" else names.site.front_door.gateway.ipv4)
        in said
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_who_trusts_another_key_refuses_the_answer(names, family, monkeypatch, tmp_path):
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TINH_STATE", str(tmp_path))
        other = dnssec.keys(SITE)
    said = names.delv(other, str(getattr(names.site.front_door.dns, family)), names.site.public_name("id"))
    assert "fully validated" not in said
    assert str(names.site.front_door.gateway.ipv6) not in said


def test_that_a_name_is_not_there_is_signed_too(names):
    server = str(names.site.front_door.dns.ipv6)
    said = names.delv(names.keys, server, f"nowhere.{names.site.zone}")
    assert "; negative response, fully validated" in said


@pytest.mark.parametrize("family", FAMILIES)
def test_published_addresses_have_names(names, family):
    door = names.site.front_door
    address = getattr(door.gateway, family)
    for server in door.dns.pair():
        said = names.lab.client("dual", f"dig +short @{server} -x {address}").stdout.split()
        assert f"{names.site.public_name('id')}." in said


@pytest.mark.parametrize("family", FAMILIES)
def test_the_public_is_told_nothing_of_units_and_nothing_of_others(names, family):
    server = getattr(names.site.front_door.dns, family)
    units = units_zone(names.site)
    inner = set(zone_names(names.site, names.fabric.network)) - set(zone_names(names.site, None))
    for zone in (units, *inner):
        assert "status: NOTAUTH" in names.lab.client("dual", f"dig @{server} {zone} SOA").stdout
    assert "status: REFUSED" in names.lab.client("dual", f"dig @{server} example.org").stdout


@pytest.mark.parametrize("family", FAMILIES)
def test_the_public_cannot_ask_the_resolver(names, family):
    server = getattr(names.site.names.resolver.address, family)
    said = names.lab.client("dual", f"dig +tries=1 +time=2 @{server} {names.site.public_name('id')}")
    assert "status:" not in said.stdout


def test_a_killed_server_answers_again(names):
    def server():
        (pod,) = names.lab.get("pods", "-n", "dns", "-l", "app.kubernetes.io/name=knot")["items"]
        (status,) = pod["status"]["containerStatuses"]
        return pod["spec"]["nodeName"], status["restartCount"], status["ready"]

    node, before, _ = server()
    assert names.lab.machine(node).run("pkill -KILL -x knotd").rc == 0

    def again():
        _, restarts, ready = server()
        return restarts > before and ready

    wait_for(again, 120, "Knot answers again")


# --- The province's side


@pytest.mark.parametrize("family", FAMILIES)
def test_a_units_host_gets_validated_names_from_its_router(names, family):
    said = names.dig(ONLY6[0], names.site.public_name("id"), "AAAA", family)
    assert str(names.site.front_door.gateway.ipv6) in said
    flags = said.split(";; flags:")[1].split(";")[0].split()
    assert "ad" in flags
    gateway = names.fabric.plan.gateway("99804", "government")
    pointer = getattr(gateway, family).reverse_pointer
    label = next(u.label for u in names.fabric.plan.province.units if u.code == "99804")
    assert f"government.{label}.{units_zone(names.site)}." in names.dig(ONLY6[0], pointer, "PTR", family)


def test_machines_of_the_site_resolve_by_both_core_routers(names):
    """One address, and each core router answers at it for its own."""
    v6, v4 = names.site.names.resolver.address.pair()
    for core in (m.name for m in names.site.by_role(Role.ROUTER)):
        for server in (v6, v4):
            said = names.lab.machine(core).run(f"dig @{server} {names.site.public_name('id')} AAAA").stdout
            assert "status: NOERROR" in said, (core, server)
    node = names.site.by_role(Role.WORKER)[0].name
    assert names.lab.machine(node).run(f"getent ahosts {names.site.public_name('id')}").rc == 0


def test_a_core_router_whose_resolver_has_ended_sends_questions_to_the_other(names):
    machine = names.lab.machine("core1")
    try:
        assert machine.run("systemctl stop tinh-resolver").rc == 0
        for family in FAMILIES:
            said = names.dig(ONLY6[0], names.site.public_name("id"), "A", family, "+tries=5", "+time=2")
            assert "status: NOERROR" in said, family
    finally:
        machine.run("systemctl start tinh-resolver")


# --- Translation


@pytest.fixture
def only6(names):
    """The unit's hosts without IPv4."""
    nic = names.nic(*ONLY6)
    length = nic.lengths[1]
    assert names.inside(ONLY6[0], f"ip -4 address flush dev {nic.device}").returncode == 0
    yield nic
    names.inside(ONLY6[0], f"ip address replace {nic.address.ipv4}/{length} dev {nic.device}")
    names.inside(ONLY6[0], f"ip route replace 0.0.0.0/0 via {nic.gateway.ipv4} dev {nic.device} metric 2")


def test_a_host_finds_the_prefix_by_the_well_known_name(names, only6):
    assert names.mapped("192.0.0.170") in names.dig(ONLY6[0], "ipv4only.arpa", "AAAA")


def test_the_ipv6_only_client_of_the_internet_reaches_an_ipv4_address_of_the_front_door(names):
    name = names.site.public_name("id")
    address = names.mapped(names.site.front_door.gateway.ipv4)
    said = names.lab.client(
        "ipv6",
        f"curl -6 -sS -o /dev/null -w '%{{http_code}}' --cacert /usr/local/share/ca-certificates/tinh-site.crt "
        f"--resolve {name}:443:[{address}] https://{name}/realms/master/account/",
    )
    assert said.stdout == "200", said.stderr
    closed = names.mapped(names.site.by_role(Role.CONTROL_PLANE)[0].primary.ipv4)
    for port in (22, 6443):
        open_port = f"timeout 3 bash -c 'exec 3<>/dev/tcp/{closed}/{port}'"
        assert names.lab.client("ipv6", open_port).rc != 0, port


def test_a_core_router_whose_translation_has_ended_sends_to_the_other(names, only6):
    machine = names.lab.machine("core1")
    flows = [
        probe.Flow(" ".join(HELPER), "dc servers", "https", "ipv4", True),
        probe.Flow(" ".join(ONLY6), "nat64 dc servers", "https", "ipv6", True),
    ]
    source = next(e for e in names.fabric.policy.endpoints if (e.unit, e.purpose) == ONLY6)
    places, _ = through(names, [source])
    try:
        assert machine.run("systemctl stop tinh-nat64").rc == 0
        time.sleep(1)
        services = names.fabric.network.zoning.services
        assert probe.probe([*names.podman, "python3"], flows, places, services).wrong == ()
    finally:
        machine.run("systemctl start tinh-nat64")


def through(names, sources):
    """Return places and flows: from LANs over IPv6 to what stands for the IPv4 addresses of all others."""
    policy, services = names.fabric.policy, names.fabric.network.zoning.services
    lans = {probe.lan_name(e): e for e in policy.endpoints if (netns(e.unit), e.purpose) in names.nics}
    places = {name: names.place(e.unit, e.purpose) for name, e in lans.items()}
    flows, helper = [], lans[" ".join(HELPER)]
    for name, target in lans.items():
        places[f"nat64 {name}"] = probe.Place(None, "", places[name].ipv4, names.mapped(places[name].ipv4))
        for service in services:
            central = target.unit == names.fabric.topology.site_unit
            if central and target != helper:
                allowed = policy.allowed(helper, target, service)
                flows.append(probe.Flow(" ".join(HELPER), name, service, "ipv4", allowed))
            for source in sources:
                if source.unit != target.unit or (central and source != target):
                    allowed = central and policy.allowed(source, target, service)
                    flows.append(
                        probe.Flow(probe.lan_name(source), f"nat64 {name}", service, "ipv6", allowed)
                    )
    return places, flows


def test_the_zone_matrix_holds_through_the_translation(names, only6):
    wanted = (ONLY6[0], "99803", "so-mot", names.fabric.topology.site_unit)
    policy = names.fabric.policy
    sources = [e for e in policy.endpoints if e.unit in wanted and (netns(e.unit), e.purpose) in names.nics]
    places, flows = through(names, sources)
    outcome = probe.probe([*names.podman, "python3"], flows, places, names.fabric.network.zoning.services)
    print(
        f"translation: {outcome.allowed} allowed and {outcome.forbidden} forbidden flows in {outcome.seconds:.0f} s, "
        f"{outcome.again} of them twice"
    )
    assert outcome.wrong == ()
    passing = {flow.service for flow in flows if flow.allowed and flow.target.startswith("nat64")}
    assert {"https", "dns", "postgresql"} <= passing


def test_a_translation_that_lets_too_much_pass_is_found(names, only6):
    """The test of the matrix can fail: routers on the way are opened by hand."""
    source = next(e for e in names.fabric.policy.endpoints if (e.unit, e.purpose) == ONLY6)
    places, flows = through(names, [source])
    some = [
        f for f in flows if f.target.endswith("dc databases") and not f.allowed and f.service == "postgresql"
    ]
    prefix, routers = names.site.names.nat64.ipv6, ["core1", "core2", f"c-{ONLY6[0]}", "gw-98-1", "gw-98-2"]
    services = names.fabric.network.zoning.services
    command = [*names.podman, "python3"]
    assert probe.probe(command, some, places, services).wrong == ()
    on = [["podman", "exec", topology.prefix(paths.instance()) + router] for router in routers]
    handles = []
    try:
        for words in on:
            rule = f"insert rule inet tinh forward ip6 daddr {prefix} accept comment by-hand"
            made = subprocess.run(
                [*words, "nft", "-e", "-j", rule], capture_output=True, text=True, check=True
            )
            handles.append((words, json.loads(made.stdout)["nftables"][0]["insert"]["rule"]["handle"]))
        assert [line for line in probe.probe(command, some, places, services).wrong if "nat64" in line]
    finally:
        for words, handle in handles:
            subprocess.run(
                [*words, "nft", f"delete rule inet tinh forward handle {handle}"],
                capture_output=True, check=True,
            )  # fmt: skip
    assert probe.probe(command, some, places, services).wrong == ()
