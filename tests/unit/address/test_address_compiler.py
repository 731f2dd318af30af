from datetime import timedelta

import pytest
from address_cases import DAY, network, prefixes, province, raw_network, unit
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.address.compiler import compile_ledger
from infra.address.ledger import Ledger, read, write
from infra.address.plan import Plan, compile_plan
from infra.address.verify import verify
from infra.errors import RefusedError, TinhError

CODES = [f"1{number:02}" for number in range(40)]


def _units(codes):
    return [unit(code, "district" if int(code) % 7 == 0 else "commune") for code in codes]


def test_both_families_with_gateway_vlan_and_lengths():
    plan = compile_plan(province(_units(["101", "105"])))
    found = {(a.unit, a.purpose, a.family): (str(a.prefix), str(a.gateway), a.vlan) for a in plan.allocations}
    # the district's larger block comes first; in a block the larger purpose comes first
    assert found["105", "office", "ipv4"] == ("10.0.0.0/24", "10.0.0.1", 20)
    assert found["101", "office", "ipv4"] == ("10.0.2.0/26", "10.0.2.1", 20)
    assert found["101", "desk", "ipv4"] == ("10.0.2.64/27", "10.0.2.65", 30)
    assert found["101", "desk", "ipv6"] == ("fd00:1:0:101::/64", "fd00:1:0:101::1", 30)
    assert found["101", "link", "ipv4"] == ("10.1.0.0/31", "10.1.0.0", 3001)
    assert found["101", "link", "ipv6"] == ("fd00:2::2/127", "fd00:2::2", 3001)
    assert found["101", "loopback", "ipv4"] == ("10.1.0.2/32", "10.1.0.2", None)
    assert len(found) == len(plan.allocations) == 16


def test_the_text_of_an_allocation_is_that_of_its_objects():
    for allocation in compile_plan(province(_units(CODES[:6]))).allocations:
        assert allocation.data()["prefix"] == str(allocation.prefix)
        assert allocation.data()["gateway"] == str(allocation.gateway)


def test_lookups():
    plan = compile_plan(province(_units(["101", "102"])))
    assert plan.of("101", "office").pair() == ("fd00:1::/64", "10.0.0.0/26")
    assert plan.block("101", "state").pair() == ("fd00:1::/56", "10.0.0.0/25")
    assert plan.purposes("101") == ["desk", "office", "loopback", "link"]
    with pytest.raises(TinhError, match="no prefix for 'dmz'"):
        plan.of("101", "dmz")
    with pytest.raises(TinhError, match="'999' has no prefix"):
        plan.of("999", "office")


@pytest.mark.parametrize(
    ("address", "state", "who"),
    [
        ("10.0.0.5", "allocated", ("101", "office")),
        ("fd00:1::5", "allocated", ("101", "office")),
        ("10.0.0.100", "block", ("101", "")),
        ("10.0.0.128", "quarantine", ("102", "")),
        ("10.0.15.1", "pool", ("", "")),
        ("10.200.0.1", "registered", ("", "")),
    ],
)
def test_who(address, state, who):
    before = compile_ledger(province(_units(["101", "102"])))
    owner = compile_plan(province(_units(["101"])), before).who(address)
    assert (owner.state, (owner.unit, owner.purpose)) == (state, who)


def test_who_of_a_foreign_or_no_address():
    plan = compile_plan(province(_units(["101"])))
    assert plan.who("192.0.2.1") is None
    with pytest.raises(TinhError, match="no IP address"):
        plan.who("10.0.0")


EDITS = st.lists(
    st.tuples(st.lists(st.sampled_from(CODES), unique=True, max_size=25), st.integers(0, 50)),
    min_size=2,
    max_size=8,
)


@settings(max_examples=60)
@given(EDITS)
def test_any_sequence_of_edits_keeps_who_stays_and_gives_no_address_twice(edits):
    """Adding, removing, merging (one stays, others go) and reordering, in space that is reused when it is full."""
    net = network(lan4="10.0.0.0/20")  # 32 communes' blocks: some sequences only fit by using expired space
    ledger, day, last = Ledger(), DAY, {}
    released = {}
    for codes, days in edits:
        day += timedelta(days=days)
        try:
            ledger = compile_ledger(province(_units(codes), net, day), ledger)
        except TinhError as error:
            assert "too small" in error.what
            return
        plan = Plan(province(_units(codes), net, day), ledger)
        assert verify(plan.document()) == []
        now = prefixes(plan)
        assert {key: now[key] for key in last if key in now} == {k: v for k, v in last.items() if k in now}
        assert {key[0] for key in now} == set(codes)

        gone = {key: prefix for key, prefix in last.items() if key not in now}
        released = {key: value for key, value in released.items() if key not in now}
        released |= {key: (prefix, day) for key, prefix in gone.items()}
        for (owner, _, family), (prefix, since) in released.items():
            if day < since + timedelta(days=net.quarantine_days):
                assert not any(
                    prefix.overlaps(other)
                    for key, other in now.items()
                    if key[2] == family and key[0] != owner
                )

        again = compile_ledger(province(_units(reversed(codes)), net, day), ledger)
        assert again == ledger  # idempotent, and the order of units does not matter
        last = now


