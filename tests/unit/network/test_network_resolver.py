"""Resolver and translation as files: who may ask, what is trusted, what stands for what, and where it ends."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from infra.address.plan import plan_at
from infra.model.province import load_record
from infra.model.site import load_site
from infra.network.fabric import Fabric
from infra.network.mapping import Mapping
from infra.network.topology import segment_lans
from infra.render.options import Authority, Options
from infra.render.router import Renderer
from tests import parsers
from tests.unit.network.conftest import CENTRE, DIGEST, FULL, address

NEW = {"tinh-resolver.service", "unbound.conf", "tinh-nat64.service", "tayga.conf"}


def lab(**change):
    """The lab's routers with other `names`."""
    site = load_site("lab")
    names = site.names.model_copy(update=change)
    return Fabric(plan_at(load_record("lab")), Mapping.LAB, segment_lans(site), names)


def core(fabric, options=FULL):
    return Renderer(fabric, options).device_files(fabric.by_name["core-dc-1"])


@pytest.fixture
def files(routers):
    return Renderer(routers, FULL).all_files()


def test_core_routers_and_no_others_resolve_and_translate(files):
    for router, texts in files.items():
        assert NEW & set(texts) == (NEW if router.startswith("core-") else set()), router


def test_networks_of_the_named_zones_and_routers_are_answered_and_nobody_else(routers, files):
    text = files["core-dc-1"]["unbound.conf"]
    rules = dict(re.findall(r"access-control: (\S+) (\w+)", text))
    assert (rules["::/0"], rules["0.0.0.0/0"]) == ("refuse", "refuse")
    for lan in routers.by_name["core-dc-1"].lans:
        wanted = "allow" if lan.zone in routers.topology.central.resolver.zones else None
        for prefix in lan.prefix.pair():
            assert rules.get(prefix) == wanted, lan.name
    filters = files["core-dc-1"]["nftables.conf"]
    asked = [line for line in filters.splitlines() if "th dport 53" in line and 'comment "names"' in line]
    assert len(asked) == 2
    assert all('"servers"' in line and '"internet"' not in line for line in asked)


def test_answers_are_known_by_the_anchors_and_others_names_are_refused(files):
    text = files["core-dc-1"]["unbound.conf"]
    assert f'trust-anchor: "{DIGEST}"' in text
    assert 'local-zone: "." refuse' in text
    assert "permissive-mode: no" in text


def test_a_zone_without_a_digest_is_refused():
    with pytest.raises(ValidationError, match=r"zone b\.test has no DS record"):
        Authority(server=CENTRE, zones=("a.test", "b.test"), anchors=("a.test. IN DS 1 13 2 ab",))


def test_without_a_known_name_server_there_is_no_resolver(state):
    texts = core(lab(), Options())
    assert NEW & set(texts) == {"tinh-nat64.service", "tayga.conf"}
    assert "th dport 53" not in texts["nftables.conf"]


def test_forwarders_are_asked_and_may_not_lead_inside(state):
    outside = address("2001:db8::53", "192.0.2.53")
    resolver = load_site("lab").names.resolver.model_copy(update={"forwarders": (outside,)})
    texts = core(lab(resolver=resolver))
    text = texts["unbound.conf"]
    assert 'local-zone: "."' not in text
    for each in outside.pair():
        assert f"forward-addr: {each}" in text
        assert re.search(rf"daddr {each} udp dport 53 counter accept", texts["nftables.conf"])
    assert "private-address: 10.77.0.0/16" in text
    assert "trust-anchor-file: /usr/share/dns/root.key" in text


def test_without_a_prefix_nothing_is_translated(state):
    fabric = lab(nat64=None)
    for name, texts in Renderer(fabric, FULL).all_files().items():
        assert "nat64" not in texts["nftables.conf"], name
        assert {"tinh-nat64.service", "tayga.conf"} & set(texts) == set(), name
    assert "dns64" not in core(fabric)["unbound.conf"]


def elements(text, name):
    return re.search(rf"set {name} \{{[^}}]*elements = \{{ (.*?) \}}", text)[1]


def test_what_stands_for_servers_is_their_segment_without_the_front_door(files):
    for router in ("core-dc-1", "gw-98-1", "c-99801"):
        text = files[router]["nftables.conf"]
        prefix = "fd77::64:0:0:a4d"
        assert elements(text, "nat64-servers") == f"{prefix}:0-{prefix}:bf, {prefix}:e0-{prefix}:ff"
        assert elements(text, "nat64-front-door") == f"{prefix}:c0/123"


def test_only_lans_behind_the_core_have_what_stands_for_them(routers, files):
    site = routers.topology.site_unit
    behind = {e.purpose for e in routers.policy.endpoints if e.unit == site}
    for router, texts in files.items():
        assert set(re.findall(r"set nat64-(\S+) \{", texts["nftables.conf"])) <= behind, router


def test_each_rule_of_the_matrix_is_there_for_translated_packets_and_none_beside(routers, files):
    """Sources are real, never what stands for something; reasons are the matrix's."""
    text = files["core-dc-1"]["nftables.conf"]
    forward = re.search(r"\tchain forward \{\n(.*?)\t\}\n", text, re.DOTALL)[1]
    lines = [line for line in forward.splitlines() if '"translated: ' in line and "was judged" not in line]
    permits = [p for p in routers.policy.permits if p.allow and f"set nat64-{p.target} " in text]
    assert len(lines) == len(permits) > 20
    reasons = {permit.reason[:60] for permit in permits}
    for line in lines:
        assert re.search(r"ip6 saddr @(all|hub)-\S+6 ip6 daddr @nat64-", line), line
        assert re.search(r'comment "translated: (.*)"', line)[1][:60] in reasons
        assert 'log prefix "tinh nat64: "' in line


def test_what_was_translated_leaves_by_lans_with_the_routers_own_address(routers, files):
    device, text = routers.by_name["core-dc-1"], files["core-dc-1"]["nftables.conf"]
    (out,) = [line for line in text.splitlines() if "was judged before" in line]
    (own,) = [line for line in text.splitlines() if "masquerade" in line]
    assert re.search(
        r"type nat hook postrouting priority srcnat; policy accept;\n\s*ip saddr 10\.77\.7\.0/24", text
    )
    for link in device.links:
        assert f'"{link.name}"' not in out + own
    assert 'iifname "nat64" ip saddr != 10.77.7.0/24 counter drop' in text
    assert 'iifname "nat64" ip6 saddr != fd77:0:0:64::/96 counter drop' in text
    assert "masquerade" not in files["c-99801"]["nftables.conf"]


def test_units_have_a_route_and_planes_take_it(files):
    assert "permit fd77:0:0:64::/96" in files["gw-98-1"]["frr.conf"]
    assert "permit 10.77.6.0/31" in files["gw-98-1"]["frr.conf"]
    assert "ipv6 route fd77:0:0:64::/96 fd77:0:0:" in files["core-dc-1"]["frr.conf"]


def test_the_resolvers_file_is_taken_by_its_parser_and_a_broken_one_is_not(files):
    if not (parsers.available("unbound.conf") and Path("/etc/unbound").is_dir()):
        pytest.skip("Unbound is not installed")
    text = files["core-dc-1"]["unbound.conf"]
    assert parsers.problems("unbound.conf", text) == ""
    assert parsers.problems("unbound.conf", text.replace("interface: 10.", "interface: 10.x")) != ""
