"""What network.yaml and province.yaml may not say, and what is derived from them."""

import copy

import pytest
import yaml

from infra import paths
from infra.errors import TinhError
from infra.model.network import RouterRole
from infra.model.province import Profile, load_province, load_record, provinces
from tests.conftest import set_at

FILES = ("province.yaml", "units.csv", "agencies.csv", "network.yaml")
FOLDER = paths.SITES / "lab"
RAW = yaml.safe_load((FOLDER / "network.yaml").read_text())
FACTS = yaml.safe_load((FOLDER / "province.yaml").read_text())


def _load(tmp_path, network=None, facts=None, epoch=None):
    folder = tmp_path / "lab"
    folder.mkdir()
    for name in FILES:
        (folder / name).write_text((FOLDER / name).read_text("utf-8"), "utf-8")
    for name, data in (("network.yaml", network), ("province.yaml", facts)):
        if data is not None:
            (folder / name).write_text(yaml.safe_dump(data, allow_unicode=True, sort_keys=False), "utf-8")
    return load_province("lab", epoch, root=tmp_path)


def _rule(**fields):
    rule = {"from": "internal", "to": "dmz", "service": "ssh", "reason": "test"} | fields
    return lambda data: data["zoning"]["rules"].append(rule)


BAD = [
    (set_at(["pools", "party", "prefix", "ipv4"], "10.77.65.0/24"), "pools.party 10.77.65.0/24 overlaps pools.state"),
    (set_at(["pools", "party", "prefix", "ipv6"], "fd77:0:0:1800::/53"), "overlaps pools.state fd77:0:0:1000::/52"),
    (set_at(["pools", "party", "prefix", "ipv4"], "10.78.0.0/24"), "10.78.0.0/24 is outside the registered allocation"),
    (set_at(["pools", "party", "prefix", "ipv6"], "2001:db8::/48"), "2001:db8::/48 is outside the registered"),
    (set_at(["pools", "party", "prefix"], {"ipv4": "10.77.68.0/23"}), "pools.party.prefix.ipv6: Field required"),
    (set_at(["pools", "party", "prefix"], {"ipv6": "fd77:0:0:2000::/52"}), "pools.party.prefix.ipv4: Field required"),
    (set_at(["pools", "party", "prefix", "ipv4"], "10.77.68.1/23"), "pools.party.prefix.ipv4: Input is not a valid"),
    (set_at(["pools", "party", "domain"], "moon"), "pools.party.domain names unknown domain 'moon'"),
    (set_at(["purposes", "citizens", "vlan"], 20), "purposes.citizens.vlan 20 is also that of government"),
    (set_at(["purposes", "citizens", "vlan"], 4095), "purposes.citizens.vlan"),
    (set_at(["purposes", "citizens", "vlan"], None), "LANs and links have one"),
    (set_at(["purposes", "citizens", "zone"], "moon"), "purposes.citizens.zone names unknown zone 'moon'"),
    (set_at(["purposes", "citizens", "domain"], "moon"), "purposes.citizens.domain names unknown domain 'moon'"),
    (set_at(["purposes", "citizens", "zone"], "dmz"), "purposes.citizens.hosts.district: zone 'dmz' is of the site"),
    (set_at(["purposes", "servers", "hosts", "agency"], 5), "purposes.servers.hosts.agency: zone 'internal_servers'"),
    (set_at(["purposes", "citizens", "hosts", "commune"], 0), "commune: 0 hosts"),
    (set_at(["purposes", "citizens", "hosts", "hamlet"], 5), "purposes.citizens.hosts.hamlet"),
    (set_at(["purposes", "link-a", "domain"], "state"), "domains.state has LANs and loopbacks or links"),
    (set_at(["domains", "state", "leaks"], ["moon"]), "domains.state.leaks names unknown domain 'moon'"),
    (set_at(["domains", "state", "ipv6_block"], 72), "holds no /64"),
    (lambda data: data["pools"].pop("wifi"), "domains.wifi has purposes and no pool"),
    (_rule(**{"from": "moon"}), "names unknown zone 'moon'"),
    (_rule(to="moon"), "names unknown zone 'moon'"),
    (_rule(service="gopher"), "names unknown service 'gopher'"),
    (_rule(**{"from": "dmz", "to": "database_servers"}), "opens 'dmz' to 'database_servers' for 'ssh'"),
    (_rule(service="https"), "repeats internal -> dmz https"),
    (_rule(hub="maybe"), "hub: Input should be a valid boolean"),
    (lambda data: data["zoning"]["zones"].pop("wireless"), "annex III are missing: wireless"),
    (set_at(["zoning", "services", "ssh", "ports"], []), "tcp and udp need ports"),
    (set_at(["zoning", "services", "ssh", "ports"], [70000]), "70000 is not 1-65535"),
    (lambda data: data["roles"].pop("district"), "routers.2.role district has no ports"),
    (set_at(["circuits", 0, "link"], "wifi"), "circuits.0.link 'wifi' is no purpose of kind link"),
    (set_at(["circuits", 0, "unit"], "dc"), "give either level or unit"),
    (set_at(["colour"], "red"), "colour"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "named"), BAD, ids=[named for _, named in BAD])
