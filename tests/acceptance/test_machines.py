"""Machines after day 0, seen over SSH."""

import pytest

from infra.model.site import Role
from infra.network.of_site import fabric_of


def test_every_machine_is_reached_over_ssh_with_a_known_host_key(lab):
    for machine in lab.site.all_machines():
        assert lab.machine(machine.name).check_output("hostname") == machine.name


def test_no_unit_has_failed_on_any_machine(lab):
    failed = {
        m.name: lab.machine(m.name).check_output("systemctl --failed --no-legend --plain | cut -d' ' -f1")
        for m in lab.site.all_machines()
    }
    assert {name: units for name, units in failed.items() if units} == {}


def test_passwords_are_refused_by_every_ssh_server(lab):
    for machine in lab.site.all_machines():
        settings = lab.machine(machine.name).check_output("sshd -T").splitlines()
        assert "passwordauthentication no" in settings


def test_forwarding_is_on_where_packets_pass_and_off_elsewhere(lab):
    for machine in lab.site.all_machines():
        host = lab.machine(machine.name)
        passes = machine.role in (Role.ROUTER, Role.CONTROL_PLANE, Role.WORKER)
        for key in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            assert host.sysctl(key) == int(passes), (machine.name, key)


@pytest.mark.parametrize("family", ["v4", "v6"])
def test_exactly_one_router_is_master_for_each_lan(lab, family):
    states = []
    for router in lab.machines(Role.ROUTER):
        lines = router.check_output("vtysh -c 'show vrrp'").splitlines()
        states.append([line.split()[-1] for line in lines if f"Status ({family})" in line])
    lans = fabric_of(lab.site.name).by_name["core-dc-1"].lans
    assert all(len(state) == len(lans) for state in states)
    for segment in zip(*states, strict=True):
        assert sorted(segment) == ["Backup", "Master"]


def test_the_registry_serves_over_tls_of_the_sites_ca_only(lab):
    node = lab.machine("node1")
    assert node.run("curl -sf https://registry1:5000/v2/").rc == 0
    assert node.run("curl -sf --capath /nowhere --cacert /dev/null https://registry1:5000/v2/").rc != 0
    assert node.run("curl -sf http://registry1:5000/v2/").rc != 0
