"""A second lab with three control planes and three workers, to which bad things happen while it is made."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from infra import paths
from lab import podman
from lab import up as lab_up
from lab.toolchain import bin_dir
from tests.acceptance.conftest import SITE

INSTANCE = "faults"
pytestmark = pytest.mark.long(minutes=18)


class Faulty:
    """The second lab: its command line runs as a process that can be watched and interrupted."""

    def __init__(self, other_kubeconfig):
        self.other_kubeconfig = other_kubeconfig
        self.env = os.environ | {"TINH_INSTANCE": INSTANCE, "PYTHONUNBUFFERED": "1"}

    def start(self, *arguments):
        command = [sys.executable, "-m", "cli.main", *arguments]
        return subprocess.Popen(
            command,
            cwd=paths.REPO,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments):
        process = self.start(*arguments)
        text, _ = process.communicate(timeout=1500)
        return process.returncode, text

    def kubectl(self, *arguments, seconds=30):
        command = [bin_dir() / "kubectl", "--kubeconfig", paths.state(SITE).kubeconfig, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)


def machine(name):
    return f"tinh-{INSTANCE}-{name}"


def read_until(process, wanted):
    """Read a process's output until a line contains a text; return what was read."""
    seen = []
    for line in process.stdout:
        seen.append(line)
        if wanted in line:
            return seen
    raise AssertionError(f"ended without {wanted!r}: {''.join(seen)[-3000:]}")


def wait_for(condition, seconds, what):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return time.monotonic()
        time.sleep(0.5)
    raise AssertionError(f"not within {seconds} s: {what}")


@pytest.fixture(scope="module")
def faulty(lab):
    other = paths.state(SITE).kubeconfig.read_bytes()
    patch = pytest.MonkeyPatch()
    patch.setenv("TINH_INSTANCE", INSTANCE)
    try:
        yield Faulty(other)
    finally:
        lab_up.down(SITE, lambda _: None)
        patch.undo()


def test_a_machine_killed_during_kubeadm_is_named_and_the_next_run_completes(faulty):
    process = faulty.start("lab", "up", "--control-planes", "3", "--workers", "3", "--no-outside")
    seen = read_until(process, "kubeadm init")
    etcd = ("podman", "exec", machine("cp1"), "test", "-e", "/etc/kubernetes/manifests/etcd.yaml")
    wait_for(lambda: subprocess.run(etcd, check=False).returncode == 0, 120, "kubeadm at work")
    podman.run("kill", machine("cp1"))
    text = "".join(seen) + process.communicate(timeout=300)[0]
    assert process.returncode == 5, text[-3000:]
    assert "cp1: " in text, text[-3000:]

    code, text = faulty.run("lab", "up")
    assert code == 0, text[-3000:]
    nodes = json.loads(faulty.kubectl("get", "nodes", "-o", "json").stdout)["items"]
    ready = [
        node["metadata"]["name"]
        for node in nodes
        if any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"]["conditions"])
    ]
    assert sorted(ready) == ["cp1", "cp2", "cp3", "node1", "node2", "node3"]


def test_the_api_address_moves_when_its_control_plane_is_gone(faulty):
    from infra.model.site import load_site

    address = str(load_site(SITE).cluster.api.ipv6)

    def holds(name):
        shown = subprocess.run(
            ["podman", "exec", machine(name), "ip", "-6", "-o", "address"], capture_output=True, check=True
        )
        return f" {address}/".encode() in shown.stdout

    (holder,) = [name for name in ("cp1", "cp2", "cp3") if holds(name)]
    podman.run("kill", machine(holder))
    killed = time.monotonic()
    answers = wait_for(
        lambda: faulty.kubectl("get", "--raw=/readyz", "--request-timeout=2s").returncode == 0,
        60,
        "the API behind the virtual address",
    )
    print(f"API address answered again after {answers - killed:.1f} s")
    code, text = faulty.run("lab", "up")
    assert code == 0, text[-3000:]


def test_interrupted_twice_in_the_middle_up_leaves_no_lock_and_the_next_run_completes(faulty):
    process = faulty.start("up", "--yes", "--layer", "base")
    seen = read_until(process, "base.lab  + ")
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    process.send_signal(signal.SIGINT)  # again, during the clean-up of the first
    text = "".join(seen) + process.communicate(timeout=300)[0]
    assert process.returncode == 130, text[-3000:]
    state = paths.state(SITE)
    assert list(state.pulumi.rglob("locks/**/*.json")) == []
    assert subprocess.run(["pgrep", "-f", f"pulumi.*{state.pulumi}"], check=False).returncode == 1

    code, text = faulty.run("up", "--yes", "--layer", "base")
    assert code == 0, text[-3000:]
    code, text = faulty.run("diff", "--layer", "base")
    assert code == 0, text[-3000:]


def test_the_first_labs_cluster_behind_the_kubeconfig_is_refused(faulty):
    state = paths.state(SITE)
    own = state.kubeconfig.read_bytes()
    state.kubeconfig.write_bytes(faulty.other_kubeconfig)
    try:
        code, text = faulty.run("up", "--yes", "--layer", "base")
    finally:
        state.kubeconfig.write_bytes(own)
    assert code == 6, text[-3000:]
    assert "was deployed to cluster" in text
