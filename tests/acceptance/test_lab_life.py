"""A second lab beside the first: made, refused where it is foreign, removed without a trace."""

import subprocess

import pytest

from infra import paths
from infra.errors import RefusedError
from infra.model.site import load_site
from lab import podman, topology
from lab import up as lab_up
from lab.toolchain import artifact

pytestmark = pytest.mark.usefixtures("lab")


def _host():
    """What a lab could leave behind on the host."""

    def lines(*command):
        return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines())

    return {
        "containers": lines("podman", "ps", "-a", "--format", "{{.Names}}"),
        "networks": lines("podman", "network", "ls", "--format", "{{.Name}}"),
        "volumes": lines("podman", "volume", "ls", "--format", "{{.Name}}"),
        "bridges": {line.split()[0] for line in lines("ip", "-br", "link", "show", "type", "bridge")},
        "routes": {
            line.split(" metric")[0] for line in lines("ip", "-4", "route") | lines("ip", "-6", "route")
        },
        "mounts": {line.split()[1] for line in lines("cat", "/proc/mounts") if "containers" in line},
        "rules": lines("iptables", "-S") | lines("iptables", "-t", "nat", "-S") | lines("ip6tables", "-S"),
    }


@pytest.fixture
def second(monkeypatch):
    monkeypatch.setenv("TINH_INSTANCE", "second")
    yield
    lab_up.down("lab", lambda _: None)


def test_two_labs_run_side_by_side_and_the_second_leaves_nothing(lab, second):
    before = _host()
    site = lab_up.settle("lab")
    assert not site.pool.ipv4.overlaps(lab.site.pool.ipv4)
    assert not site.pool.ipv6.overlaps(lab.site.pool.ipv6)
    lab_up.make_keys(site)
    lab_up.start_machines(site, artifact("rootfs-machine"), print)
    while_up = _host()
    assert len(while_up["containers"] - before["containers"]) == len(site.all_machines())
    lab_up.start_machines(
        site, artifact("rootfs-machine"), lambda text: pytest.fail(f"not idempotent: {text}")
    )
    lab_up.down("lab", print)
    after = _host()
    assert {k: after[k] - before[k] for k in after} == {k: set() for k in after}
    assert {k: before[k] - after[k] for k in after} == {k: set() for k in after}


def test_a_network_that_the_lab_did_not_make_is_refused_and_stays(second):
    site = load_site("lab")
    name = topology.networks(site, paths.instance())[0].name
    podman.run("network", "create", "--internal", name)
    try:
        with pytest.raises(RefusedError, match="was not made by this lab"):
            lab_up.start_machines(lab_up.settle("lab"), artifact("rootfs-machine"), print)
        assert podman.inspect("network", name)
    finally:
        podman.run("network", "rm", name)
