"""The way to a router by ansible-runner: the real playbook, role and agent, on a stand-in on this machine."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from infra.ansible import Failure, PlayError, play
from infra.errors import ToolError
from infra.providers.router.transport import AnsibleRouters, UnreachableError
from tests.unit.router import daemons

FRR = "hostname {{ core1 }} {% raw\n! 'quoted\" Quảng Bình\n"
NFT = "flush ruleset\ntable inet filter {\n}\n"


#: In place of ssh: what is to run on a router runs here, below a folder of the router's name. To `closing` nobody can
#: log in, and a change of `cut` cuts new connections.
SSH = """\
#!/bin/sh
arguments=$*
while :; do case $1 in -[oFlpi]) shift 2 ;; -*) shift ;; *) break ;; esac; done
export TINH_ROOT="FOLDER/$1" PATH="FOLDER/$1/bin:$PATH"
echo "$arguments" >> "$TINH_ROOT/connections"
case "$1 $arguments" in
  closing*) echo "Connection closed by 10.0.0.1 port 22" >&2; exit 255 ;;
  cut*ControlPath=none*) echo "ssh: connect to host cut port 22: Connection timed out" >&2; exit 255 ;;
esac
shift
exec sh -c "$*"
"""


@pytest.fixture
def routers(ssh, tmp_path, monkeypatch):
    environment = daemons.install(tmp_path / "router")
    for name in ("TINH_ROOT", "PATH"):
        monkeypatch.setenv(name, environment[name])
    return AnsibleRouters(ssh=ssh, log=tmp_path / "log", variables={"ansible_connection": "local"})


@pytest.fixture
def fleet(ssh, tmp_path):
    """Routers that are reached by a stand-in for ssh."""
    for host in ("core1", "core2", "invalid", "closing", "cut"):
        daemons.install(tmp_path / host)
    program = tmp_path / "ssh"
    program.write_text(SSH.replace("FOLDER", str(tmp_path)))
    program.chmod(0o755)
    return AnsibleRouters(ssh=ssh, log=tmp_path / "log", variables={"ansible_ssh_executable": str(program)})


@pytest.mark.slow
def test_routers_in_one_run_each_have_their_own_end(fleet, tmp_path, monkeypatch):
    runs = []
    monkeypatch.setattr("infra.ansible.play", lambda *a, **k: runs.append(k) or play(*a, **k))
    monkeypatch.setattr("infra.providers.router.batch.GATHER", 0.7)

    def apply(host):
        text = "bad\n" if host == "invalid" else f"hostname {host}\n"
        return fleet.apply(host, {"frr.conf": text}, force=[], seconds=2 if host == "cut" else 30)

    hosts = ("core1", "core2", "invalid", "closing", "cut", "refusing")
    with ThreadPoolExecutor(len(hosts)) as pool:
        done = {host: pool.submit(apply, host) for host in hosts}
    assert [run["forks"] for run in runs] == [5]
    for host in ("core1", "core2"):
        assert done[host].result().files == {"frr.conf": f"hostname {host}\n"}
        assert not (tmp_path / host / "var/lib/tinh/router/pending.json").exists()
        first, second = (tmp_path / host / "connections").read_text().splitlines()
        assert "ControlPath=none" not in first
        assert "ControlPath=none" in second, "it is confirmed over a connection of its own"
    errors = {host: str(done[host].exception()) for host in hosts if done[host].exception()}
    assert list(errors) == ["invalid", "closing", "cut", "refusing"]
    assert "router invalid: frr.conf is not valid, nothing was changed" in errors["invalid"]
    assert "router cut was not reached anew after the change" in errors["cut"]
    for host in ("closing", "refusing"):
        assert type(done[host].exception()) is UnreachableError
        assert f"router {host} does not answer; it was left alone" in errors[host]
    deadline = time.monotonic() + 20
    while (
        file := (tmp_path / "cut/etc/frr/frr.conf").read_text()
    ) != "! day 0\n" and time.monotonic() < deadline:
        time.sleep(0.1)
    assert file == "! day 0\n", "it has undone the change"


@pytest.mark.slow
def test_apply_confirm_and_read(routers, tmp_path):
    # From a thread, as the provider does: nothing is forked there, and no signal handler set.
    with ThreadPoolExecutor(1) as pool:
        texts = {"frr.conf": FRR, "nftables.conf": NFT}
        seen = pool.submit(routers.apply, "core1", texts, force=[], seconds=30).result()
        assert seen.files == texts
        assert seen.running["frr.conf"] == FRR
        assert not (tmp_path / "router/var/lib/tinh/router/pending.json").exists()
        assert (tmp_path / "router/etc/frr/frr.conf").read_text() == FRR

        assert pool.submit(routers.read, "core1", ["frr.conf", "dnsmasq.conf"]).result().files == {
            "frr.conf": FRR,
            "dnsmasq.conf": None,
        }
        failed = pool.submit(routers.apply, "core1", {"frr.conf": "bad\n"}, force=[], seconds=30)
        with pytest.raises(
            ToolError, match=r"router core1: frr.conf is not valid, nothing was changed:\n1:bad"
        ):
            failed.result()
    assert "Quảng" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("task", "message", "unreachable", "seconds", "error", "words"),
    [
        ("show", "ssh: connect to host a port 22: timed out", True, 0, UnreachableError, "does not answer"),
        ("show", "Timeout, server not responding", True, 0, UnreachableError, "was left alone"),
        ("apply", "ssh: connect to host a port 22: No route", True, 30, UnreachableError, "was left alone"),
        ("apply", "EOF on stream; last 100 lines received:\n", True, 30, UnreachableError, "was left alone"),
        ("apply", "Task failed: Connection timed out.", True, 30, UnreachableError, "was left alone"),
        ("apply", "SSH authentication is incorrect", True, 30, UnreachableError, "was left alone"),
        ("apply", "Read from remote host a: Connection timed out", True, 30, ToolError, "undoes itself within 30 s"),
        ("apply", "Timeout, server not responding", True, 30, ToolError, "undoes itself within 30 s"),
        ("confirm", "ssh: connect to host a port 22: timed out", True, 30, ToolError, "undoes itself within 30 s"),
        ("confirm", "the confirmation came too late", False, 30, ToolError, "came too late"),
        ("apply", "nothing was changed", False, 30, ToolError, "router core1: nothing was changed"),
    ],
)  # fmt: skip
def test_a_failure_says_what_it_means_for_the_router(
    routers, monkeypatch, task, message, unreachable, seconds, error, words
):
    def play(*_, **__):
        raise PlayError(
            "all", [Failure("core1", f"router_config : {task}", message, unreachable)], where="", fix=""
        )

    monkeypatch.setattr("infra.ansible.play", play)
    with pytest.raises(ToolError, match=words) as caught:
        if seconds:
            routers.apply("core1", {"frr.conf": FRR}, force=[], seconds=seconds)
        else:
            routers.read("core1", ["frr.conf"])
    assert type(caught.value) is error


def test_a_run_without_a_named_failure_is_an_error_too(routers, monkeypatch):
    def play(*_, **__):
        raise PlayError("ansible ended with failed", [], where="playbooks", fix="look")

    monkeypatch.setattr("infra.ansible.play", play)
    with pytest.raises(ToolError, match="router core1: ansible ended with failed"):
        routers.read("core1", ["frr.conf"])
