"""Own processes are recognised, foreign ones are never touched."""

import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from lab.sim.processes import Process, Processes, free, pick_ports, start_time


@pytest.fixture
def processes(tmp_path):
    own = Processes(tmp_path / "run", tmp_path / "logs")
    yield own
    own.stop(*own.known())


SLEEP = Process("sleeper", [sys.executable, "-c", "import time; print('hello', flush=True); time.sleep(60)"])


def test_start_is_idempotent_and_stop_ends(processes):
    assert processes.start(SLEEP)
    pid = processes.pid("sleeper")
    assert pid is not None
    assert not processes.start(SLEEP)
    assert processes.pid("sleeper") == pid
    processes.stop("sleeper")
    assert start_time(pid) is None
    assert processes.known() == []


def test_a_changed_command_line_restarts(processes):
    processes.start(SLEEP)
    pid = processes.pid("sleeper")
    assert processes.start(Process("sleeper", [*SLEEP.argv, "changed"]))
    assert processes.pid("sleeper") != pid
    assert start_time(pid) is None


def test_a_killed_process_counts_as_gone(processes):
    processes.start(SLEEP)
    os.kill(processes.pid("sleeper"), signal.SIGKILL)
    while start_time(json.loads((processes.run / "sleeper.json").read_text())["pid"]) is not None:
        pass
    assert processes.pid("sleeper") is None
    assert processes.start(SLEEP)


def test_a_foreign_process_in_a_pid_file_survives_stop(processes):
    foreign = subprocess.Popen(SLEEP.argv, stdout=subprocess.DEVNULL)
    try:
        processes.run.mkdir()
        record = {"pid": foreign.pid, "started": start_time(foreign.pid) - 1, "argv": SLEEP.argv}
        (processes.run / "sleeper.json").write_text(json.dumps(record))
        assert processes.pid("sleeper") is None
        processes.stop("sleeper")
        assert foreign.poll() is None
        assert processes.known() == []
    finally:
        foreign.kill()
        foreign.wait()


def test_a_process_that_ignores_the_polite_signal_is_killed(processes, monkeypatch):
    monkeypatch.setattr("lab.sim.processes.GRACE", 0.3)
    script = (
        "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    processes.start(Process("deaf", [sys.executable, "-c", script]))
    pid = processes.pid("deaf")
    while "deaf" not in processes.tail("deaf"):
        pass
    processes.stop("deaf")
    assert start_time(pid) is None


def test_children_inherit_nothing_of_the_caller(processes, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid")
    script = "import os; print(sorted(os.environ), flush=True)"
    processes.start(Process("env", [sys.executable, "-c", script]))
    while not processes.tail("env"):
        pass
    assert "HTTPS_PROXY" not in processes.tail("env")
    assert "PATH" in processes.tail("env")


def test_ports_stay_unless_somebody_else_listens():
    owners = {"a": "a", "b": "b"}
    ports = pick_ports(owners, {}, set())
    assert len(set(ports.values())) == 2
    assert pick_ports(owners, ports, set()) == ports
    with socket.socket(socket.AF_INET) as taken:
        taken.bind(("127.0.0.1", ports["a"]))
        taken.listen()
        assert not free(ports["a"])
        assert pick_ports(owners, ports, set())["a"] != ports["a"]
        assert pick_ports(owners, ports, {"a"}) == ports  # our own process is the one that listens
