"""Rendered files: golden for one router of each role, and what holds for every router."""

import re
from collections import Counter
from datetime import date
from pathlib import Path

import dns.zone
import pytest

from infra.address.plan import plan_at
from infra.address.reorg import reorganise
from infra.errors import TinhError
from infra.model.province import load_record
from infra.network.mapping import Mapping
from infra.render.names import Alias, aliases, render_reverse, render_units
from infra.render.options import Options
from infra.render.router import SECRET, Renderer
from tests import parsers
from tests.unit.network.conftest import CENTRE, FULL, fabric

GOLDEN = Path(__file__).parent / "golden"
ZONE = "units.lab.tinh.test"


@pytest.fixture
def files(routers):
    return Renderer(routers, FULL).all_files()


@pytest.mark.parametrize("name", ["core-dc-2", "gw-98-1", "d-998", "c-99801"])
def test_a_router_of_each_role_is_as_its_golden_files_say(name, files, golden_text):
    known = {file.name for file in (GOLDEN / name).glob("*")}
    for file, text in files[name].items():
        golden_text(GOLDEN / name / file, text)
    assert known <= set(files[name]), "golden files that no router has"


def test_production_is_as_its_golden_files_say(state, golden_text):
    found = Renderer(fabric("lab", mapping=Mapping.METAL)).all_files()
    for file in ("tinh-vlan.service", "tinh-qos.service", "dnsmasq.conf"):
        golden_text(GOLDEN / "metal" / file, found["c-99801"][file])


def test_rendering_is_deterministic(state):
    assert Renderer(fabric("lab"), FULL).all_files() == Renderer(fabric("lab"), FULL).all_files()


def test_what_is_not_asked_for_is_not_there(routers, files):
    assert set(files["c-99801"]) - set(Renderer(routers).all_files()["c-99801"]) == {
        "chrony.conf",
        "rsyslog.conf",
        "snmpd.conf",
    }
    assert "dnsmasq.conf" not in files["core-dc-1"]
    assert "tinh-vrrp.service" not in files["c-99801"]
    assert "tinh-vlan.service" not in files["c-99801"]


def test_secrets_are_only_in_files_that_are_named_as_secret(files):
    for texts in files.values():
        assert {name for name, text in texts.items() if "reference:" in text} == set(SECRET)
    assert "reference:" not in repr(FULL)
    with pytest.raises(ValueError, match="at least 8") as error:
        Options.model_validate({"snmp": {"user": "reader", "auth": "s3cret!", "privacy": "reference:x"}})
    assert "s3cret!" not in str(error.value)


def test_there_is_no_default_route_anywhere(files):
    for router, texts in files.items():
        for name in ("frr.conf", "nftables.conf"):
            assert not re.search(r"(?<![\d.])0\.0\.0\.0/0|(?<![\w:])::/0|default-originate", texts[name]), (
                router
            )


def test_only_registered_space_is_taken_and_only_own_blocks_are_given(routers, files):
    for device in routers.devices:
        text = files[device.name]["frr.conf"]
        for neighbour in device.neighbours:
            for address in neighbour.address.pair():
                assert f"neighbor {address} prefix-list {neighbour.accept} in" in text
                assert f"neighbor {address} prefix-list {neighbour.announce} out" in text
                assert f"neighbor {address} bfd profile tinh" in text
        for family, word in (("ipv4", "ip"), ("ipv6", "ipv6")):
            own = re.findall(rf"^{word} prefix-list own seq \d+ permit (\S+)$", text, re.MULTILINE)
            assert own == [str(getattr(block, family)) for block in device.announced]
            held = re.findall(rf"^{word} route (\S+) blackhole 250$", text, re.MULTILINE)
            assert held == own
            others = re.findall(rf"^{word} route (?!.*blackhole)(.*)$", text, re.MULTILINE)
            shared = device.names.blocks if device.names else ()
            assert [line.split()[0] for line in others] == [str(getattr(block, family)) for block in shared]
            peers = {str(getattr(n.address, family)) for n in device.neighbours if n.asn == device.asn}
            assert {line.split(maxsplit=1)[1] for line in others} == (
                {f"{p} 240" for p in peers} if shared else set()
            )


