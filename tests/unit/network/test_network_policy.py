"""The reachability matrix: what the mission says, and that its short form is the long one."""

from collections import Counter

import pytest

from infra.model.network import Network
from infra.network.policy import ANY, FAMILIES, Endpoint, Policy
from tests.unit.network.conftest import fabric


def lan(routers, unit: str, purpose: str) -> Endpoint:
    return next(e for e in routers.policy.by_purpose[purpose] if e.unit == unit)


def passes(routers, source: tuple[str, str], target: tuple[str, str]) -> tuple[str, ...]:
    return routers.policy.services(lan(routers, *source), lan(routers, *target))


def test_communes_and_agencies_are_separate_in_all_but_voice_and_video(routers):
    for purpose in ("party", "government", "citizens", "wifi", "management"):
        assert passes(routers, ("99801", purpose), ("99802", purpose)) == ()
    assert passes(routers, ("so-mot", "government"), ("so-hai", "government")) == ()
    assert passes(routers, ("99801", "voice-video"), ("99802", "voice-video")) == (ANY,)
    assert passes(routers, ("99801", "voice-video"), ("99802", "cameras")) == ()


def test_the_general_segment_does_not_reach_video(routers):
    for unit in ("99801", "99802"):
        for purpose in ("government", "citizens", "party", "wifi"):
            for target in ("voice-video", "cameras"):
                assert passes(routers, (unit, purpose), ("99802", target)) == ()
                assert passes(routers, ("99802", target), (unit, purpose)) == ()


def test_the_data_centre_is_reached_as_the_matrix_says(routers):
    assert passes(routers, ("99801", "government"), ("dc", "servers")) == ("https", "dns", "dns-tcp")
    assert passes(routers, ("99801", "citizens"), ("dc", "servers")) == ("dns", "dns-tcp")
    assert passes(routers, ("99801", "party"), ("dc", "servers")) == ()
    assert passes(routers, ("dc", "servers"), ("dc", "databases")) == ("postgresql",)
    assert passes(routers, ("dc", "dmz"), ("dc", "databases")) == ()
    assert passes(routers, ("dc", "servers"), ("99801", "government")) == ()


PUBLIC = ("https", "http", "dns", "dns-tcp")


def test_the_front_door_is_reached_from_outside_and_from_units_and_the_servers_behind_it_are_not(routers):
    for target in ("front-door", "dmz"):
        for source in (("dc", "internet"), ("99801", "government"), ("99801", "citizens")):
            assert passes(routers, source, ("dc", target)) == PUBLIC
        assert passes(routers, ("99801", "party"), ("dc", target)) == ()
        assert passes(routers, ("dc", target), ("dc", "internet")) == ()
    for target in ("servers", "databases", "management"):
        assert passes(routers, ("dc", "internet"), ("dc", target)) == ()
    assert passes(routers, ("dc", "dmz"), ("dc", "servers")) == ("https",)


def test_nothing_is_said_of_lans_on_one_segment(routers):
    policy = routers.policy
    pair = {"front-door", "servers"}
    assert passes(routers, ("dc", "front-door"), ("dc", "servers")) == ()
    assert not any({a.purpose, b.purpose} == pair and a.unit == b.unit for a, b, _ in policy.flows())
    assert not any({c.source, c.target} == pair for c in policy.classes())
    assert not any({p.source, p.target} == pair for p in policy.permits)


def test_only_management_of_the_site_and_the_province_administers(routers):
    hubs, units = ("dc", "98"), ("998", "99801", "so-mot")
    for target in ("servers", "databases", "dmz", "front-door"):
        for unit in hubs:
            assert passes(routers, (unit, "management"), ("dc", target)) == ("ssh",)
        for unit in units:
            assert passes(routers, (unit, "management"), ("dc", target)) == ()
    assert passes(routers, ("dc", "servers"), ("dc", "management")) == ("syslog", "ntp")
    assert passes(routers, ("dc", "servers"), ("99801", "management")) == ()


