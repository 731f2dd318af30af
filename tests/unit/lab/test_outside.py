"""What plays the province outside the data centre, compiled from the lab's data."""

from collections import Counter

import pytest

from infra.address.plan import recorded
from infra.errors import TinhError
from infra.model.network import RouterRole
from infra.model.site import Role, load_site
from infra.network.of_site import fabric_of
from lab import topology
from lab.outside.network import End, compile_outside, netns
from lab.outside.up import outside_of


@pytest.fixture
def site(state):
    return load_site("lab")


@pytest.fixture
def found(site):
    return outside_of(site)


def test_every_router_outside_the_data_centre_is_a_machine_on_the_console(site, found):
    fabric = fabric_of("lab")
    wanted = {d.name for d in fabric.devices if d.role is not RouterRole.CORE}
    assert wanted == {m.name for m in found.machines}
    assert {"gw-98-1", "gw-98-2", "d-998", "c-99801", "c-99802", "c-99803", "c-99804"} <= wanted
    addresses = [m.primary for m in found.machines]
    assert len(set(addresses)) == len(addresses)
    assert all(a.ipv4 in site.segments["console"].prefix.ipv4 for a in addresses)
    assert all(a.ipv6 in site.segments["console"].prefix.ipv6 for a in addresses)


def test_every_interface_of_every_router_has_exactly_one_wire_or_segment(site, found):
    ends = Counter(end for wire in found.wires for end in (wire.a, wire.b))
    assert max(ends.values()) == 1
    hosts = {"core-dc-1": "core1", "core-dc-2": "core2"}
    for device in fabric_of("lab").devices:
        machine = hosts.get(device.name, device.name)
        for interface in (*device.lans, *device.links):
            segment = interface.purpose in site.segments
            assert ends[End(machine, interface.name)] == (0 if segment else 1), (machine, interface.name)


def test_a_host_is_in_every_lan_with_the_lans_gateway(found):
    nics = {(nic.netns, nic.device): nic for nic in found.nics}
    for device in fabric_of("lab").devices:
        for lan in device.lans:
            nic = nics[netns(device.unit), lan.purpose]
            assert nic.gateway == lan.gateway
            assert nic.address.ipv4 in lan.prefix.ipv4
            assert nic.address.ipv6 in lan.prefix.ipv6
            taken = {lan.address, lan.gateway} | set(lan.virtual.others if lan.virtual else ())
            assert nic.address not in taken


def test_a_lan_of_two_routers_is_bridged(found):
    border = next(nic for nic in found.nics if nic.device == "databases")
    far = {wire.a if wire.b.netns else wire.b: wire for wire in found.wires if "databases" in repr(wire)}
    assert set(far) == {End("core1", "databases"), End("core2", "databases")}
    assert len(border.ports) == 2


def test_names_of_devices_fit_the_kernel(found):
    names = [end.device for wire in found.wires for end in (wire.a, wire.b)]
    assert all(len(name) <= 15 for name in [*names, *(nic.device for nic in found.nics)])


def test_the_wires_are_the_same_in_every_epoch(site, found):
    record, _ = recorded("lab")
    assert len(record.epochs) == 3
    for epoch in record.epochs:
        part = compile_outside(site, [fabric_of("lab", epoch)])
        assert set(part.wires) <= set(found.wires)
        assert all(machine in found.machines for machine in part.machines)
        assert set(part.nics) <= set(found.nics)


def test_a_site_needs_one_machine_for_hosts_and_a_console(site):
    fabric = fabric_of("lab")
    without = [group for group in site.machines if group.role is not Role.OUTSIDE]
    with pytest.raises(TinhError, match="role outside"):
        compile_outside(site.model_copy(update={"machines": without}), [fabric])
    segments = {name: s for name, s in site.segments.items() if name != "console"}
    with pytest.raises(TinhError, match="no console address"):
        compile_outside(site.model_copy(update={"segments": segments}), [fabric])


def test_containers_outside_are_made_like_the_sites(site, found):
    made = topology.containers(found.machines, site, "main", "/checkout", "image:1")
    assert [interface for _, interface, _, _ in made[0].networks] == ["console"]
    assert made[0].labels["tinh.machine"] == made[0].machine.name
