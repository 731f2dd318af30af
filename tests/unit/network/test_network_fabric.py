"""Devices: names, numbers, links, filters; what must not change when others come and go."""

from collections import Counter
from ipaddress import ip_network

import pytest

from infra.errors import TinhError
from infra.model.network import Kind, RouterRole
from infra.model.province import Record, load_record
from infra.model.site import load_site
from infra.network.device import Device
from infra.network.mapping import Mapping, router_name, short
from tests.unit.network.conftest import fabric

ROLES = {
    "d-998": "district",
    "c-99801": "commune_2",
    "core-dc-1": "core",
    "core-dc-2": "core",
    "gw-98-1": "tslcd_gateway",
}


def changed(record: Record, **changes: object) -> Record:
    """Return a record with another network."""
    data = record.network.model_dump(by_alias=True) | changes
    return Record(record.folder, record.facts, record.register, type(record.network).model_validate(data))


def links(device: Device) -> list[tuple[str, str]]:
    return [(link.name, link.far) for link in device.links]


def test_every_router_of_the_data_is_a_device_with_a_short_name(routers):
    assert {d.name: d.role.value for d in routers.devices if d.name in ROLES} == ROLES
    assert len(routers.devices) == len(routers.plan.province.routers())
    assert all(
        len(i.name) <= 15 and all(len(n) <= 15 for n in i.names)
        for d in routers.devices
        for i in d.interfaces
    )


def test_names_do_not_change_with_the_access_level_and_long_codes_stay_apart():
    assert (
        router_name(RouterRole.COMMUNE_1, "18853", 1, 1)
        == router_name(RouterRole.COMMUNE_2, "18853", 1, 1)
        == "c-18853"
    )
    long = [router_name(RouterRole.CORE, f"trung-tam-so-{n}", k, 2) for n in "ab" for k in (1, 2)]
    assert len(set(long)) == 4
    assert max(map(len, long)) <= 15
    assert short("voice-and-pictures") != short("voice-and-picture2")


def test_links_go_where_the_data_says(routers):
    by_name = routers.by_name
    assert links(by_name["c-99801"]) == [("link-a", "gw-98-1")]
    assert links(by_name["d-998"]) == [("link-a", "gw-98-1"), ("link-b", "gw-98-2")]
    assert links(by_name["core-dc-1"]) == [("link-a", "gw-98-1"), ("link-peer", "core-dc-2")]
    assert links(by_name["core-dc-2"]) == [("link-b", "gw-98-2"), ("link-peer", "core-dc-1")]
    assert ("link-peer", "gw-98-2") in links(by_name["gw-98-1"])


def test_both_ends_of_every_session_agree(routers):
    sessions = {(d.name, n.name): (d, n) for d in routers.devices for n in d.neighbours}
    for (here, there), (device, neighbour) in sessions.items():
        other, back = sessions[there, here]
        mine = next(i for i in device.interfaces if i.name == neighbour.interface)
        assert back.address == mine.address
        assert back.asn == device.asn
        assert neighbour.asn == other.asn
        assert mine.address.ipv4 in ip_network(f"{neighbour.address.ipv4}/31", strict=False)
        assert mine.address.ipv6 in ip_network(f"{neighbour.address.ipv6}/127", strict=False)


def test_a_units_routers_share_one_private_number_and_no_other_unit_has_it(routers):
    assert all(4_200_000_000 <= d.asn <= 4_294_967_294 for d in routers.devices)  # RFC 6996
    units = {d.asn: set() for d in routers.devices}
    for device in routers.devices:
        units[device.asn].add(device.unit)
    assert all(len(found) == 1 for found in units.values())


def test_who_stays_is_the_same_router_in_the_next_epoch(state):
    record = load_record("lab")
    old, new = fabric("lab", "2023", record=record), fabric("lab", "2024", record=record)
    assert set(old.by_name) - set(new.by_name) == {"c-99802"}
    for name in set(old.by_name) & set(new.by_name) - {"gw-98-1"}:
        assert old.by_name[name] == new.by_name[name]


def test_what_is_exported_is_exactly_the_units_blocks(routers):
    for device in routers.devices:
        own = {entry.prefix for entry in device.prefix_lists["own"]}
        assert own == set(device.announced) <= set(device.blocks)
        assert not any(entry.longer for entry in device.prefix_lists["own"])
        external = [n for n in device.neighbours if n.asn != device.asn]
        if device.carrier:
            for neighbour in external:
                accepted = {entry.prefix for entry in device.prefix_lists[neighbour.accept]}
                assert accepted == set(routers.by_name[neighbour.name].announced)
        else:
            assert {(n.accept, n.announce) for n in external} == {("registered", "own")}
    ledger = routers.plan
    commune = routers.by_name["c-99801"]
    domains = routers.network.domains
    assert commune.announced == commune.blocks
    assert list(commune.blocks) == [b for name in domains if (b := ledger.block("99801", name))]


def test_what_is_outside_is_known_to_the_core_and_announced_to_nobody_else(routers):
    outside = next(s.prefix for s in routers.topology.segments if s.zone == "border")
    for name in ("core-dc-1", "core-dc-2"):
        core = routers.by_name[name]
        assert outside in core.blocks and outside in core.inner
        assert outside not in core.announced
        assert set(core.blocks) - set(core.announced) == {outside}
    for plane in (device for device in routers.devices if device.carrier):
        assert outside not in {entry.prefix for found in plane.prefix_lists.values() for entry in found}
        assert not any(outside in interface.sources for interface in plane.interfaces)


