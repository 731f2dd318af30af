import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.model.net import DualPrefix
from infra.model.site import Role, load_site
from lab import topology

DEFAULT = DualPrefix(ipv6="fd77::/48", ipv4="10.77.0.0/16")


@pytest.fixture
def site():
    return load_site("lab")


def test_every_machine_becomes_one_container_with_both_families_on_each_segment(site):
    found = topology.containers(site.all_machines(), site, "main", "/checkout", "image:1")
    assert [c.machine.name for c in found] == [m.name for m in site.all_machines()]
    core = next(c for c in found if c.machine.name == "core1")
    assert [interface for _, interface, _, _ in core.networks] == ["servers", "internet"]
    assert all(ipv6 and ipv4 for c in found for _, _, ipv6, ipv4 in c.networks)


def test_names_carry_the_instance_so_that_two_labs_do_not_meet(site):
    one = {c.name for c in topology.containers(site.all_machines(), site, "main", "/a", "i")}
    other = {c.name for c in topology.containers(site.all_machines(), site, "ci", "/b", "i")}
    assert not one & other
    assert {n.name for n in topology.networks(site, "ci")} == {f"tinh-ci-{name}" for name in site.segments}


def test_a_new_image_changes_the_specification_and_the_checkout_does_not(site):
    def spec(checkout, image):
        return topology.containers(site.all_machines(), site, "main", checkout, image)[0].labels["tinh.spec"]

    assert spec("/a", "image:1") != spec("/a", "image:2")
    assert spec("/a", "image:1") == spec("/b", "image:1")


def test_etcd_and_containerd_never_lie_on_the_containers_own_overlay(site):
    control = next(
        c
        for c in topology.containers(site.all_machines(), site, "m", "/", "i")
        if c.machine.role is Role.CONTROL_PLANE
    )
    assert {"/var/lib/containerd", "/var/lib/etcd"} <= {path for _, path in control.volumes}


def test_the_first_pool_without_a_clash_is_chosen():
    used = [ipaddress.ip_network("10.77.3.0/24"), ipaddress.ip_network("fd77:0:1::/64")]
    chosen = topology.free_pool(DEFAULT, used)
    assert str(chosen.ipv4) == "10.79.0.0/16"  # 77 is used over IPv4, 78 over IPv6
    assert str(chosen.ipv6) == "fd77:0:2::/48"


def test_a_default_route_is_not_a_clash():
    assert topology.free_pool(DEFAULT, [ipaddress.ip_network("0.0.0.0/0")]) == DEFAULT


def test_no_pool_is_invented_when_all_are_taken():
    assert topology.free_pool(DEFAULT, [ipaddress.ip_network("10.0.0.0/8")]) is None


@given(st.integers(0, 63), st.integers(0, 63))
def test_pools_of_two_labs_never_overlap(a, b):
    one, other = topology.pool(DEFAULT, a), topology.pool(DEFAULT, b)
    assert (a == b) == one.ipv4.overlaps(other.ipv4) == one.ipv6.overlaps(other.ipv6)