def test_management_of_a_unit_reaches_nothing_but_what_the_rules_say(routers):
    policy = routers.policy
    for unit in ("998", "99801", "so-mot"):
        mine = lan(routers, unit, "management")
        reached = {other.purpose for other in policy.endpoints if policy.services(mine, other)}
        reaching = {other.purpose for other in policy.endpoints if policy.services(other, mine)}
        assert (reached, reaching) == (set(), set())
    assert policy.joined("management", "datacentre") and policy.joined("datacentre", "management")
    for other in ("state", "party", "video", "wifi", "transport"):
        assert not policy.joined("management", other)


def with_rules(routers, *rules: dict) -> Policy:
    """Return the policy with these rules only."""
    data = routers.network.model_dump(by_alias=True)
    data["zoning"]["rules"] = [{"reason": "test"} | rule for rule in rules]
    return Policy(Network.model_validate(data), routers.policy.endpoints)


def test_domains_that_do_not_leak_are_separate_whatever_the_matrix_says(routers):
    policy = with_rules(routers, {"from": "wireless", "to": "border", "service": "https"})
    assert policy.network.zoning.allowed("wireless", "border") == ["https"]
    assert policy.services(lan(routers, "99801", "wifi"), lan(routers, "dc", "border")) == ()
    assert policy.permits == ()


def test_a_rule_that_lets_nothing_pass_is_named_with_the_reason(routers):
    policy = with_rules(
        routers,
        {"from": "border", "to": "dmz", "service": "https"},
        {"from": "wireless", "to": "border", "service": "https"},
        {"from": "citizens", "to": "dmz", "service": "https", "hub": True},  # the province has a desk
        {"from": "internal_servers", "to": "internal_servers", "service": "https"},
        {"from": "wireless", "to": "dmz", "service": "https", "allow": False},  # refuses: nothing should pass
    )
    wireless, servers = policy.idle_rules()
    assert (wireless.number, wireless.rule.label) == (1, "wireless -> border https")
    assert wireless.reason == "the routing domains 'wifi' and 'datacentre' exchange nothing"
    assert "leak" in wireless.fix
    assert (servers.number, servers.reason) == (3, "no router is between the LANs of these zones")


def test_zones_without_lans_make_idle_rules(routers):
    data = routers.network.model_dump(by_alias=True)
    data["zoning"]["zones"]["empty"] = {"vi": "a", "en": "a"}
    data["zoning"]["rules"] = [
        {"from": "empty", "to": "dmz", "service": "ssh", "reason": "test"},
        {"from": "internal", "to": "empty", "service": "ssh", "reason": "test"},
        {"from": "management", "to": "dmz", "service": "ssh", "hub": True, "reason": "test"},
    ]
    network = Network.model_validate(data)
    units = tuple(e for e in routers.policy.endpoints if not (e.hub and e.purpose == "management"))
    found = Policy(network, units).idle_rules()
    assert [idle.reason for idle in found] == [
        "no LAN is in zone 'empty'",
        "no LAN of the site or the province is in zone 'empty'",
        "no LAN of the site or the province is in zone 'management'",
    ]


@pytest.mark.parametrize("site", ["lab", "quang-binh"])
def test_the_data_has_no_idle_rule(site, state):
    assert fabric(site).policy.idle_rules() == ()


def test_what_is_forbidden_by_name_comes_first(routers):
    permits = routers.policy.permits
    assert [(p.source, p.target) for p in permits if not p.allow] == [
        ("dmz", "databases"),
        ("front-door", "databases"),
    ]
    assert not permits[0].allow


def test_the_short_form_counts_every_pair_of_the_long_one(routers):
    policy = routers.policy
    long = Counter()
    for source, target, services in policy.flows():
        long[source.purpose, target.purpose, services] += 1
    short = Counter()
    for each in policy.classes():
        short[each.source, each.target, each.services] += each.pairs
    assert short == long
    beside = 2  # the front door and the servers, both ways
    pairs = len(policy.endpoints) * (len(policy.endpoints) - 1) - beside
    assert sum(short.values()) == pairs
    assert sum(policy.count().values()) == pairs * len(routers.network.zoning.services) * FAMILIES
