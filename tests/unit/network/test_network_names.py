"""Names and translation as hosts see them: rendered files, real daemons, every pair of the matrix."""

from __future__ import annotations

import pytest

from infra import dnssec
from lab.outside import probe
from lab.outside.probe import Flow, Place, lan_name
from tests.unit.network.names_world import COMMAND, OLD, ONLY6, World, available

pytestmark = pytest.mark.skipif(
    not available(), reason="needs root, namespaces, knot, unbound, tayga, dnsmasq, dig"
)
ZONE = "lab.tinh.test"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("names")
        patch.setenv("TINH_STATE", str(folder / "state"))
        patch.setenv("TINH_INSTANCE", "test")
        made = World(folder)
        try:
            made.up()
            yield made
        finally:
            made.down()


def flags(answer: str) -> set[str]:
    return set(answer.split(";; flags:")[1].split(";")[0].split())


def test_a_host_with_ipv6_only_has_validated_names_of_the_province(world):
    answer = world.dig(ONLY6, f"id.{ZONE}", "AAAA")
    assert str(world.site.front_door.gateway.ipv6) in answer
    assert "ad" in flags(answer)
    assert "ad" in flags(unit := world.dig(ONLY6, f"government.dong-99801.units.{ZONE}", "AAAA"))
    assert "status: NOERROR" in unit
    assert "status: NXDOMAIN" in world.dig(ONLY6, f"nowhere.{ZONE}", "A")


@pytest.mark.parametrize("family", ["ipv6", "ipv4"])
def test_addresses_have_names_those_of_units_as_well(world, family):
    door = getattr(world.site.front_door.gateway, family)
    unit = getattr(world.plan.gateway("99804", "government"), family)
    assert f"id.{ZONE}." in world.dig(ONLY6, door.reverse_pointer, "PTR")
    answer = world.dig(ONLY6, unit.reverse_pointer, "PTR")
    assert f"government.bac-99804.units.{ZONE}." in answer
    assert "ad" in flags(answer)


def test_the_public_has_the_sites_names_and_not_the_units(world):
    for server in world.site.front_door.dns.pair():
        near = world.province.places["dc internet"]
        source = near.ipv6 if ":" in server else near.ipv4

        def ask(*words, source=source, server=server):
            return world.run("h-dc", "dig", "-b", source, f"@{server}", *words, check=False)

        assert "RRSIG" in ask(f"id.{ZONE}", "AAAA", "+dnssec")
        assert "status: NOTAUTH" in ask(f"dong-99801.units.{ZONE}", "AAAA")
        assert "status: REFUSED" in ask("example.org", "AAAA")


def test_hosts_of_the_named_zones_and_no_others_reach_the_resolver(world):
    places = dict(world.province.places)
    places["resolver"] = Place(None, "", *reversed(world.site.names.resolver.address.pair()))
    who = {"dc servers": True, "dc dmz": True, "dc databases": True, "dc internet": False,
           f"{ONLY6} government": False, "99804 government": False, "99804 voice-video": False}  # fmt: skip
    flows = [
        Flow(source, "resolver", "dns-tcp", family, allowed)
        for source, allowed in who.items()
        for family in (("ipv6",) if source.startswith(ONLY6) else probe.FAMILIES)
    ]
    services = world.fabric.network.zoning.services
    assert probe.probe(COMMAND, flows, places, services).wrong == ()


def test_a_name_without_ipv6_gets_an_address_and_the_well_known_name_tells_the_prefix(world):
    server = world.province.places["dc servers"].ipv4
    assert world.mapped(server) in world.dig(ONLY6, f"{OLD}.{ZONE}", "AAAA")
    assert world.mapped("192.0.0.170") in world.dig(ONLY6, "ipv4only.arpa", "AAAA")
    assert "status: REFUSED" in world.dig(ONLY6, "example.org", "A")


def ends(world):
    """LANs with hosts, what stands for their IPv4, and for addresses that nobody may reach."""
    places, lans = dict(world.province.places), {}
    for _, _, lan in world.province.lans:
        name = lan_name(lan)
        lans[name] = lan
        places[f"nat64 {name}"] = Place(None, "", places[name].ipv4, world.mapped(places[name].ipv4))
    return places, lans


