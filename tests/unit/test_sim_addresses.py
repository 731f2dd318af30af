"""The simulated load balancer's choice of addresses."""

import pytest

from lab.sim.addresses import REQUEST, SHARE, assign, parse_range

POOL = [parse_range("2001:db8::64-2001:db8::66"), parse_range("192.0.2.100-192.0.2.102")]


def service(name, *, families=("IPv6", "IPv4"), notes=None, ips=(), kind="LoadBalancer"):
    ingress = {"loadBalancer": {"ingress": [{"ip": ip} for ip in ips]} if ips else {}}
    metadata = {"name": name, "namespace": "demo"} | ({"annotations": notes} if notes else {})
    return {"metadata": metadata, "spec": {"type": kind, "ipFamilies": list(families)}, "status": ingress}


def test_dual_stack_gets_one_address_per_family_in_the_service_s_order():
    assert assign([service("a")], POOL) == {("demo", "a"): ["2001:db8::64", "192.0.2.100"]}
    assert assign([service("a", families=["IPv4", "IPv6"])], POOL)[("demo", "a")][0] == "192.0.2.100"


def test_single_stack_gets_one_address():
    assert assign([service("a", families=["IPv4"])], POOL) == {("demo", "a"): ["192.0.2.100"]}


def test_two_new_services_never_share():
    first, second = assign([service("a"), service("b")], POOL).values()
    assert not set(first) & set(second)


def test_addresses_in_use_are_not_given_again():
    used = service("a", ips=["2001:db8::64", "192.0.2.100"])
    assert assign([used, service("b")], POOL) == {("demo", "b"): ["2001:db8::65", "192.0.2.101"]}


def test_other_service_types_are_left_alone():
    assert assign([service("a", kind="ClusterIP")], POOL) == {}


def test_a_wish_goes_before_services_without_one():
    wish = service("b", notes={REQUEST: "192.0.2.100, 2001:db8::64"})
    chosen = assign([service("a"), wish], POOL)
    assert chosen[("demo", "b")] == ["2001:db8::64", "192.0.2.100"]
    assert chosen[("demo", "a")] == ["2001:db8::65", "192.0.2.101"]


@pytest.mark.parametrize("wish", ["2001:db8::99,192.0.2.100", "2001:db8::64,198.51.100.1", "192.0.2.100"])
def test_a_wish_outside_the_pool_or_without_a_family_stays_pending(wish):
    assert assign([service("a", notes={REQUEST: wish})], POOL) == {}


def test_a_taken_wish_stays_pending_unless_both_share_a_key():
    ips = ["2001:db8::64", "192.0.2.100"]
    wish = {REQUEST: ",".join(ips)}
    assert assign([service("a", ips=ips), service("b", notes=wish)], POOL) == {}
    other = service("b", notes=wish | {SHARE: "two"})
    assert assign([service("a", ips=ips, notes={SHARE: "one"}), other], POOL) == {}
    shared = service("b", notes=wish | {SHARE: "one"})
    assert assign([service("a", ips=ips, notes={SHARE: "one"}), shared], POOL) == {("demo", "b"): ips}


def test_an_empty_pool_leaves_services_pending():
    four = [service(name) for name in "abcd"]
    assert len(assign(four, POOL)) == 3