def rules(text: str, family: str) -> list[str]:
    """Return the forwarding, source and mark rules that are of one family, without what is the family's."""
    found = []
    for chain in ("sources", "marks", "forward", "returns", "limits", "queues"):
        block = re.search(rf"\tchain {chain} \{{\n(.*?)\t\}}\n", text, re.DOTALL)
        for line in block[1].splitlines() if block else []:
            if re.search(rf"\b{'ip' if family == 'ipv4' else 'ip6'} (saddr|daddr|dscp)\b", line):
                line = re.sub(r"\b(ip6|ip) ", "IP ", line).replace("icmpv6", "icmp")
                line = re.sub(r"(@[\w-]+)[46]\b", r"\1", line)
                found.append(chain + re.sub(r"(\{ )?[0-9a-f]+[.:][0-9a-f.:/]+(, \S+)*( \})?", "PREFIX", line))
    return found


def test_the_policy_is_the_same_in_both_families(files):
    # ARP and neighbour discovery differ, and the translation is from IPv6 to IPv4
    one_family = ("who has no address yet", "never forwarded", "translated")
    for router, texts in files.items():
        text = texts["nftables.conf"]
        assert re.findall(r"set (\S+)4 \{", text) == re.findall(r"set (\S+)6 \{", text), router
        both = [
            [rule for rule in rules(text, family) if not any(word in rule for word in one_family)]
            for family in ("ipv4", "ipv6")
        ]
        assert both[0] == both[1], router
        assert len(both[0]) > 10
        for name in re.findall(r"set (\S+)4 \{", text):
            elements = [
                len(found[1].split(","))
                if (found := re.search(rf"set {name}{n} \{{[^}}]*elements = \{{(.*?)\}}", text))
                else 0
                for n in "46"
            ]
            assert elements[0] == elements[1], (router, name)


def elements(text: str, name: str) -> str:
    """Return the elements of a set."""
    found = re.search(rf"set {name} \{{[^}}]*elements = \{{ (.*?) \}}", text)
    return found[1] if found else ""


def test_the_servers_are_their_segment_without_the_front_door(files):
    for router in ("core-dc-1", "gw-98-1", "c-99801"):
        text = files[router]["nftables.conf"]
        assert elements(text, "hub-servers4") == "10.77.0.0-10.77.0.191, 10.77.0.224-10.77.0.255"
        assert elements(text, "hub-servers6") == "fd77::-fd77::bf, fd77::e0-fd77::ffff:ffff:ffff:ffff"
        assert elements(text, "hub-front-door4") == "10.77.0.192/27"
        assert elements(text, "hub-front-door6") == "fd77::c0/123"


def test_the_outside_reaches_the_front_door_and_no_server(files):
    text = files["core-dc-1"]["nftables.conf"]
    assert elements(text, "all-internet4") == "10.77.8.0/24"
    for service in ("tcp dport { 443 }", "tcp dport { 80 }", "udp dport { 53 }", "tcp dport { 53 }"):
        assert f"ip6 saddr @all-internet6 ip6 daddr @hub-front-door6 {service}" in text
        assert f"ip saddr @all-internet4 ip daddr @hub-front-door4 {service}" in text
    assert not re.search(r"saddr @all-internet\d \S+ daddr @hub-servers", text)


def test_what_is_outside_is_not_announced_but_nobody_else_may_use_it(files):
    core = files["core-dc-1"]
    assert "permit 10.77.8.0/24" not in core["frr.conf"]
    assert "route 10.77.8.0/24" not in core["frr.conf"]
    assert "  network 10.77.8.0/24" in core["frr.conf"]  # for the other core router
    assert "10.77.8.0/24" in elements(core["nftables.conf"], "own4")
    assert "fd77:0:0:8::/64" in elements(core["nftables.conf"], "own6")
    for name in ("gw-98-1", "gw-98-2"):
        assert "10.77.8.0/24" not in files[name]["frr.conf"]


def test_only_the_sites_and_the_provinces_management_administers_the_data_centre(routers, files):
    commune = files["c-99801"]["nftables.conf"]
    assert "administration" not in commune
    for router in ("core-dc-1", "gw-98-1"):
        text = files[router]["nftables.conf"]
        assert "ip saddr @hub-management4 ip daddr @hub-servers4 tcp dport { 22 }" in text
        assert "@all-management4 ip daddr" not in text
    hubs = {str(e.prefix.ipv4) for e in routers.policy.hubs["management"]}
    assert set(elements(files["gw-98-1"]["nftables.conf"], "hub-management4").split(", ")) == hubs


def test_every_chain_of_the_filter_drops_what_is_not_listed(files):
    for texts in files.values():
        text = texts["nftables.conf"]
        assert re.findall(r"hook (\w+) priority filter; policy (\w+);", text) == [
            ("input", "drop"),
            ("output", "drop"),
            ("forward", "drop"),
        ]
        # one transaction that touches its own table only
        head = [line for line in text.splitlines() if not line.startswith("#")]
        assert head[:2] == ["flush ruleset", "table inet tinh {"]
        assert len(re.findall(r"^(table|delete|flush|destroy) ", text, re.MULTILINE)) == 2
        for line in text.splitlines():
            if re.search(r"\b(accept|drop)( comment|$)", line):
                assert " counter " in f" {line.strip()} ", line


