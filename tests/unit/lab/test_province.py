"""A province in namespaces: names, routes and flows as data; the lab's units with their filters in real ones."""

import os
import re
import sys
from collections import Counter
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from infra.address.plan import plan_at, recorded
from infra.model.site import load_site
from infra.model.zone import Service
from infra.network.fabric import Fabric
from infra.network.mapping import Mapping
from infra.network.topology import segment_lans
from infra.render.router import Renderer
from lab.outside import probe
from lab.outside.province import Province, last_host, mac
from tests.unit.lab.test_probe import needs

UNIT_LANS, CENTRE_LANS = ("government", "voice-video"), ("servers", "databases")
COMMUNES = 151


def province(site: str, epoch: str | None = None, prefix: str = "", filters: bool = True) -> Province:
    record, ledger = recorded(site)
    segments = segment_lans(load_site(site)) if site == "lab" else ()
    fabric = Fabric(plan_at(record, epoch, ledger), Mapping.LAB, segments)
    renderer = Renderer(fabric)

    def text(device):
        return renderer.device_files(device)["nftables.conf"] if filters else ""

    return Province(fabric, text, unit_lans=UNIT_LANS, centre_lans=CENTRE_LANS, prefix=prefix)


@pytest.fixture(scope="module")
def whole() -> Province:
    """Every commune of a real province, without its filters: they take seconds."""
    return province("quang-binh", "2023", filters=False)


def test_every_commune_is_there_with_its_hosts(whole):
    communes = [d for d in whole.routers if d.role.value.startswith("commune")]
    assert len(communes) == COMMUNES
    assert len(whole.spaces) == 2 * len(whole.routers) + 1  # hosts of each, and the plane
    assert {f"h-{device.unit}" for device in communes} < set(whole.spaces)
    assert Counter(e.purpose for e in whole.units) == dict.fromkeys(UNIT_LANS, len(whole.routers) - 1)
    assert sorted(e.purpose for e in whole.centre) == sorted(CENTRE_LANS)


def test_names_fit_the_kernel_and_devices_have_the_filters_names(whole):
    assert all(len(end.device) <= 15 and len(end.space) <= 15 for pair in whole.pairs for end in pair)
    ends = Counter((end.space, end.device) for pair in whole.pairs for end in pair)
    assert set(ends.values()) == {1}
    for device in whole.routers:
        mine = {end.device for pair in whole.pairs for end in pair if end.space == device.name}
        assert mine <= {interface.name for interface in device.interfaces}
        assert len(mine) == 1 + len(UNIT_LANS)
    assert {end.device for pair in whole.pairs for end in pair if end.space == whole.plane.name} == {
        device.name for device in whole.routers
    }


def test_both_ends_of_a_pair_know_each_other(whole):
    made = {}
    for line in whole.links:
        found = re.fullmatch(
            r"link add (\S+) address (\S+) netns (\S+) type veth peer name (\S+) address (\S+) netns (\S+)",
            line,
        )
        made[found[3], found[1]], made[found[6], found[4]] = found[2], found[5]
    assert len(set(made.values())) == len(made) == 2 * len(whole.pairs)
    for one, two in (*whole.pairs, *((two, one) for one, two in whole.pairs)):
        lines = whole.spaces[one.space].ip
        for address in two.address.pair():
            other = made[two.space, two.device]
            assert f"neigh replace {address} lladdr {other} dev {one.device} nud permanent" in lines


def test_routes_go_by_addresses_of_the_neighbour_on_the_link(whole):
    for space in whole.spaces.values():
        near = {}
        for line in space.ip:
            if found := re.match(r"address add (\S+) dev (\S+)", line):
                near.setdefault(found[2], []).append(ip_network(found[1], strict=False))
            elif found := re.match(r"route add (\S+) via (\S+) dev (\S+)", line):
                via = ip_address(found[2])
                assert ip_network(found[1]).version == via.version
                assert any(via in prefix for prefix in near[found[3]])


def test_the_plane_has_routes_to_every_units_blocks(whole):
    lines = "\n".join(whole.spaces[whole.plane.name].ip)
    for device in whole.routers:
        for block in device.blocks:
            assert f"route add {block.ipv6} via " in lines
            assert f"route add {block.ipv4} via " in lines


