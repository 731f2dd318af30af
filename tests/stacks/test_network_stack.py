"""The layer `network` of the lab: one resource for each router, with all of its files."""

import pytest

from infra.errors import TinhError
from infra.model.site import load_site
from infra.network.of_site import fabric_of
from infra.stackinfo import parse_stack
from stacks.layers import deploy, layers_of


def test_every_router_is_declared_with_its_files(declare):
    engine = declare("network.lab")
    routers = [item for item in engine.resources if item.type == "tinh:network:RouterConfig"]
    assert {item.name for item in routers} == {device.name for device in fabric_of("lab").devices}
    hosts = {item.name: item.inputs["host"] for item in routers}
    assert (hosts["core-dc-1"], hosts["core-dc-2"], hosts["c-99801"]) == ("core1", "core2", "c-99801")
    for item in routers:
        assert {"frr.conf", "daemons", "nftables.conf", "sysctl.conf"} <= set(item.inputs["files"])
    assert engine.exports["epoch"] == "2023"
    assert engine.exports["routers"] == len(routers)


def test_no_kubernetes_object_and_no_provider_is_declared(declare):
    engine = declare("network.lab")
    assert engine.objects() == []
    assert {item.type for item in engine.resources} == {"tinh:network:RouterConfig"}


def test_a_site_without_a_network_has_no_such_layer(state):
    assert layers_of("lab") == ("network", "base", "data", "platforms")
    assert layers_of("sim") == ("base", "data", "platforms")
    with pytest.raises(TinhError, match=r"network\.sim.*not implemented"):
        deploy(parse_stack("network.sim"), load_site("sim"))