def test_every_rule_of_the_matrix_has_its_reason(routers, files):
    text = files["core-dc-1"]["nftables.conf"]
    reasons = Counter(permit.reason for permit in routers.policy.permits)
    assert {reason: text.count(f'comment "{reason}"') for reason in reasons} == {
        r: 2 * n for r, n in reasons.items()
    }


@pytest.mark.parametrize("name", list(parsers.CHECKS))
def test_the_real_parser_takes_it(name, files):
    if not parsers.available(name):
        pytest.skip(f"the parser of {name} is not here")
    for router, texts in files.items():
        if name in texts:
            assert parsers.problems(name, texts[name]) == "", router


def read(text: str) -> dict[str, set[str]]:
    zone = dns.zone.from_text(text, relativize=False)
    found: dict[str, set[str]] = {}
    for name, _, data in zone.iterate_rdatas():
        found.setdefault(name.to_text(), set()).add(data.to_text())
    return found


def test_names_and_pointers_match(state):
    plan = plan_at(load_record("lab"))
    forward = render_units(plan, ZONE, CENTRE, 7)
    reverse = render_reverse(plan, ZONE, 7)
    records = read(forward)
    assert records[f"dong-99801.{ZONE}."] == {str(x) for x in plan.gateway("99801", "loopback").pair()}
    assert records[f"party.dong-99801.{ZONE}."] == {str(x) for x in plan.gateway("99801", "party").pair()}
    assert set(reverse) == {"77.10.in-addr.arpa", "0.0.0.0.0.0.0.0.7.7.d.f.ip6.arpa"}
    pointers = [
        (name, target) for text in reverse.values() for name, found in read(text).items() for target in found
    ]
    named = [(name, target) for name, target in pointers if target.endswith(f"{ZONE}.") and "arpa" in name]
    hosts = [target for name, target in named if not target.startswith("ns1.")]
    assert sorted(hosts) == sorted(2 * [n for n in records if n not in (f"{ZONE}.", f"ns1.{ZONE}.")])
    for zone, text in ((ZONE, forward), *reverse.items()):
        assert " 7 86400 7200 " in text
        assert parsers.zone_problems(zone, text) in ("", None)


def test_old_names_answer_until_their_date(state):
    both = reorganise(load_record("lab"), "2023", "2024", ZONE)
    old = aliases(both.document(), ZONE)
    assert {alias.name: alias.targets for alias in old}["tay-99802"] == ("tay-nam-99803",)
    records = read(render_units(both.new, ZONE, CENTRE, 8, old, date(2025, 1, 1)))
    assert records[f"tay-99802.{ZONE}."] == {f"tay-nam-99803.{ZONE}."}
    assert records[f"party.tay-99802.{ZONE}."] == {f"party.tay-nam-99803.{ZONE}."}
    gone = read(render_units(both.new, ZONE, CENTRE, 9, old, max(alias.until for alias in old)))
    assert f"tay-99802.{ZONE}." not in gone


def test_an_old_name_of_several_units_has_all_addresses_and_one_of_none_is_refused(state):
    plan = plan_at(load_record("lab"))
    day = date(2030, 1, 1)
    split = Alias("cu-1", ("dong-99801", "bac-99804"), day)
    records = read(render_units(plan, ZONE, CENTRE, 1, [split]))
    assert len(records[f"cu-1.{ZONE}."]) == 4
    with pytest.raises(TinhError, match="leads to nowhere-1"):
        render_units(plan, ZONE, CENTRE, 1, [Alias("cu-1", ("nowhere-1",), day)])


@pytest.mark.parametrize("epoch", load_record("quang-binh").epochs)
def test_the_filters_of_the_reference_province_are_taken_by_the_kernel(epoch, state):
    found = fabric("quang-binh", epoch, Mapping.METAL)
    first = {device.role: device for device in reversed(found.devices)}  # one of each role
    renderer = Renderer(found, FULL)
    for device in first.values():
        text = renderer.device_files(device)["nftables.conf"]
        assert all(len(comment.encode()) < 128 for comment in re.findall(r'comment "(.*)"', text))
        if parsers.available("nftables.conf"):
            assert parsers.problems("nftables.conf", text) == "", device.name