def test_the_core_shares_addresses_and_the_first_one_is_preferred(routers):
    one, two = routers.by_name["core-dc-1"], routers.by_name["core-dc-2"]
    for a, b in zip(one.lans, two.lans, strict=True):
        assert a.virtual.address == b.virtual.address not in (a.address, b.address)
        assert (a.virtual.vrid, a.virtual.priority, b.virtual.priority) == (b.virtual.vrid, 190, 180)
        assert a.virtual.others == (b.address,)
    assert Counter(i.virtual.vrid for i in one.lans).most_common(1)[0][1] == 1
    assert [n.prepend for n in one.neighbours] == [0, 0]
    assert two.neighbours[0].prepend == 2


def test_a_segment_of_the_site_takes_the_place_of_the_purpose_of_its_name(routers):
    core = routers.by_name["core-dc-1"]
    servers = [lan for lan in core.lans if lan.purpose == "servers"]
    assert [str(lan.prefix.ipv4) for lan in servers] == ["10.77.0.0/24"]
    assert [(e.unit, str(e.prefix.ipv4)) for e in routers.policy.by_purpose["servers"]] == [
        ("dc", "10.77.0.0/24")
    ]


def test_the_front_door_is_a_lan_of_the_dmz_on_the_servers_segment(routers):
    (door,), (servers,) = (routers.policy.by_purpose[name] for name in ("front-door", "servers"))
    assert (door.zone, servers.zone) == ("dmz", "internal_servers")
    assert door.domain == servers.domain == "datacentre"
    assert servers.without == (door.prefix,) and door.without == ()
    assert door.beside(servers) and servers.beside(door)
    assert not door.beside(routers.policy.by_purpose["databases"][0])
    # it is no interface of the core's: its segment is
    assert "front-door" not in {lan.purpose for lan in routers.by_name["core-dc-1"].lans}


def test_what_is_out_of_band_is_not_behind_the_core(routers):
    assert "console" in load_site("lab").segments
    assert [s.name for s in routers.topology.segments] == ["servers", "internet"]


def test_without_a_core_there_are_no_segments(state):
    record = load_record("lab")
    facts = record.facts.model_dump()
    facts["epochs"][facts["current"]]["profile"] = "national_tenant"
    tenant = Record(record.folder, type(record.facts).model_validate(facts), record.register, record.network)
    found = fabric("lab", record=tenant)
    assert found.topology.segments == ()
    assert "front-door" not in found.policy.by_purpose


def test_production_has_ports_and_vlans_where_the_lab_has_interfaces(state):
    commune = fabric("quang-binh", "2023", Mapping.METAL).by_name["c-18853"]
    assert {(i.name, i.port) for i in commune.lans if i.purpose == "government"} == {("lan1.20", "lan1")}
    assert [i.name for i in commune.links] == ["wan1"]


def test_units_without_a_router_are_named(routers):
    assert routers.unserved == ("98",)


def test_agencies_with_routers_of_their_own(state):
    record = load_record("lab")
    network = record.network.model_dump(by_alias=True)
    record = changed(
        record,
        routers=[r | ({"role": "commune_1"} if r["level"] == "agency" else {}) for r in network["routers"]],
        circuits=[*network["circuits"], {"level": "agency", "link": "link-b", "capacity_mbps": 100}],
    )
    found = fabric("lab", record=record)
    assert found.unserved == ("98",)
    assert links(found.by_name["c-so-mot"]) == [("link-a", "gw-98-1"), ("link-b", "gw-98-2")]


def refused(record: Record, changes: dict) -> str:
    with pytest.raises(TinhError) as error:
        assert fabric("lab", record=changed(record, **changes)).devices
    return str(error.value)


def test_what_makes_no_network_is_refused_with_its_place(state):
    record = load_record("lab")
    purposes = record.network.model_dump(by_alias=True)["purposes"]
    far = purposes | {"link-a": purposes["link-a"] | {"plane": 3}}
    assert "plane 3, there are 2" in (text := refused(record, {"purposes": far}))
    assert "network.yaml: purposes.link-a.plane" in text
    fewer = {name: p for name, p in purposes.items() if name != "loopback-2"}
    assert "more routers than loopbacks (1)" in refused(record, {"purposes": fewer})
    small = purposes | {"dmz": purposes["dmz"] | {"hosts": {"site": 1}}}
    assert "too small for 2 routers" in (text := refused(record, {"purposes": small}))
    assert "purposes.dmz.hosts" in text


def test_every_interface_of_a_link_is_in_the_transport_pools(routers):
    for device in routers.devices:
        for interface in device.interfaces:
            if interface.kind is not Kind.LAN:
                assert any(interface.prefix.ipv4.subnet_of(pool.ipv4) for pool in routers.transport)
                assert any(interface.prefix.ipv6.subnet_of(pool.ipv6) for pool in routers.transport)


@pytest.mark.parametrize("epoch", load_record("quang-binh").epochs)
def test_every_epoch_of_the_reference_province_is_a_network(epoch, state):
    found = fabric("quang-binh", epoch, Mapping.METAL)
    assert len(found.by_name) == len(found.devices) == len(found.plan.province.routers())
    groups = {(d.unit, d.carrier) for d in found.devices}
    assert len({d.asn for d in found.devices}) == len(groups)
    assert len({d.router_id for d in found.devices}) == len(found.devices)
    for device in found.devices:
        assert device.neighbours, device.name
        taken = [name for i in device.interfaces for name in i.names]
        assert len(set(taken)) == len(taken), device.name
        assert max(map(len, taken)) <= 15