def test_bad_networks_are_refused_with_file_path_and_value(tmp_path, change, named):
    data = copy.deepcopy(RAW)
    change(data)
    with pytest.raises(TinhError) as error:
        _load(tmp_path, data)
    assert named in error.value.what
    assert error.value.where.endswith("lab/network.yaml")
    assert error.value.fix


BAD_DEVICES = [
    (set_at(["circuits", 3, "unit"], "moon"), "unknown unit code 'moon'", "circuits.3.unit"),
    (
        set_at(["circuits", 4, "route"], "dc-link-a"),
        "'dc-link-a' carries both dc link-a and dc link-b",
        "circuits",
    ),
    (set_at(["circuits", 1, "level"], "commune"), "", ""),  # no second circuit: a rule for the same link
    (set_at(["circuits", 2, "level"], "commune"), "has 2 circuits and 1 WAN ports", "circuits"),
]


@pytest.mark.parametrize(("change", "named", "path"), BAD_DEVICES, ids=[named for _, named, _ in BAD_DEVICES])
def test_bad_circuits_are_refused(tmp_path, change, named, path):
    data = copy.deepcopy(RAW)
    change(data)
    if not named:
        assert _load(tmp_path, data)
        return
    with pytest.raises(TinhError) as error:
        _load(tmp_path, data)
    assert named in error.value.what
    assert error.value.where.endswith(f"lab/network.yaml: {path}")


BAD_FACTS = [
    (set_at(["current"], "1999"), "current names unknown epoch '1999'"),
    (set_at(["epochs", "2023", "date"], "2026-01-01"), "epochs are not in the order"),
    (set_at(["epochs", "2023", "profile"], "cloud"), "epochs.2023.profile"),
    (set_at(["epochs", "2023", "profile"], "merged_province"), "only 0 province(s) went into '98'"),
    (set_at(["epochs", "2023", "root"], "97"), "unknown unit code '97'"),
    (
        set_at(["facts"], {"servers": {"value": 1, "title": "t", "source": "moon"}}),
        "names unknown source 'moon'",
    ),
    (set_at(["sources"], {"other": "x"}), "names unknown source 'invented'"),
    (set_at(["name"], "other"), "says name 'other'"),
]


@pytest.mark.parametrize(("change", "named"), BAD_FACTS, ids=[named for _, named in BAD_FACTS])
def test_bad_facts_are_refused(tmp_path, change, named):
    data = copy.deepcopy(FACTS)
    change(data)
    with pytest.raises(TinhError) as error:
        _load(tmp_path, facts=data)
    assert named in error.value.what
    assert error.value.where and error.value.fix


def test_unknown_epoch_and_a_site_without_province(state):
    with pytest.raises(TinhError, match="unknown epoch '1999'") as error:
        load_province("lab", "1999")
    assert "2023" in error.value.fix
    with pytest.raises(TinhError, match="site 'sim' has no province") as error:
        load_province("sim")
    assert ", ".join(provinces()) in error.value.fix


def test_the_profiles_decide_whether_there_are_sites_of_its_own(tmp_path):
    data = copy.deepcopy(FACTS)
    data["epochs"]["2023"]["profile"] = "national_tenant"
    province = _load(tmp_path, facts=data)
    assert province.profile is Profile.TENANT
    assert "dc" not in province.by_code
    assert not any(router.role is RouterRole.CORE for router in province.routers())


def test_routers_and_circuits_come_from_the_rules(state):
    province = load_province("lab")
    assert [router.name for router in province.routers()] == [
        "tslcd-gateway-98-1", "tslcd-gateway-98-2", "district-998",
        "commune-2-99801", "commune-2-99802", "commune-2-99803", "commune-2-99804", "core-dc-1", "core-dc-2",
        "commune-2-so-hai", "commune-2-so-mot",
    ]  # fmt: skip
    routes = {(circuit.unit, circuit.link): circuit.route for circuit in province.circuits()}
    assert routes["99801", "link-a"] == "99801-link-a"
    assert ("99801", "link-b") not in routes
    assert routes["dc", "link-a"] != routes["dc", "link-b"]


def test_the_matrix_is_closed_but_for_the_rules(state):
    zoning = load_province("quang-binh").network.zoning
    matrix = zoning.matrix()
    assert len(matrix) == len(zoning.zones) * (len(zoning.zones) - 1)
    assert matrix["internal_servers", "database_servers"] == ["postgresql"]
    assert matrix["dmz", "database_servers"] == []
    assert matrix["border", "internal"] == []


@pytest.mark.parametrize("site", provinces())
def test_the_province_does_not_lie_on_the_machines_segments(site, state):
    machines = yaml.safe_load((paths.SITES / site / "site.yaml").read_text())["segments"].values()
    for pool in load_record(site).network.pools.values():
        for segment in machines:
            for family in ("ipv4", "ipv6"):
                net = type(getattr(pool.prefix, family))(segment["prefix"][family])
                assert not net.overlaps(getattr(pool.prefix, family))


def test_a_lab_that_moved_takes_its_province_along(state):
    (state / "lab").mkdir(parents=True)
    (state / "lab" / "lab.json").write_text('{"pool": {"ipv6": "fd78::/48", "ipv4": "10.78.0.0/16"}}')
    pool = load_record("lab").network.pools["state"].prefix
    assert pool.pair() == ("fd78:0:0:1000::/52", "10.78.64.0/22")
