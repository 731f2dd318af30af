"""All zones of a site: who may ask for which, delegations, reverse zones, and Knot's configuration."""

from dataclasses import replace
from datetime import date

import dns.name
import dns.zone
import pytest

from infra import dnssec
from infra.address.plan import plan_at
from infra.errors import TinhError
from infra.model.province import load_record
from infra.model.site import Site, load_site
from infra.network.names import check, translated
from infra.render.zones import ZoneFile, render_knot, site_zones, zone_names
from stacks import zones as zones_of_site
from tests import parsers


def anchors(zone):
    return [f"{zone}. IN DS 1 13 2 {'ab' * 32}"]


@pytest.fixture
def zones(state):
    return site_zones(load_site("lab"), ["id", "www"], plan_at(load_record("lab")), anchors)


def read(zone):
    return dns.zone.from_text(zone.text, origin=f"{zone.name}.", relativize=False)


def records(zone, name, kind):
    found = read(zone).get_rdataset(dns.name.from_text(name), kind)
    return sorted(item.to_text() for item in found or ())


def test_the_public_may_ask_for_what_is_published_and_the_resolver_for_the_rest(zones):
    assert [(zone.name, zone.public) for zone in zones] == [
        ("lab.tinh.test", True),
        (f"{'0.' * 26}7.7.d.f.ip6.arpa", True),
        ("0.77.10.in-addr.arpa", True),
        ("units.lab.tinh.test", False),
        ("0.0.0.0.0.0.0.0.7.7.d.f.ip6.arpa", False),
        ("77.10.in-addr.arpa", False),
    ]
    assert tuple(zone.name for zone in zones) == zone_names(load_site("lab"), load_record("lab").network)


def test_every_zone_below_another_is_delegated_with_its_digest(zones):
    by_name = {zone.name: zone for zone in zones}
    for child in zones:
        parents = [name for name in by_name if child.name.endswith(f".{name}")]
        for name in parents:
            assert records(by_name[name], child.name, "DS") == [f"1 13 2 {'ab' * 32}"]
            assert records(by_name[name], child.name, "NS") == records(child, child.name, "NS")
    glue = "ns1.units.lab.tinh.test"
    assert records(by_name["lab.tinh.test"], glue, "A") == records(by_name["units.lab.tinh.test"], glue, "A")


@pytest.mark.parametrize("which", ["gateway", "dns"])
@pytest.mark.parametrize(("family", "zone"), [("ipv6", 1), ("ipv4", 2)])
def test_what_is_published_has_a_reverse_in_both_families(zones, which, family, zone):
    names = {"gateway": ["id.lab.tinh.test.", "www.lab.tinh.test."], "dns": ["ns1.lab.tinh.test."]}[which]
    pointer = getattr(getattr(load_site("lab").front_door, which), family).reverse_pointer
    assert records(zones[zone], pointer, "PTR") == names


def test_a_site_without_a_network_has_its_own_zones_only(state):
    found = site_zones(load_site("sim"), ["id"], None, anchors)
    assert len(found) == 3
    assert all(zone.public for zone in found)
    assert "DS" not in found[0].text


def test_every_zone_and_the_configuration_are_taken_by_the_real_checkers(zones):
    text = render_knot(zones, [load_site("lab").segments["servers"].prefix], 1053, "/etc/knot")
    for zone in zones:
        assert parsers.zone_problems(zone.name, zone.text) in ("", None)
    assert parsers.knot_problems(text) in ("", None)
    assert parsers.knot_problems(text.replace("manual: on", "manual: maybe")) != ""
    assert text.count("mod-queryacl/inside") == 3


def test_nobody_is_let_in_where_there_is_no_resolver():
    text = render_knot(
        [ZoneFile("a.test", "", public=True), ZoneFile("b.test", "", public=False)], [], 53, "/z"
    )
    assert "mod-queryacl:\n  - id: inside\n    address: [::1]\n" in text


def test_a_front_door_in_the_registered_spaces_own_reverse_zone_is_refused(state):
    record = load_record("lab")
    plan = plan_at(record)
    narrow = record.network.model_copy(
        update={"registered": (record.network.registered[0].model_copy(
            update={"prefix": load_site("lab").segments["servers"].prefix}),)}
    )  # fmt: skip
    plan.province.__dict__["network"] = narrow
    with pytest.raises(TinhError, match="reverse zone of the front door and"):
        site_zones(load_site("lab"), [], plan, anchors)


@pytest.mark.parametrize(("until", "there"), [(date(2999, 1, 1), True), (date(2000, 1, 1), False)])
def test_names_before_the_last_reorganisation_answer_until_their_date(state, monkeypatch, until, there):
    (state / "lab").mkdir(parents=True)
    (state / "lab" / "lab.json").write_text('{"epoch": "2024"}')
    made = zones_of_site.aliases
    monkeypatch.setattr(
        zones_of_site, "aliases", lambda *args: [replace(alias, until=until) for alias in made(*args)]
    )
    found = zones_of_site.zone_files(load_site("lab"), [], dnssec.keys("lab"))
    text = next(zone.text for zone in found if zone.name == "units.lab.tinh.test")
    assert ("tay-99802 IN CNAME tay-nam-99803\n" in text) is there


def lab_with(**names):
    data = load_site("lab").model_dump()
    for key, value in names.items():
        data["names"][key] = value if not isinstance(value, dict) else (data["names"][key] or {}) | value
    return data


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nat64": {"ipv6": "fd77:0:0:64::/64"}}, "is no /96"),
        ({"nat64": {"ipv4": "10.77.7.0/29"}}, "fewer than 14 hosts"),
        ({"nat64": {"ipv4": "10.99.7.0/24"}}, "outside the pool"),
        ({"nat64": {"ipv4": "10.77.0.0/24"}}, "overlaps segments.servers"),
        ({"resolver": {"address": {"ipv6": "fd77:0:0:64::53", "ipv4": "10.77.6.1"}}}, "lies in nat64"),
        ({"resolver": {"address": {"ipv6": "fd77::53", "ipv4": "10.77.6.1"}}}, "overlaps segments.servers"),
        ({"resolver": {"zones": []}}, "at least 1 item"),
        ({"units": "Units"}, "should match pattern"),
    ],
)
def test_a_malformed_site_is_refused_with_the_value(state, change, message):
    with pytest.raises(ValueError, match=message):
        Site.model_validate(lab_with(**change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resolver": {"zones": ["nowhere"]}}, "unknown zone 'nowhere'"),
        ({"resolver": {"zones": ["border"]}}, "are the public's"),
        ({"resolver": {"zones": ["wireless"]}}, "are the public's"),
        ({"nat64": {"ipv6": "fd77:0:0:1000::/96"}}, "overlaps pools.state"),
        ({"nat64": {"ipv4": "10.77.72.0/24"}}, "overlaps pools.video"),
    ],
)
def test_what_does_not_fit_the_network_is_refused_with_place_and_way_out(state, change, message):
    names = Site.model_validate(lab_with(**change)).names
    with pytest.raises(TinhError, match=message) as error:
        check(names, load_record("lab").at())
    assert "site.yaml: names" in str(error.value)


def test_names_need_core_routers(state):
    data = lab_with()
    data["machines"] = [group for group in data["machines"] if group["role"] != "router"]
    with pytest.raises(ValueError, match="needs core routers"):
        Site.model_validate(data)


def test_an_ipv4_prefix_stays_a_prefix(state):
    site = load_site("lab")
    made = translated(site.segments["servers"].prefix.ipv4, site.names.nat64.ipv6)
    assert str(made) == "fd77::64:0:0:a4d:0/120"
