import copy
from datetime import timedelta

import pytest
from address_cases import DAY, province, unit
from hypothesis import given
from hypothesis import strategies as st

from infra.address.compiler import compile_ledger
from infra.address.plan import compile_plan
from infra.address.space import Full, Space
from infra.address.verify import verify


def _document():
    before = compile_ledger(province([unit("101"), unit("102"), unit("103")]))
    later = province([unit("101"), unit("103"), unit("107", "district")], day=DAY + timedelta(days=5))
    return compile_plan(later, before).document()


GOOD = _document()


def _item(document, purpose="office", family="ipv4", code="101"):
    return next(
        a
        for a in document["allocations"]
        if (a["unit"], a["purpose"], a["family"]) == (code, purpose, family)
    )


def _put(field, value, **which):
    def change(document):
        _item(document, **which)[field] = value

    return change


def _other(code, purpose, family):
    return _item(GOOD, purpose, family, code)["prefix"]


SABOTAGE = {
    "another unit's prefix": (_put("prefix", _other("103", "office", "ipv4")), "overlaps"),
    "another unit's prefix in IPv6": (
        _put("prefix", _other("103", "office", "ipv6"), family="ipv6"),
        "overlaps",
    ),
    "a larger prefix": (_put("prefix", "10.0.0.0/21"), "overlaps"),
    "space in quarantine": (_put("prefix", "10.0.0.128/26"), "quarantine"),
    "outside the pools": (_put("prefix", "10.3.0.0/26"), "outside the pools"),
    "another domain's pool": (_put("prefix", "10.1.9.0/26"), "outside the pools"),
    "too small": (_put("prefix", "10.0.0.0/27"), "too small for 60 hosts by 31"),
    "no /64": (_put("prefix", "fd00:1::/65", family="ipv6"), "a lan is /64"),
    "link of /30": (_put("prefix", "10.1.0.0/30", purpose="link"), "a link is /31"),
    "gateway": (_put("gateway", "10.0.0.2"), "is not the first address"),
    "gateway of another": (_put("gateway", "10.0.9.1"), "is not the first address"),
    "not a prefix": (_put("prefix", "10.0.0.1/26"), "host bits set"),
    "vlan": (_put("vlan", 30), "VLAN 30 is used 2 times"),
    "domain": (_put("domain", "transport"), "is not the rule's"),
    "name": (_put("unit_name", "Xã khác"), "name or level"),
    "family": (_put("family", "ipv6"), "is not of family ipv6"),
    "unknown purpose": (_put("purpose", "cinema"), "unknown unit or purpose"),
    "IPv4 only": (lambda d: d["allocations"].remove(_item(d, family="ipv6")), "101 office: has no ipv6"),
    "IPv6 only": (lambda d: d["allocations"].remove(_item(d)), "101 office: has no ipv4"),
    "twice": (lambda d: d["allocations"].append(dict(_item(d))), "2 times ipv4"),
    "pool outside": (lambda d: d["pools"][0].update(prefix="fc00::/48"), "outside the registered allocation"),
    "anycast": (_put("prefix", "fd00:2:0:9::/127", purpose="link", family="ipv6"), "anycast"),
    "unit without a rule": (lambda d: d["units"]["101"].update(level="site"), "that no rule asks for"),
}


def test_a_good_plan_has_no_problem():
    assert verify(GOOD) == []
    assert GOOD["held"]


@pytest.mark.parametrize("name", SABOTAGE)
def test_sabotage_is_caught(name):
    change, named = SABOTAGE[name]
    document = copy.deepcopy(GOOD)
    change(document)
    problems = verify(document)
    assert any(named in problem for problem in problems), problems


@given(st.data())
def test_any_moved_prefix_is_caught(data):
    """Exchanging the prefixes of two allocations, or moving one, never goes unnoticed."""
    document = copy.deepcopy(GOOD)
    item = data.draw(st.sampled_from(document["allocations"]))
    other = data.draw(st.sampled_from([a for a in document["allocations"] if a["prefix"] != item["prefix"]]))
    item["prefix"] = other["prefix"]
    assert verify(document)


def test_space_takes_the_smallest_that_fits_and_splits_it():
    space = Space([(0, 8)], [(64, 5), (128, 7)])
    assert space.free == 64 + 32
    assert space.take(5) == (96, 5)
    assert space.take(4) == (0, 4)
    assert space.take(5) == (32, 5)
    with pytest.raises(Full):
        space.take(5)
    assert space.free == 16


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 4)), max_size=12))
def test_space_is_what_is_not_occupied(raw):
    occupied = [(first >> bits << bits, bits) for first, bits in raw]
    taken = {address for first, bits in occupied for address in range(first, first + (1 << bits))}
    space = Space([(0, 7), (128, 7)], occupied)
    found = []
    while space.free:
        found.append(space.take(0)[0])
    assert sorted(found) == sorted(set(range(256)) - taken)
