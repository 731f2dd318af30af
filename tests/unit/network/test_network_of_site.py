"""A site's network from its files."""

import pytest

from infra import dnssec, paths
from infra.errors import TinhError
from infra.model.net import DualPrefix
from infra.model.site import Role, has_network, load_site
from infra.network.mapping import Mapping
from infra.network.of_site import authority_of, fabric_of, host_name, options_of
from stacks.layers import layers_of


def authority(site):
    return authority_of(load_site(site), fabric_of(site).network, dnssec.keys(site))


def test_which_sites_have_a_network(state):
    sites = ("lab", "quang-binh", "sim", "nowhere")
    assert [has_network(site) for site in sites] == [True, True, False, False]


def test_a_lab_without_the_outside_has_no_network(state):
    (state / "lab").mkdir(parents=True)
    (state / "lab" / "lab.json").write_text('{"outside": false}')
    assert not has_network("lab")
    assert layers_of("lab") == ("base", "data", "platforms")


def test_the_kind_of_the_site_decides_about_the_machines(state):
    assert fabric_of("lab").mapping is Mapping.LAB
    assert fabric_of("lab", mapping=Mapping.METAL).mapping is Mapping.METAL
    province = fabric_of("quang-binh", "2023")
    assert province.mapping is Mapping.METAL
    assert province.plan.province.epoch == "2023"
    assert [s.name for s in province.topology.segments] == ["servers"]


def test_a_lab_that_moved_takes_network_segments_and_management_along(state):
    (state / "lab").mkdir(parents=True)
    (state / "lab" / "lab.json").write_text('{"pool": {"ipv6": "fd78::/48", "ipv4": "10.78.0.0/16"}}')
    pool = DualPrefix.model_validate({"ipv6": "fd78::/48", "ipv4": "10.78.0.0/16"})
    found, options = fabric_of("lab"), options_of(load_site("lab"), authority("lab"))
    assert all(e.prefix.within(pool) for e in found.policy.endpoints)
    assert all(prefix.within(pool) for prefix in options.management)
    assert options.dns.pair() == ("fd78:0:0:53::1", "10.78.6.1")
    assert options.authority.server.pair() == ("fd78::c9", "10.78.0.201")
    assert "78.10.in-addr.arpa" in options.authority.zones
    assert found.by_name["core-dc-1"].nat64.pair() == ("fd78:0:0:64::/96", "10.78.7.0/24")


def test_options_are_what_the_site_says(state):
    site = load_site("lab")
    options = options_of(site, authority("lab"))
    host = DualPrefix.model_validate({"ipv6": "fd77::1/128", "ipv4": "10.77.0.1/32"})
    assert options.management == site.management == (host, site.segments["console"].prefix)
    assert options.dns == site.names.resolver.address
    assert options_of(site, None).dns == site.front_door.dns
    assert (options.ntp, options.syslog, options.snmp) == (None, None, None)
    assert options_of(load_site("quang-binh"), None).management == ()


def test_core_routers_are_reached_as_machines_of_the_site(state):
    site, routers = load_site("lab"), fabric_of("lab").by_name
    names = {"core-dc-1": "core1", "core-dc-2": "core2", "gw-98-1": "gw-98-1", "c-99801": "c-99801"}
    assert {name: host_name(routers[name], site) for name in names} == names
    with pytest.raises(TinhError, match="'core-dc-2' is core router 2, the site has 1") as error:
        host_name(routers["core-dc-2"], site.resize({Role.ROUTER: 1}))
    assert error.value.where == str(paths.SITES / "lab" / "site.yaml")
