"""The reachability matrix: what the mission says, and that its short form is the long one."""

from collections import Counter

from infra.network.policy import ANY, FAMILIES, Endpoint


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
    assert passes(routers, ("99801", "government"), ("dc", "servers")) == ("https", "dns")
    assert passes(routers, ("99801", "citizens"), ("dc", "servers")) == ("dns",)
    assert passes(routers, ("99801", "party"), ("dc", "servers")) == ()
    assert passes(routers, ("dc", "servers"), ("dc", "databases")) == ("postgresql",)
    assert passes(routers, ("dc", "dmz"), ("dc", "databases")) == ()
    assert passes(routers, ("dc", "servers"), ("99801", "government")) == ()


def test_domains_that_do_not_leak_are_separate_whatever_the_matrix_says(routers):
    zoning = routers.network.zoning
    assert zoning.allowed("wireless", "border") == ["https"]
    assert passes(routers, ("99801", "wifi"), ("dc", "border")) == ()


def test_what_is_forbidden_by_name_comes_first(routers):
    permits = routers.policy.permits
    assert [(p.source, p.target) for p in permits if not p.allow] == [("dmz", "databases")]
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
    pairs = len(policy.endpoints) * (len(policy.endpoints) - 1)
    assert sum(short.values()) == pairs
    assert sum(policy.count().values()) == pairs * len(routers.network.zoning.services) * FAMILIES