@settings(max_examples=30)
@given(st.permutations(CODES[:12]))
def test_the_order_of_units_does_not_matter_from_the_start(codes):
    assert compile_ledger(province(_units(codes))) == compile_ledger(province(_units(sorted(codes))))


def test_a_unit_that_comes_back_gets_what_it_had():
    first = compile_plan(province(_units(["101", "102", "103"])))
    without = compile_plan(province(_units(["101", "103"]), day=DAY + timedelta(days=400)), first.ledger)
    back = compile_plan(
        province(_units(["101", "102", "103"]), day=DAY + timedelta(days=800)), without.ledger
    )
    assert prefixes(back) == prefixes(first)


def test_released_space_is_used_again_only_after_the_quarantine_and_when_nothing_else_is_left():
    net = network(lan4="10.0.0.0/24")  # two blocks
    ledger = compile_ledger(province(_units(["101", "102"]), net))
    ledger = compile_ledger(province(_units(["101"]), net, DAY + timedelta(days=1)), ledger)
    with pytest.raises(TinhError, match="too small"):
        compile_ledger(province(_units(["101", "103"]), net, DAY + timedelta(days=30)), ledger)
    plan = compile_plan(province(_units(["101", "103"]), net, DAY + timedelta(days=31)), ledger)
    assert str(plan.of("103", "office").ipv4) == "10.0.0.128/26"
    roomy = compile_plan(province(_units(["101", "103"]), network(), DAY + timedelta(days=31)), ledger)
    assert str(roomy.of("103", "office").ipv4) == "10.0.1.0/26"


def test_a_purpose_that_is_added_takes_free_room_of_the_blocks():
    ledger = compile_ledger(province(_units(["101"])))
    purposes = raw_network()["purposes"]
    more = purposes | {"wifi": purposes["desk"] | {"vlan": 60}}
    plan = compile_plan(province(_units(["101"]), network(purposes=more)), ledger)
    assert str(plan.of("101", "wifi").ipv4) == "10.0.0.96/27"
    assert verify(plan.document()) == []
    # taken away again: its room rests, like a block
    less = compile_plan(province(_units(["101"])), plan.ledger)
    assert plan.who("10.0.0.97").state == "allocated"
    assert less.who("10.0.0.97").state == "block"
    third = purposes | {"cctv": purposes["desk"] | {"vlan": 70}}
    with pytest.raises(RefusedError, match="no room for cctv"):
        compile_plan(province(_units(["101"]), network(purposes=third)), less.ledger)
    later = province(_units(["101"]), network(purposes=third), DAY + timedelta(days=30))
    assert str(compile_plan(later, less.ledger).of("101", "cctv").ipv4) == "10.0.0.96/27"


def _purpose(name, **changes):
    purposes = raw_network()["purposes"]
    return network(purposes=purposes | {name: purposes[name] | changes})


