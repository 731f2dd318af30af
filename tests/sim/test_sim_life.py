"""Up, resume, heal, side by side and down."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys

import pytest
import requests
from click.testing import CliRunner

from infra.errors import LockedError, ToolError
from lab.sim import engine, plan
from lab.sim.api import Api
from lab.sim.engine import SIMULATED, Sim
from lab.sim.processes import start_time

pytestmark = pytest.mark.sim


def pids(sim):
    return {name: sim.processes.pid(name) for name in plan.NAMES}


def files(sim):
    return {path: path.stat().st_mtime_ns for path in sim.layout.pki.rglob("*") if path.is_file()}


def test_up_twice_changes_nothing(sim, api):
    before, certificates, config = pids(sim), files(sim), sim.state.kubeconfig.read_text()
    uid = json.loads(sim.state.cluster.read_text())
    assert all(before.values())
    sim.up()
    assert pids(sim) == before
    assert files(sim) == certificates
    assert sim.state.kubeconfig.read_text() == config
    assert json.loads(sim.state.cluster.read_text()) == uid
    assert uid["uid"] == api.call("GET", "/api/v1/namespaces/kube-system")["metadata"]["uid"]


@pytest.mark.parametrize("victim", plan.NAMES)
def test_a_killed_process_is_healed_and_the_others_live_on(sim, api, victim):
    api.call("POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"name": f"keep-{victim}"}})
    before = pids(sim)
    os.kill(before[victim], signal.SIGKILL)
    while start_time(before[victim]) is not None:
        pass
    assert not sim.status().running
    assert sim.up().running
    after = pids(sim)
    assert {name for name in plan.NAMES if after[name] != before[name]} == {victim}
    api.call("GET", f"/api/v1/namespaces/default/configmaps/keep-{victim}")  # nothing was lost


def test_all_killed_at_once_as_by_a_restart_of_the_machine(sim, api):
    api.call("POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"name": "keep-all"}})
    before = pids(sim)
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    while any(start_time(pid) is not None for pid in before.values()):
        pass
    assert sim.up().running
    api.call("GET", "/api/v1/namespaces/default/configmaps/keep-all")


def test_the_number_of_nodes_follows_and_is_remembered(sim):
    assert sim.up(4).ready_nodes == 4
    assert sim.up().ready_nodes == 4
    assert sim.up(3).nodes == 3


def test_one_command_at_a_time(sim):
    folder = os.open(sim.state.root, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        with pytest.raises(LockedError):
            sim.up()
    finally:
        os.close(folder)


def test_status_says_what_is_simulated(sim):
    from cli.sim import command

    result = CliRunner().invoke(command, ["status"])
    assert result.exit_code == 0
    assert SIMULATED in result.output
    assert "3 of 3 nodes ready" in result.output


def test_side_by_side_and_down_leaves_nothing(sim, api, tmp_path, monkeypatch):
    monkeypatch.setenv("TINH_STATE", str(tmp_path))
    monkeypatch.setenv("TINH_INSTANCE", "second")
    second = Sim()
    foreign = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        second.up(1)
        assert Api(second.state.kubeconfig).url != api.url
        assert sim.status().running
        ports = json.loads(second.layout.ports.read_text())
        running = [pid for pid in pids(second).values() if pid]
        assert len(running) == len(plan.NAMES)
        second.state.passphrase.write_text("x")
        second.state.pulumi.mkdir()
        record = {"pid": foreign.pid, "started": 1, "argv": []}
        (second.layout.run / "foreign.json").write_text(json.dumps(record))

        second.down(purge=False)

        assert foreign.poll() is None
        assert [pid for pid in running if start_time(pid) is not None] == []
        for port in ports.values():
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("::1", port), timeout=1)
        left = {path.name for path in second.state.root.iterdir()}
        assert left == {"passphrase", "pki", "pulumi", "timings.json", "locks"}
        second.down(purge=False)  # again: nothing to do, no error
        second.down(purge=True)
        assert not second.state.root.exists()
        assert sim.status().running
        assert requests.get(f"{api.url}/livez", verify=str(sim.layout.pki / "ca.crt"), timeout=5).ok
    finally:
        foreign.kill()
        foreign.wait()
        if second.layout.root.exists():
            second.down(purge=True)


def test_a_process_that_ends_at_once_is_explained(tmp_path, monkeypatch):
    monkeypatch.setenv("TINH_STATE", str(tmp_path))
    monkeypatch.setenv("TINH_INSTANCE", "broken")
    real = plan.processes

    def broken(*args):
        wanted = real(*args)
        wanted["kube-apiserver"].argv.append("--no-such-flag")
        return wanted

    monkeypatch.setattr(engine.plan, "processes", broken)
    own = Sim()
    try:
        with pytest.raises(ToolError, match="no-such-flag"):
            own.up()
    finally:
        own.down(purge=True)
