"""Command lines, configuration and certificates of the sim."""

from pathlib import Path

import pytest
import yaml

from infra.model.site import Role, SiteKind, load_site
from lab.sim import plan
from lab.sim.engine import SITE


@pytest.fixture
def wanted():
    ports = {name: 20000 + number for number, name in enumerate(plan.PORTS)}
    return plan.processes(load_site(SITE), plan.Layout(Path("/state")), ports, Path("/bin"), "python")


def test_the_site_is_of_kind_sim_and_uses_documentation_ranges_only():
    site = load_site(SITE)
    assert site.kind is SiteKind.SIM
    assert site.by_role(Role.WORKER)
    for machine in site.all_machines():
        for address in machine.addresses.values():
            assert str(address.ipv6).startswith("2001:db8:")
            assert address.ipv4 in site.pool.ipv4


def test_every_named_process_is_planned_once(wanted):
    assert tuple(wanted) == plan.NAMES
    assert all(process.name == name for name, process in wanted.items())


def test_nothing_listens_outside_loopback(wanted):
    for process in wanted.values():
        for flag in process.argv:
            if flag.startswith(("--bind-address=", "--advertise-address=")):
                assert flag.endswith("=::1")
            if flag.startswith("--listen-"):
                assert "https://[::1]:" in flag


def test_services_and_pods_are_dual_stack_with_ipv6_first(wanted):
    for name, flag in (
        ("kube-apiserver", "--service-cluster-ip-range="),
        ("kube-controller-manager", "--service-cluster-ip-range="),
        ("kube-controller-manager", "--cluster-cidr="),
    ):
        (value,) = [text.removeprefix(flag) for text in wanted[name].argv if text.startswith(flag)]
        first, second = value.split(",")
        assert ":" in first
        assert "." in second


def test_no_secret_is_on_a_command_line(wanted):
    for process in wanted.values():
        assert not any("token" in flag or "password" in flag for flag in process.argv)


def test_audit_never_records_bodies_and_does_not_miss_secrets():
    rules = plan.audit_policy()["rules"]
    assert {rule["level"] for rule in rules} <= {"None", "Metadata"}
    assert rules[-1] == {"level": "Metadata"}
    assert all("resources" not in rule or "secrets" not in str(rule) for rule in rules)


def test_a_node_has_both_families():
    machine = load_site(SITE).by_role(Role.WORKER)[0]
    addresses = plan.node(machine)["status"]["addresses"]
    assert [a["address"] for a in addresses if a["type"] == "InternalIP"] == list(machine.primary.pair())


def test_stages_play_nodes_pods_and_volumes():
    stages = list(yaml.safe_load_all(Path(plan.__file__).with_name("stages.yaml").read_text()))
    assert {stage["spec"]["resourceRef"]["kind"] for stage in stages} == {
        "Node",
        "Pod",
        "PersistentVolume",
        "PersistentVolumeClaim",
    }