NEW = {"ipv6": "fd00:9::/48", "ipv4": "10.9.0.0/20"}
RENUMBER = [
    (lambda: _purpose("office", hosts={"commune": 100, "district": 250}), "purposes.office.hosts.commune"),
    (lambda: network(lan4="10.0.4.0/22"), "pools"),
    (lambda: network(lan6="fd00:3::/48"), "pools"),
    (
        lambda: network(
            domains=raw_network()["domains"] | {"new": raw_network()["domains"]["state"]},
            pools=raw_network()["pools"] | {"new": {"domain": "new", "prefix": NEW}},
            purposes=raw_network()["purposes"] | {"office": raw_network()["purposes"]["office"] | {"domain": "new"}},
        ),
        "purposes.office.domain",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("change", "path"), RENUMBER, ids=[path for _, path in RENUMBER])
def test_a_change_that_would_renumber_is_refused_and_names_the_unit(change, path):
    ledger = compile_ledger(province(_units(["101"])))
    with pytest.raises(RefusedError) as error:
        compile_ledger(province(_units(["101"]), change()), ledger)
    assert "unit '101' (Xã 101) would be renumbered" in error.value.what
    assert error.value.where == f"test/network.yaml: {path}"
    assert error.value.fix


def test_what_rests_in_a_pool_rests_for_another_domain_too():
    ledger = compile_ledger(province(_units(["101"])))
    raw = raw_network()
    new = raw["pools"] | {
        "lan": {"domain": "other", "prefix": raw["pools"]["lan"]["prefix"]},
        "second": {"domain": "state", "prefix": NEW},
    }
    purposes = raw["purposes"] | {"desk": raw["purposes"]["desk"] | {"domain": "other"}}
    net = network(pools=new, purposes=purposes, domains=raw["domains"] | {"other": raw["domains"]["state"]})
    plan = compile_plan(province(_units(["102"]), net, DAY + timedelta(days=1)), ledger)
    assert str(plan.of("102", "desk").ipv4) == "10.0.0.128/27"
    assert verify(plan.document()) == []


def test_a_purpose_does_not_move_back_to_a_domain_that_it_had_before():
    """Its old prefix is still known there; taking it up again would renumber the unit all the same."""
    day, raw = DAY + timedelta(days=1), raw_network()
    net = network(
        pools=raw["pools"] | {"new": {"domain": "new", "prefix": NEW}},
        domains=raw["domains"] | {"new": raw["domains"]["state"]},
        purposes=raw["purposes"] | {"desk": raw["purposes"]["desk"] | {"domain": "new"}},
    )
    without = network(purposes={name: p for name, p in raw["purposes"].items() if name != "desk"})
    ledger = compile_ledger(province(_units(["101"])))
    ledger = compile_ledger(province(_units(["101"]), without, day), ledger)
    ledger = compile_ledger(province(_units(["101"]), net, day), ledger)
    with pytest.raises(RefusedError, match="'desk' moves from domain 'new' to 'state'"):
        compile_ledger(province(_units(["101"]), network(), day), ledger)


def test_fewer_hosts_keep_the_prefix():
    ledger = compile_ledger(province(_units(["101"])))
    plan = compile_plan(province(_units(["101"]), _purpose("office", hosts={"commune": 5})), ledger)
    assert str(plan.of("101", "office").ipv4) == "10.0.0.0/26"


def test_a_pool_that_is_too_small_says_by_how_much_and_which_rule():
    with pytest.raises(TinhError) as error:
        compile_ledger(province(_units(["101", "102", "103"]), network(lan4="10.0.0.0/24")))
    assert "ipv4 pool of domain 'state' is too small: 1 unit(s) from '103'" in error.value.what
    assert "need 128 addresses in blocks of /25, 0 are free, 128 are missing" in error.value.what
    assert "purposes.office.hosts.commune: 60" in error.value.what
    assert error.value.where == "test/network.yaml: pools.lan.prefix.ipv4"
    with pytest.raises(TinhError, match=r"ipv6 pool of domain 'state'.*domains.state.ipv6_block: 56"):
        compile_ledger(province(_units(["101", "102", "103"]), network(lan6="fd00:1::/55")))


def test_an_ipv6_block_that_does_not_hold_the_purposes_is_refused():
    domains = raw_network()["domains"]
    net = network(domains=domains | {"state": domains["state"] | {"ipv6_block": 64}})
    with pytest.raises(TinhError, match="does not hold 2 prefixes") as error:
        compile_ledger(province(_units(["101"]), net))
    assert error.value.where.endswith("domains.state.ipv6_block")


def test_the_ledger_survives_the_file(tmp_path):
    file = tmp_path / "plan.json"
    assert read(file, "x") == Ledger()
    ledger = compile_ledger(province(_units(["101", "105"])))
    ledger = compile_ledger(province(_units(["101"]), day=DAY + timedelta(days=3)), ledger)
    write(file, "x", ledger)
    assert read(file, "x") == ledger
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("text", ["{", "[]", '{"version": 2, "site": "x"}', '{"version": 1, "site": "y"}'])
def test_a_damaged_ledger_is_refused(tmp_path, text):
    file = tmp_path / "plan.json"
    file.write_text(text)
    with pytest.raises(TinhError, match="cannot be read") as error:
        read(file, "x")
    assert error.value.where == str(file)
