"""Every unit of a real province, with the filters that its routers would get: who is reached, who is not."""

import pytest

from infra import paths
from infra.model.network import RouterRole
from infra.model.province import load_record
from infra.model.unit import Level
from infra.network.mapping import Mapping
from infra.network.of_site import fabric_of
from infra.render.router import Renderer
from lab import topology
from lab.outside import probe
from lab.outside.province import Province
from lab.outside.up import outside_of

SITE, EPOCH = "quang-binh", "2023"
STATE = "/run/tinh-province.json"


@pytest.fixture(scope="module")
def province(lab):
    hosts = topology.prefix(paths.instance()) + outside_of(lab.site).hosts
    command = ["podman", "exec", "-i", hosts, "python3"]
    fabric = fabric_of(SITE, EPOCH, Mapping.LAB)
    renderer = Renderer(fabric)
    made = Province(
        fabric,
        lambda device: renderer.device_files(device)["nftables.conf"],
        unit_lans=("government", "voice-video"),
        centre_lans=("servers", "databases"),
        prefix="p-",
    )
    done = probe.run(command, made.request(STATE))
    print(f"{done['namespaces']} network namespaces in {done['seconds']:.0f} s")
    yield made, command
    probe.run(command, {"mode": "remove", "state": STATE})


@pytest.fixture(scope="module")
def probed(province):
    made, command = province
    flows = made.flows("https")
    services = made.fabric.network.zoning.services
    outcome = probe.probe(command, flows, made.places, services)
    units = {flow.source.split()[0] for flow in flows}
    print(
        f"{SITE} {EPOCH}: {len(units)} units, {outcome.allowed} allowed and {outcome.forbidden} forbidden flows probed "
        f"in {outcome.seconds:.0f} s, {outcome.again} of them twice"
    )
    return flows, outcome


def test_every_unit_of_the_province_is_there(province):
    made, _ = province
    units = load_record(SITE).at(EPOCH).units
    there = {endpoint.unit for endpoint in made.units}
    communes = {unit.code for unit in units if unit.level is Level.COMMUNE}
    assert communes <= there
    assert {u.code for u in units if u.level is Level.DISTRICT} <= there
    assert len(communes) == 151
    assert {device.role for device in made.routers} >= {RouterRole.CORE, RouterRole.DISTRICT}


def test_every_pair_of_lans_is_as_the_policy_has_it_in_both_families(probed):
    flows, outcome = probed
    assert outcome.wrong[:20] == ()
    assert outcome.allowed > 150 * 151
    assert outcome.forbidden > 150 * 151
    assert {flow.family for flow in flows} == {"ipv4", "ipv6"}


def test_video_reaches_every_unit_and_offices_reach_no_other_unit(probed):
    flows, outcome = probed
    assert outcome.wrong == ()
    between = [f for f in flows if f.source.split()[0] != f.target.split()[0]]
    video = [f for f in between if f.source.endswith("voice-video") and f.target.endswith("voice-video")]
    units = {f.source.split()[0] for f in video}
    assert len({(f.source, f.target, f.family) for f in video}) == len(units) * (len(units) - 1) * 2
    assert all(f.allowed for f in video)
    assert not any(
        f.allowed for f in between if f.source.endswith("government") and f.target.endswith("video")
    )
    offices = [f for f in between if f.source.endswith("government") and f.target.endswith("government")]
    assert offices
    assert not any(f.allowed for f in offices)


def test_a_router_whose_filter_lets_all_pass_is_found(province):
    """The probes can fail."""
    made, command = province
    unit = next(e.unit for e in made.units)
    spoiled = Province(
        made.fabric,
        lambda device: (
            made.filters(device)
            .replace("policy drop", "policy accept")
            .replace("counter drop", "counter accept")
        ),
        unit_lans=made.unit_lans,
        centre_lans=made.centre_lans,
        prefix="p-",
    )
    probe.run(command, spoiled.request(STATE))
    flows = [f for f in spoiled.flows("https") if f.source == f"{unit} government" and not f.allowed]
    outcome = probe.probe(command, flows, spoiled.places, made.fabric.network.zoning.services)
    assert len(outcome.wrong) > len(flows) / 2
