import copy

import pytest
import yaml

from infra import paths
from infra.errors import TinhError
from infra.model.net import DualPrefix
from infra.model.site import Role, Site, load_site, rebase
from tests.conftest import set_at

RAW = yaml.safe_load((paths.SITES / "lab" / "site.yaml").read_text())


def _load(tmp_path, change):
    data = copy.deepcopy(RAW) | {"kind": "datacentre"}
    change(data)
    folder = tmp_path / "lab"
    folder.mkdir()
    (folder / "site.yaml").write_text(yaml.safe_dump(data))
    return load_site("lab", root=tmp_path)


BAD = [
    (set_at(["colour"], "red"), "colour"),
    (set_at(["kind"], "cloud"), "kind"),
    (set_at(["cluster", "version"], "latest"), "cluster.version"),
    (set_at(["segments", "servers", "prefix", "ipv4"], "10.78.0.0/24"), "outside the pool"),
    (set_at(["segments", "servers", "prefix"], {"ipv6": "fd77::/64"}), "segments.servers.prefix.ipv4"),
    (set_at(["segments", "servers", "prefix"], {"ipv4": "10.77.0.0/24"}), "segments.servers.prefix.ipv6"),
    (set_at(["machines", 0, "interfaces"], {"dmz": 1}), "'dmz'"),
    (set_at(["machines", 1, "interfaces"], {"servers": 252}), "both core1 and registry1"),
    (set_at(["machines", 0, "count"], 0), "machines.0.count"),
    (set_at(["front_door", "gateway", "ipv4"], "10.77.0.9"), "gateway is not inside the pool"),
    (set_at(["front_door", "dns"], {"ipv6": "fd77::c8", "ipv4": "10.77.0.200"}), "same address"),
    (set_at(["front_door", "pool", "ipv4"], "10.77.0.193/27"), "front_door.pool.ipv4"),
    (set_at(["front_door", "pool", "ipv4"], "10.77.0.128/25"), "holds 10.77.0.252, the address of core1"),
    (set_at(["segments", "servers", "gateway"], 222), "holds fd77::de, the address of the gateway of servers"),
    (set_at(["cluster", "api", "ipv4"], "10.77.0.210"), "holds 10.77.0.210, the address of cluster.api"),
    (set_at(["segments", "servers", "prefix", "ipv4"], "10.77.1.0/24"), "is in no segment"),
    (lambda data: data["front_door"].pop("zone"), "front_door.zone"),
    (set_at(["management"], [{"ipv6": "fd77::1/128"}]), "management.0.ipv4"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "named"), BAD, ids=[named for _, named in BAD])
def test_bad_site_files_are_refused_with_file_path_and_value(tmp_path, change, named):
    with pytest.raises(TinhError) as error:
        _load(tmp_path, change)
    assert named in error.value.what
    assert error.value.where.endswith("lab/site.yaml")


def test_broken_yaml_is_refused_with_line_and_column(tmp_path):
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "site.yaml").write_text("name: lab\nkind: [lab\n")
    with pytest.raises(TinhError) as error:
        load_site("lab", root=tmp_path)
    assert error.value.where.endswith("site.yaml:3:1")


def test_an_unknown_site_names_the_known_ones():
    with pytest.raises(TinhError) as error:
        load_site("hanoi")
    assert "lab" in error.value.fix


def test_a_site_file_that_names_another_site_is_refused(tmp_path):
    with pytest.raises(TinhError, match="says name"):
        _load(tmp_path, set_at(["name"], "other"))


def test_another_pool_moves_every_address_and_nothing_else():
    old = DualPrefix(**RAW["pool"])
    new = DualPrefix(ipv6="fd99:1::/48", ipv4="10.99.0.0/16")
    moved = Site.model_validate(rebase(RAW, old, new))
    before = Site.model_validate(RAW)
    assert str(moved.front_door.gateway.ipv6) == "fd99:1::c8"
    assert str(moved.front_door.gateway.ipv4) == "10.99.0.200"
    assert [prefix.pair() for prefix in moved.management] == [
        ("fd99:1::1/128", "10.99.0.1/32"),
        ("fd99:1:0:10::/64", "10.99.16.0/22"),
    ]
    assert moved.segments["console"].prefix == moved.management[1]
    assert moved.front_door.pool.pair() == ("fd99:1::c0/123", "10.99.0.192/27")
    assert moved.cluster.pods == before.cluster.pods  # inside the cluster, not of the pool
    assert moved.cluster.version == before.cluster.version
    assert Site.model_validate(rebase(moved.model_dump(mode="json"), new, old)) == before


def test_three_control_planes_get_the_next_addresses():
    site = Site.model_validate(RAW).resize({Role.CONTROL_PLANE: 3})
    assert [str(m.primary.ipv4) for m in site.by_role(Role.CONTROL_PLANE)] == [
        "10.77.0.11",
        "10.77.0.12",
        "10.77.0.13",
    ]


def test_a_segment_without_a_gateway_has_no_virtual_address():
    site = Site.model_validate(RAW)
    assert site.segments["console"].virtual is None
    assert str(site.segments["servers"].virtual.ipv4) == "10.77.0.254"


@pytest.mark.parametrize("name", ["lab", "quang-binh", "sim"])
def test_the_front_door_is_a_part_of_a_segment_in_a_zone_of_its_own(name, state):
    site = load_site(name)
    segment = site.segments[site.front_segment]
    assert (site.front_segment, site.front_door.zone, segment.zone) == ("servers", "dmz", "internal_servers")
    assert site.front_door.pool.within(segment.prefix)
    assert len(site.front_door.pool.text()) == 2
    # the segment's broadcast address is nobody's
    assert segment.prefix.ipv4[-1] not in site.front_door.pool.ipv4


def test_machines_do_not_grow_into_the_front_door():
    data = copy.deepcopy(RAW)
    next(group for group in data["machines"] if group["name"] == "node")["interfaces"] = {"servers": 190}
    with pytest.raises(ValueError, match=r"the address of node3"):
        Site.model_validate(data).resize({Role.WORKER: 3})
