"""Calls that come together share a run, and each has its own result."""

from __future__ import annotations

import base64
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from infra.ansible import Failure, PlayError, Recap
from infra.errors import ToolError
from infra.providers.router import transport
from infra.providers.router.transport import AnsibleRouters, Observed, UnreachableError

TEN = [f"r{n}" for n in range(10)]
FRR = {"frr.conf": "hostname a\n"}


class Plays:
    """Stands for `infra.ansible.play`: each router says its name; `rule` may do or raise something else."""

    def __init__(self):
        self.runs = []
        self.rule = lambda hosts, recap: None

    def __call__(self, playbook, inventory, *, log, strategy, forks):
        hosts, verb = inventory["all"]["hosts"], inventory["all"]["vars"]["router_verb"]
        self.runs.append((verb, sorted(hosts)))
        assert strategy == "mitogen_free"
        assert forks == len(hosts)
        recap = Recap()
        for host, own in hosts.items():
            files = json.loads(base64.b64decode(own["router_request"]))["files"]
            answer = {"files": dict.fromkeys(files, host), "running": {}, "token": "1"}
            recap.stdout[host, f"router_config : {verb}"] = json.dumps(answer)
            recap.stdout[host, "router_config : confirm"] = "{}"
        self.rule(hosts, recap)
        return recap


@pytest.fixture
def plays(monkeypatch):
    plays = Plays()
    monkeypatch.setattr("infra.ansible.play", plays)
    # So long that all calls of a test come together, however busy the machine is.
    monkeypatch.setattr("infra.providers.router.batch.GATHER", 0.7)
    return plays


@pytest.fixture
def routers(ssh, tmp_path):
    return AnsibleRouters(ssh=ssh, log=tmp_path / "log")


def together(call, hosts):
    """Call for all hosts at once; return by host what came back, an exception if it was one."""

    def caught(host):
        try:
            return call(host)
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(hosts)) as pool:
        return dict(zip(hosts, pool.map(caught, hosts), strict=True))


def read(routers):
    return lambda host: routers.read(host, ["frr.conf"])


def apply(routers):
    return lambda host: routers.apply(host, FRR, force=[], seconds=30)


def seen(hosts):
    return {host: Observed({"frr.conf": host}, {}) for host in hosts}


@pytest.mark.parametrize(("call", "verb"), [(read, "show"), (apply, "apply")])
def test_ten_calls_at_once_are_one_run_and_each_has_its_own_answer(routers, plays, call, verb):
    assert together(call(routers), TEN) == seen(TEN)
    assert plays.runs == [(verb, TEN)]


def test_reads_and_changes_do_not_share(routers, plays):
    with ThreadPoolExecutor(2) as pool:
        done = [pool.submit(read(routers), "r1"), pool.submit(apply(routers), "r2")]
    assert [future.result().files["frr.conf"] for future in done] == ["r1", "r2"]
    assert sorted(plays.runs) == [("apply", ["r2"]), ("show", ["r1"])]


def test_a_router_that_is_gone_fails_alone_and_delays_nobody(routers, plays, monkeypatch):
    monkeypatch.setattr(transport, "KNOCK", 3)
    ended = {}

    def timed(host):
        try:
            return apply(routers)(host)
        finally:
            ended[host] = time.monotonic()

    done = together(timed, ["refusing", "silent", *TEN])
    assert seen(TEN).items() <= done.items()
    assert plays.runs == [("apply", TEN)]
    for host, why in (("refusing", "Connection refused"), ("silent", "timed out")):
        assert type(done[host]) is UnreachableError
        assert f"router {host} does not answer; it was left alone: 127.0.0.1 port" in str(done[host])
        assert why in str(done[host])
    assert ended["refusing"] < max(ended[host] for host in TEN) < ended["silent"]