def test_the_zone_matrix_holds_through_the_translation(world):
    """Servers answer over IPv4 only; what reaches them over IPv6 was translated."""
    places, lans = ends(world)
    policy, services = world.fabric.policy, world.fabric.network.zoning.services
    centre = [lan_name(lan) for lan in world.province.centre]
    sources = [name for name in lans if name.startswith((ONLY6, "99803", "dc"))]
    helper = "99804 government"  # its flows have the agent answer at every target over IPv4
    flows = [
        Flow(helper, target, service, "ipv4", policy.allowed(lans[helper], lans[target], service))
        for target in centre for service in services
    ]  # fmt: skip
    through = [
        Flow(source, f"nat64 {target}", service, "ipv6", policy.allowed(lans[source], lans[target], service))
        for source in sources for target in lans for service in services
        if source.split()[0] != target.split()[0] or (source.startswith("dc") and source != target)
    ]  # fmt: skip
    # Units' hosts are not reached by it, whatever may pass to them otherwise.
    through = [
        flow
        if flow.target.startswith("nat64 dc")
        else Flow(flow.source, flow.target, flow.service, "ipv6", False)
        for flow in through
    ]
    outcome = probe.probe(COMMAND, [*flows, *through], places, services)
    print(
        outcome.allowed,
        "allowed",
        outcome.forbidden,
        "forbidden",
        outcome.again,
        "twice",
        outcome.seconds,
        "s",
    )
    assert outcome.wrong == ()
    passing = {f.service for f in through if f.allowed}
    assert {"https", "dns", "ping", "postgresql"} <= passing
    assert sum(not flow.allowed for flow in through) > 200


def test_routers_the_pool_and_what_is_nowhere_are_not_reached(world):
    places, _ = ends(world)
    core = world.fabric.by_name["core-dc-1"]
    pool = world.site.names.nat64.ipv4
    closed = {"core": core.loopback.ipv4, "own": core.lans[0].address.ipv4, "pool": pool[1], "host": pool[9],
              "far": "203.0.113.9", "plane": core.neighbours[0].address.ipv4}  # fmt: skip
    for name, address in closed.items():
        places[name] = Place(None, "", str(address), world.mapped(address))
    services = world.fabric.network.zoning.services
    flows = [
        Flow(f"{ONLY6} government", name, service, "ipv6", False) for name in closed for service in services
    ]
    # `own` is on the servers' segment, so the matrix lets some of it pass to the router itself, which drops it.
    assert probe.probe(COMMAND, flows, places, services).wrong == ()


def test_nobody_begins_a_flow_towards_hosts_with_ipv6_only(world):
    """The pool is not a way in: an IPv4 host that sends to it gets nothing, also after it was used."""
    places, _ = ends(world)
    pool = world.site.names.nat64.ipv4
    services = world.fabric.network.zoning.services
    flows = []
    for number in (2, 3, 4):
        places[f"pool {number}"] = Place(None, "", str(pool[number]), world.mapped(pool[number]))
        flows += [Flow("dc servers", f"pool {number}", service, "ipv4", False) for service in services]
    assert probe.probe(COMMAND, flows, places, services).wrong == ()


def test_the_matrix_test_fails_when_the_core_lets_all_be_translated(world):
    """Sabotage: one rule too many on the core and the unit's router."""
    places, _ = ends(world)
    services = world.fabric.network.zoning.services
    flow = Flow(f"{ONLY6} government", "nat64 dc databases", "postgresql", "ipv6", False)
    serve = Flow("99804 government", "dc databases", "postgresql", "ipv4", False)
    assert probe.probe(COMMAND, [serve, flow], places, services).wrong == ()
    routers = ("core-dc-1", f"c-{ONLY6}", world.province.plane.name)
    for router in routers:
        rule = f"insert rule inet tinh forward ip6 daddr {world.nat64} accept"
        world.run(router, "nft", *rule.split())
    try:
        assert [
            line for line in probe.probe(COMMAND, [serve, flow], places, services).wrong if "nat64" in line
        ]
    finally:
        for router in routers:
            file = world.folder / "again.conf"
            file.write_text(world.files[router]["nftables.conf"])
            world.run(router, "nft", "-f", str(file))


def test_answers_signed_by_another_key_are_refused(world):
    """A forged zone: the resolver, which knows the province's key, gives nobody its answers."""
    name = f"ns1.{ZONE}"
    assert "status: NOERROR" in world.dig(ONLY6, name, "AAAA")
    other = dnssec.keys("other")[0]
    world.name_server(other)
    try:
        world.core_again()
        answer = world.dig(ONLY6, name, "AAAA")
        assert "status: SERVFAIL" in answer
        assert "status: NOERROR" in world.dig(ONLY6, name, "AAAA", "+cd")
    finally:
        world.name_server(world.keys[0])
        world.core_again()
    assert "status: NOERROR" in world.dig(ONLY6, name, "AAAA")