def test_hosts_have_addresses_that_routers_have_not(whole):
    for _, lan, endpoint in whole.lans:
        place, host = whole.places[probe.lan_name(endpoint)], last_host(lan)
        assert (place.ipv6, place.ipv4) == host.pair()
        assert host.ipv4 in endpoint.prefix.ipv4
        assert host.ipv4 != endpoint.prefix.ipv4.broadcast_address
        assert host.ipv4 not in {lan.address.ipv4, lan.gateway.ipv4}
        assert place.netns == f"h-{endpoint.unit}"
    assert mac(0x1234) == "02:00:00:00:12:34"


def test_flows_are_every_pair_with_what_the_policy_says(whole):
    flows = whole.flows("dns")
    assert len({(*flow.data(),) for flow in flows}) == len(flows)
    units, centre, services = len(whole.units), len(whole.centre), len(whole.fabric.network.zoning.services)
    assert len(flows) == 2 * (services * (units + centre - 1) * centre + centre * units + units * (units - 1))
    routers = units // len(UNIT_LANS)
    between = [f for f in flows if not f.source.startswith("dc ") and not f.target.startswith("dc ")]
    video = [f for f in between if f.source.endswith("voice-video") and f.target.endswith("voice-video")]
    assert len(video) == 2 * routers * (routers - 1)
    assert all(flow.allowed for flow in video)
    assert {flow.allowed for flow in set(between) - set(video)} == {False}
    assert sum(f.allowed and f.target == "dc servers" and f.service == "https" for f in flows) == 2 * routers


def test_the_same_province_is_the_same_request(state: Path):
    one, two = (province("lab").request("/run/test.json") for _ in range(2))
    assert one == two
    assert one["namespaces"]["c-99801"]["nft"].startswith("#!/usr/sbin/nft")
    assert one["namespaces"]["h-99801"]["nft"] == ""


@needs
def test_the_labs_units_enforce_the_policy_in_the_kernel(state: Path, tmp_path: Path):
    made = province("lab", prefix=f"tinh-t{os.getpid()}-")
    request, command = made.request(str(tmp_path / "state.json")), (sys.executable,)
    spaces = set(made.spaces)
    try:
        first = probe.run(command, request)
        assert first["changed"]
        assert first["namespaces"] == len(spaces)
        assert not probe.run(command, request)["changed"]
        services = made.fabric.network.zoning.services
        flows = made.flows("dns")
        outcome = probe.probe(command, flows, made.places, services)
        assert outcome.wrong == ()
        assert outcome.allowed > 20
        assert outcome.forbidden > 100
        # another request takes the place of the first one
        other = request | {"namespaces": dict(list(request["namespaces"].items())[:1]), "links": []}
        other["namespaces"] = {
            key: space | {"ip": [], "nft": ""} for key, space in other["namespaces"].items()
        }
        assert probe.run(command, other) | {"seconds": 0} == {"changed": True, "namespaces": 1, "seconds": 0}
        assert {path.name for path in Path("/run/netns").iterdir()} & spaces == set(other["namespaces"])
    finally:
        probe.run(command, {"mode": "remove", "state": request["state"]})
    assert not {path.name for path in Path("/run/netns").iterdir()} & spaces


@needs
def test_what_the_filters_refuse_passes_without_them(state: Path, tmp_path: Path):
    """So it is the filters that refuse it, and no missing route; all LANs of a unit being in one namespace included."""
    made = province("lab", prefix=f"tinh-t{os.getpid()}-", filters=False)
    command, file = (sys.executable,), str(tmp_path / "state.json")
    services = made.fabric.network.zoning.services | {"ping": Service(protocol="icmp")}
    flows = probe.matrix_flows(
        made.fabric.policy, (*made.units, *made.centre), services=["https", "dns", "ping"]
    )
    try:
        probe.run(command, made.request(file))
        answer = probe.run(command, probe.probe_request(flows, made.places, services))
        assert answer["passed"] == list(range(len(flows)))
    finally:
        probe.run(command, {"mode": "remove", "state": file})