def test_what_fails_in_a_run_is_said_of_its_router_only(routers, plays):
    def rule(hosts, recap):
        failures = [
            Failure("r3", "router_config : apply", "EOF on stream; last 100 lines received:\nbye", True),
            Failure("r4", "router_config : apply", "Mitogen was disconnected", True),
            Failure("r5", "router_config : apply", "frr.conf is not valid", False),
            Failure("r6", "router_config : confirm", "ssh: connect to host r6 port 22: timed out", True),
        ]
        for failure in failures:
            del recap.stdout[failure.host, "router_config : confirm"]
            if failure.host != "r6":
                del recap.stdout[failure.host, "router_config : apply"]
        raise PlayError("four", failures, where="", fix="", recap=recap)

    plays.rule = rule
    done = together(apply(routers), TEN)
    well = [host for host in TEN if host not in ("r3", "r4", "r5", "r6")]
    assert {host: done[host] for host in well} == seen(well)
    assert {host: type(error) for host, error in done.items() if host not in well} == {
        "r3": UnreachableError, "r4": ToolError, "r5": ToolError, "r6": ToolError,
    }  # fmt: skip
    assert "router r3 does not answer; it was left alone" in str(done["r3"])
    assert "router r4 was not reached anew after the change" in str(done["r4"])
    assert "router r5: frr.conf is not valid" in str(done["r5"])
    assert "router r6 was not reached anew after the change" in str(done["r6"])
    assert len(plays.runs) == 1


def test_no_answer_and_a_change_that_was_not_confirmed_are_errors(routers, plays):
    def rule(hosts, recap):
        del recap.stdout["r1", "router_config : apply"]
        del recap.stdout["r2", "router_config : confirm"]
        other = Failure("r3", "router_config : apply", "secret of r3", False)
        raise PlayError(str(other), [other], where="", fix="", recap=recap)

    plays.rule = rule
    done = together(apply(routers), ["r0", "r1", "r2", "r3"])
    assert done["r0"] == seen(["r0"])["r0"]
    for host in ("r1", "r2"):
        assert type(done[host]) is ToolError
        assert f"router {host}: Ansible ended without its answer" in str(done[host])
        assert "secret of r3" not in str(done[host])


def test_a_router_is_in_a_run_only_once(routers, plays):
    done = together(lambda n: routers.read("r1" if n < 2 else f"r{n}", ["frr.conf"]), [0, 1, 2, 3])
    assert [answer.files["frr.conf"] for answer in done.values()] == ["r1", "r1", "r2", "r3"]
    assert len(plays.runs) == 2
    assert all("r1" in hosts for _, hosts in plays.runs)


def test_calls_during_a_run_start_the_next_one_beside_it(routers, plays, monkeypatch):
    monkeypatch.setattr("infra.providers.router.batch.GATHER", 0.05)
    started, both = threading.Event(), threading.Barrier(2)

    def rule(hosts, recap):
        started.set()
        both.wait(20)

    plays.rule = rule
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(read(routers), "r1")
        assert started.wait(20)
        second = pool.submit(read(routers), "r2")
        assert [first.result(), second.result()] == list(seen(["r1", "r2"]).values())
    assert plays.runs == [("show", ["r1"]), ("show", ["r2"])]


@pytest.mark.parametrize("error", [OSError("no space left"), PlayError("crash", [], where="", fix="")])
def test_what_ends_a_run_ends_all_of_its_calls(routers, plays, error):
    def rule(hosts, recap):
        raise error

    plays.rule = rule
    done = together(read(routers), TEN)
    assert all(str(error) in str(caught) for caught in done.values())
    assert {type(caught) for caught in done.values()} == {OSError if type(error) is OSError else ToolError}
    assert len(plays.runs) == 1
    plays.rule = lambda hosts, recap: None
    assert read(routers)("r1") == seen(["r1"])["r1"], "the next call is not affected"


def test_behind_another_machine_nobody_knocks(routers, plays, ssh):
    ways = "Host jump\n  ProxyJump refusing\nHost command\n  ProxyCommand nc %h %p\n"
    ssh.write_text(f"{ways}Host *\n  HostName 127.0.0.1\n  Port 1\n")
    hosts = ["command", "jump"]
    assert together(read(routers), hosts) == seen(hosts)
    assert plays.runs == [("show", hosts)]


def test_an_ssh_configuration_that_ssh_does_not_understand_is_named(routers, plays, ssh):
    ssh.write_text("Nonsense yes\n")
    with pytest.raises(ToolError, match="line 1: Bad configuration option") as caught:
        routers.read("r1", ["frr.conf"])
    assert caught.value.where == str(ssh)
    assert plays.runs == []
