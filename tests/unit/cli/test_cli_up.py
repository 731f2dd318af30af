import io
import json
import os
import re
import signal
import stat

import pytest

from cli import backend, locks, runner
from cli.pulumi_events import Resource
from infra import paths
from infra.model.site import load_site


def test_layers_are_deployed_in_order(tinh):
    result = tinh("up", "--yes")
    assert result.code == 0, result.err
    assert tinh.runs() == [("up", "base.sim"), ("up", "platforms.sim")]
    assert tinh.resources("base") == ["a", "b"]
    assert "base.sim  + ConfigMap a" in result.err


@pytest.fixture
def no_lab(monkeypatch):
    """A host that cannot run the lab, and a caller who names no site."""
    from lab import doctor

    monkeypatch.delenv("TINH_SITE")
    lacking = doctor.Finding("podman", doctor.Level.MISSING, "not there", "no machines", "install podman")
    monkeypatch.setattr(doctor, "judge", lambda _: [lacking])


def test_where_the_lab_cannot_run_the_sim_takes_its_place_and_says_so(tinh, no_lab):
    result = tinh("up", "--yes")
    assert result.code == 0, result.err
    assert tinh.runs() == [("up", "base.sim"), ("up", "platforms.sim")]
    assert "podman: not there; no machines; install podman" in result.err
    assert "simulated" in result.out


def test_a_lab_that_was_made_is_not_replaced(tinh, no_lab):
    from cli.up import _possible

    assert _possible("lab", yes=True) == "sim"
    paths.state("lab").kubeconfig.touch()
    assert _possible("lab", yes=True) == "lab"


def test_the_sim_is_offered_and_a_no_stops(tinh, no_lab, terminal):
    terminal("n\n")
    result = tinh("up")
    assert result.code == 130
    assert "Deploy to site sim instead?" in result.out + result.err
    assert tinh.runs() == []


def test_a_lab_that_is_named_is_not_replaced(tinh, no_lab):
    result = tinh("up", "--yes", "--site", "lab")
    assert result.code != 0
    assert "the lab cannot run on this host" in result.err
    assert tinh.runs() == []


def test_one_layer_can_be_named(tinh):
    assert tinh("up", "--yes", "--layer", "base").code == 0
    assert tinh.runs() == [("up", "base.sim")]


def test_a_failed_layer_stops_the_run_and_the_next_run_continues_there(tinh):
    tinh.declare(base=["a"], platforms={"resources": ["c", "d"], "fail": "d"})
    failed = tinh("up", "--yes")
    assert failed.code == 5
    assert "up of platforms.sim failed:\n  ConfigMap d: the server rejected d" in failed.err
    assert "update failed" not in failed.err
    assert tinh.resources("platforms") == ["c"]
    tinh.declare(base=["a"], platforms=["c", "d"])
    again = tinh("up", "--yes")
    assert again.code == 0
    assert "base.sim: 2 same" in again.err
    assert "platforms.sim: 1 create, 2 same" in again.err


def test_where_connections_broke_the_run_goes_on_by_itself_and_gives_up_in_the_end(tinh, monkeypatch):
    monkeypatch.setattr(runner, "BREAKS", (0, 0))
    said = "Failed to fetch OpenAPI schema: read tcp [::1]:41656: read: connection reset by peer"
    tinh.declare(base={"resources": ["a"], "fail": "a", "says": said})
    failed = tinh("up", "--yes", "--layer", "base")
    assert failed.code == 5
    assert tinh.runs() == [("up", "base.sim")] * 3
    assert failed.err.count("a connection broke; going on") == 2


def test_a_router_that_does_not_answer_is_not_waited_for(tmp_path):
    from cli.pulumi_events import Message, Tally
    from infra.errors import ToolError

    (tmp_path / "log").write_text("")
    said = "connection refused"

    def failure(kind):
        tally = Tally()
        tally.errors.append(Message("error", said, Resource(f"urn:pulumi:network.lab::tinh::{kind}::a")))
        return type(runner._failure("up", tally, tmp_path / "log"))

    assert failure("kubernetes:core/v1:ConfigMap") is runner.BrokenError
    assert failure("tinh:network:Router$tinh:router:RouterConfig") is ToolError


def test_a_failure_in_the_first_layer_leaves_the_second_alone(tinh):
    tinh.declare(base={"resources": ["a"], "fail": "a"}, platforms=["c"])
    assert tinh("up", "--yes").code == 5
    assert tinh.runs() == [("up", "base.sim")]


def test_a_second_run_changes_nothing(tinh):
    tinh("up", "--yes")
    again = tinh("up", "--yes")
    assert again.code == 0
    assert "base.sim: 3 same" in again.err
    assert " + " not in again.err


def test_durations_are_recorded_as_cold_only_the_first_time(tinh):
    from infra import timings

    tinh("up", "--yes", "--layer", "base")
    tinh("up", "--yes", "--layer", "base")
    assert [(row.phase, row.cold) for row in timings.read("sim")] == [("up.base", True), ("up.base", False)]


def test_without_a_terminal_and_without_yes_nothing_runs(tinh, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    result = tinh("up")
    assert result.code == 2
    assert "--yes" in result.err
    assert tinh.calls() == []


def test_the_preview_is_shown_and_a_no_stops(tinh, terminal):
    terminal("n\n")
    result = tinh("up", "--layer", "base")
    assert result.code == 130
    assert "preview base.sim: ['a', 'b']" in result.out
    assert tinh.runs() == [("preview", "base.sim")]


def test_after_a_yes_the_preview_is_not_made_twice(tinh, terminal):
    terminal("y\n")
    assert tinh("up", "--layer", "base").code == 0
    assert tinh.runs() == [("preview", "base.sim"), ("up", "base.sim")]
    assert all("--skip-preview" in call for call in tinh.calls() if call[0] == "up")


def test_a_layer_without_changes_is_not_asked_about(tinh, terminal):
    tinh("up", "--yes")
    terminal("")
    assert tinh("up").code == 0


def test_published_addresses_are_printed(tinh):
    contract = {
        "zone": "sim.test", "dns_ipv6": "fd00::1", "dns_ipv4": "10.0.0.1", "urls": {"identity": "https://id.sim.test"}
    }  # fmt: skip
    tinh.declare(base=["a"], platforms={"resources": ["c"], "output": contract})
    password = tinh.state.root / "secrets" / "identity-admin"
    password.parent.mkdir()
    password.write_text("hunter2")
    out = tinh("up", "--yes").out
    assert "https://id.sim.test" in out
    assert f"password: {password}" in out
    assert "hunter2" not in out
    assert "https://" not in tinh("up", "--yes", "--layer", "base").out


# --- interruption ---------------------------------------------------------------------------------


def interrupted(tinh, times, program):
    """Start `up`, send Ctrl-C while `b` is under way, and return the ended process and its output."""
    tinh.declare(base={"resources": ["a", "b", "c"], "hang": "b"} | program, platforms=["d"])
    process = tinh.start("up", "--yes")
    tinh.wait_for(lambda: backend.locks(tinh.state, "base.sim") and "a" in tinh.resources("base"), "a")
    for _ in range(times):
        process.send_signal(signal.SIGINT)
        process_out = read_until(process, "once more" if _ == 0 else "at once;")
    return process, process_out + process.communicate(timeout=60)[0]


def read_until(process, text):
    seen = ""
    while text not in seen:
        line = process.stdout.readline()
        assert line, seen
        seen += line
    return seen


def test_the_first_interrupt_finishes_what_is_under_way(tinh):
    process, out = interrupted(tinh, 1, {"polite": True})
    assert process.returncode == 130
    assert "finishing what is under way" in out
    assert tinh.resources("base") == ["a", "b"]
    assert backend.locks(tinh.state, "base.sim") == []
    assert tinh.runs() == [("up", "base.sim")]


def test_the_second_interrupt_stops_at_once_and_the_next_run_repairs(tinh):
    process, out = interrupted(tinh, 2, {})
    assert process.returncode == 130
    assert "continues from here" in out
    assert backend.read_stack(tinh.state, "base.sim").pending == (
        Resource("urn:pulumi:base.sim::tinh::kubernetes:core/v1:ConfigMap::b"),
    )
    assert backend.locks(tinh.state, "base.sim") == []
    tinh.declare(base=["a", "b", "c"], platforms=["d"])
    tinh.forget_calls()
    again = tinh("up", "--yes")
    assert again.code == 0
    assert "repairing the record of ConfigMap b" in again.err
    assert tinh.runs() == [("refresh", "base.sim"), ("up", "base.sim"), ("up", "platforms.sim")]
    assert "--clear-pending-creates" in tinh.calls()[0]
    assert tinh.resources("base") == ["a", "b", "c"]


def test_a_pulumi_that_does_not_stop_is_killed_and_leaves_no_lock(tinh):
    process, _ = interrupted(tinh, 2, {"deaf": True})
    assert process.returncode == 130
    assert backend.locks(tinh.state, "base.sim") == []
    tinh.declare(base=["a", "b", "c"], platforms=["d"])
    assert tinh("up", "--yes").code == 0


def test_sigterm_is_an_interrupt_too(tinh):
    tinh.declare(base={"resources": ["a"], "hang": "a", "polite": True})
    process = tinh.start("up", "--yes")
    tinh.wait_for_lock()
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert backend.locks(tinh.state, "base.sim") == []


def test_pulumi_is_out_of_reach_of_the_terminals_signals(tinh):
    tinh.declare(base={"resources": ["a"], "hang": "a", "polite": True})
    process = tinh.start("up", "--yes")
    tinh.wait_for_lock()
    (lock,) = backend.locks(tinh.state, "base.sim")
    assert os.getsid(lock.pid) != os.getsid(process.pid)
    process.terminate()
    process.communicate(timeout=60)


# --- locks ----------------------------------------------------------------------------------------


def test_a_stack_in_use_is_refused_with_its_holder(tinh):
    tinh("up", "--yes")
    tinh.forget_calls()
    with locks.stack_lock(tinh.state, "base.sim", "tinh down"):
        result = tinh("up", "--yes")
    assert result.code == 8
    assert f"pid {os.getpid()}" in result.err
    assert "`tinh down`" in result.err
    assert re.search(r"since \d{4}-\d\d-\d\dT", result.err)
    assert tinh.calls() == []
    assert tinh("up", "--yes").code == 0


def test_a_lock_with_a_long_holder_is_readable_after_a_short_one(tinh):
    for command in ("tinh a-very-long-command-line", "t"):
        with locks.stack_lock(tinh.state, "base.sim", command):
            assert locks.holder(tinh.state, "base.sim").command == command
    assert locks.holder(tinh.state, "base.sim") is None


def test_a_stranded_lock_is_named_and_removed_by_unlock(tinh):
    lock = tinh.strand()
    refused = tinh("up", "--yes")
    assert refused.code == 8
    assert f"pid {lock.pid} of tester@" in refused.err
    assert "tinh unlock base.sim" in refused.err
    unlocked = tinh("unlock", "base.sim")
    assert unlocked.code == 0
    assert f"pid {lock.pid}" in unlocked.out
    assert "dead" in unlocked.out
    tinh.declare(base=["a"])
    assert tinh("up", "--yes").code == 0


def test_a_killed_pulumi_is_cleared_away_by_its_tinh(tinh):
    tinh.declare(base={"resources": ["a"], "die": "a"}, platforms=["c"])
    result = tinh("up", "--yes")
    assert result.code == 5
    assert "killed by signal 9" in result.err
    assert backend.locks(tinh.state, "base.sim") == []
    tinh.declare(base=["a"], platforms=["c"])
    assert tinh("up", "--yes").code == 0


def test_a_pulumi_that_outlives_its_tinh_keeps_the_stack_locked_until_it_is_done(tinh):
    tinh.declare(base={"resources": ["a"], "hang": "a", "polite": True}, platforms=["c"])
    process = tinh.start("up", "--yes")
    tinh.wait_for_lock()
    process.kill()
    process.communicate(timeout=60)
    (lock,) = backend.locks(tinh.state, "base.sim")
    refused = tinh("up", "--yes")
    assert refused.code == 8
    assert "still running" in refused.err
    os.kill(lock.pid, signal.SIGINT)
    tinh.wait_for(lambda: not backend.locks(tinh.state, "base.sim"), "Pulumi's end")
    assert tinh("up", "--yes").code == 0


def foreign_lock(tinh, **owner):
    folder = tinh.state.pulumi / ".pulumi" / "locks" / "organization" / "tinh" / "base.sim"
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "pid": os.getpid(),
        "username": "an",
        "hostname": os.uname().nodename,
        "timestamp": "2999-01-01T00:00:00Z",
    }
    (folder / "x.json").write_text(json.dumps(content | owner))


def test_unlock_keeps_the_lock_of_a_living_process(tinh):
    foreign_lock(tinh)
    result = tinh("unlock", "base.sim")
    assert result.code == 8
    assert "alive" in result.out
    assert backend.locks(tinh.state, "base.sim")
    assert "still running" in tinh("up", "--yes").err


def test_a_reused_process_id_does_not_make_a_lock_live(tinh):
    foreign_lock(tinh, timestamp="2001-01-01T00:00:00.123456789Z")
    assert tinh("unlock", "base.sim").code == 0
    assert backend.locks(tinh.state, "base.sim") == []


def test_a_lock_of_another_machine_needs_force_and_the_name(tinh, terminal):
    foreign_lock(tinh, hostname="elsewhere", pid=1)
    assert tinh("unlock", "base.sim").code == 8
    terminal("base.lab\n")
    assert tinh("unlock", "base.sim", "--force").code == 6
    assert backend.locks(tinh.state, "base.sim")
    terminal("base.sim\n")
    assert tinh("unlock", "base.sim", "--force").code == 0
    assert backend.locks(tinh.state, "base.sim") == []


def test_unlock_does_not_touch_the_lock_of_a_living_tinh(tinh):
    with locks.stack_lock(tinh.state, "base.sim", "tinh up"):
        result = tinh("unlock", "base.sim", "--force")
    assert result.code == 8
    assert "`tinh up`" in result.err


def test_unlock_of_a_free_stack_says_so(tinh):
    result = tinh("unlock", "base.sim")
    assert (result.code, result.out) == (0, "base.sim is not locked\n")


# --- passphrase, environment, secrets -------------------------------------------------------------


def test_the_passphrase_is_made_once_and_only_its_owner_can_read_it(tinh):
    tinh("up", "--yes")
    first = tinh.state.passphrase.read_text()
    tinh("up", "--yes")
    assert tinh.state.passphrase.read_text() == first
    assert len(first) >= 40
    assert stat.S_IMODE(tinh.state.passphrase.stat().st_mode) == 0o600


def test_secrets_are_neither_on_command_lines_nor_in_files_that_stay(tinh):
    tinh.declare(base=["a"], platforms={"resources": ["c", "d"], "fail": "d"})
    result = tinh("up", "--yes")
    passphrase = tinh.state.passphrase.read_text()
    assert passphrase not in json.dumps(tinh.records())
    kept = [file for file in tinh.folder.rglob("*") if file.is_file() and file != tinh.state.passphrase]
    assert [file for file in kept if passphrase in file.read_text(errors="replace")] == []
    # What the engine writes into its debug messages; the fake's own source has the text too.
    written = [file for file in kept if file.is_relative_to(tinh.state.root)]
    assert [file for file in written if "hunter2-secret" in file.read_text(errors="replace")] == []
    assert "hunter2-secret" not in result.out + result.err


def test_a_missing_passphrase_is_never_replaced_while_something_needs_it(tinh):
    tinh("up", "--yes", "--layer", "base")
    tinh.state.passphrase.unlink()
    tinh.forget_calls()
    result = tinh("up", "--yes")
    assert result.code == 2
    assert "base.sim cannot be read without it" in result.err
    assert str(tinh.state.passphrase) in result.err
    assert "backup" in result.err
    assert not tinh.state.passphrase.exists()
    assert tinh.calls() == []


def test_an_empty_passphrase_is_refused(tinh):
    tinh.state.passphrase.touch()
    result = tinh("up", "--yes")
    assert result.code == 2
    assert "empty" in result.err


def test_a_wrong_passphrase_is_explained(tinh):
    tinh("up", "--yes")
    tinh.state.passphrase.write_text("another")
    result = tinh("up", "--yes")
    assert result.code == 2
    assert "passphrase is not the one" in result.err
    assert "another" not in result.err.replace("another process", "")


def test_variables_of_the_caller_do_not_reach_pulumi(tinh, monkeypatch):
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "from the shell")
    monkeypatch.setenv("PULUMI_STACK", "other")
    assert tinh("up", "--yes").code == 0
    for record in tinh.records():
        assert "PULUMI_CONFIG_PASSPHRASE" not in record["env"]
        assert "PULUMI_STACK" not in record["env"]
        assert record["env"]["PULUMI_BACKEND_URL"] == f"file://{tinh.state.pulumi}"
        assert record["env"]["TINH_INSTANCE"] == "main"
        assert record["cwd"] == str(paths.REPO)


def test_env_prints_what_a_run_gets(tinh, monkeypatch):
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "from the shell")
    result = tinh("env")
    assert result.code == 0
    tinh("up", "--yes", "--layer", "base")
    exported = dict(
        line.removeprefix("export ").split("=", 1) for line in result.out.splitlines() if "=" in line
    )
    for name, value in tinh.records()[-1]["env"].items():
        if name not in ("TINH_STATE", "TINH_CACHE", "TINH_SITE"):
            assert exported[name].strip("'") == value
    assert "unset PULUMI_CONFIG_PASSPHRASE" in result.out
    assert tinh.state.passphrase.read_text() not in result.out


def test_env_can_be_applied_twice(tinh, monkeypatch):
    first = tinh("env").out
    path = next(line for line in first.splitlines() if line.startswith("export PATH="))
    monkeypatch.setenv("PATH", path.removeprefix("export PATH=").strip("'"))
    assert tinh("env").out == first


def test_plugins_are_laid_out_as_pulumi_wants_them(tinh):
    tinh("env")
    folder = tinh.state.root / "pulumi-home" / "plugins" / "resource-kubernetes-v0.0.1"
    assert not folder.is_symlink()  # Pulumi does not look into linked folders
    assert (folder / "pulumi-resource-kubernetes").resolve().is_relative_to(tinh.folder / "artifact")


def test_a_stack_file_left_by_another_instance_does_not_matter(tinh):
    tinh("up", "--yes")
    file = paths.REPO / "stacks" / "config" / "Pulumi.base.sim.yaml"
    right = file.read_text()
    file.write_text("encryptionsalt: v1:of-another-instance\nconfig: {tinh:x: 1}\n")
    assert tinh("up", "--yes").code == 0
    assert right.strip() in file.read_text()
    assert "tinh:x" in file.read_text()


def test_a_stack_file_left_by_a_state_that_is_gone_does_not_matter(tinh):
    file = paths.REPO / "stacks" / "config" / "Pulumi.base.sim.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("encryptionsalt: v1:of-an-instance-that-is-gone\n")
    assert tinh("up", "--yes").code == 0
    assert "gone" not in file.read_text()


def test_old_logs_are_removed(tinh, monkeypatch):
    monkeypatch.setattr(runner, "KEEP_LOGS", 3)
    for _ in range(3):
        tinh("up", "--yes")
    assert len(list(tinh.state.logs.glob("pulumi-*.log"))) == 4


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("up", "--yes", "--site", "nowhere"), ("unknown site 'nowhere'", "lab", "sim")),
        (("diff", "--site", "nowhere"), ("unknown site 'nowhere'",)),
        (("up", "--yes", "--layer", "bass"), ("layer 'bass' is unknown", "base, platforms")),
        (("up", "--yes", "--layer", "network"), ("'network' is not there on site sim", "base, platforms")),
        (("unlock", "bass.sim"), ("unknown layer 'bass'", "network, base")),
        (("unlock", "base"), ("not of the form",)),
        (("unlock", "base.nowhere"), ("unknown site 'nowhere'",)),
        (("no-such-command",), ("No such command",)),
    ],
)
def test_unknown_names_are_refused_with_the_known_ones(tinh, arguments, said):
    result = tinh(*arguments)
    assert result.code == 2
    for text in said:
        assert text in result.err
    assert tinh.calls() == []


def test_another_cluster_than_the_sites_is_refused_before_anything_runs(tinh, monkeypatch):
    from infra.errors import RefusedError

    def refuse(site):
        raise RefusedError("the kubeconfig reaches another cluster")

    monkeypatch.setattr("infra.cluster.check_cluster", refuse)
    for arguments in (("up", "--yes"), ("diff",)):
        assert tinh(*arguments).code == 6
    assert tinh.calls() == []


def test_an_inconsistent_state_is_repaired_once(tinh):
    tinh("up", "--yes")
    (tinh.folder / "corrupt").touch()
    tinh.forget_calls()
    result = tinh("up", "--yes", "--layer", "base")
    assert result.code == 0
    assert "repairing it" in result.err
    assert [call[:2] for call in tinh.calls()] == [["up", "--stack"], ["state", "repair"], ["up", "--stack"]]


def test_a_damaged_state_file_is_named(tinh):
    tinh("up", "--yes")
    backend.stack_file(tinh.state, "base.sim").write_text("{")
    result = tinh("up", "--yes")
    assert result.code == 2
    assert "base.sim.json" in result.err
    assert ".bak" in result.err


def test_a_missing_pulumi_is_said(tinh):
    (tinh.folder / "bin" / "pulumi").unlink()
    os.environ["PATH"] = "/nonexistent"
    result = tinh("up", "--yes")
    assert result.code == 4
    assert "tinh toolchain get" in result.err


def test_routers_are_read_first_and_one_that_fails_does_not_stop_the_others(tinh, monkeypatch):
    monkeypatch.setattr("stacks.layers.layers_of", lambda site: ("network", "base"))
    tinh.declare(network=["a"], base=["b"])
    assert tinh("up", "--yes").code == 0
    assert tinh("diff").code == 0
    calls = [call for call in tinh.calls() if "--event-log" in call]
    options = {(call[0], call[call.index("--stack") + 1]): call for call in calls}
    for option, verb, layer, given in [
        ("--refresh", "preview", "network", True),
        ("--refresh", "up", "network", True),
        ("--continue-on-error", "up", "network", True),
        ("--refresh", "up", "base", False),
        ("--continue-on-error", "up", "base", False),
    ]:
        assert (option in options[verb, f"{layer}.sim"]) is given, (option, verb, layer)


def test_before_the_cluster_the_provider_for_kubernetes_may_still_be_built(tinh, monkeypatch):
    import lab.toolchain
    from infra.errors import TinhError

    def missing(name):
        raise TinhError(f"{name} is not in the cache", where="the cache", fix="tinh toolchain get")

    monkeypatch.setattr(lab.toolchain, "artifact", missing)
    assert "PULUMI_HOME" in runner.environment(load_site("sim"), cluster=False)
    with pytest.raises(TinhError, match="pulumi-kubernetes is not in the cache"):
        runner.environment(load_site("sim"))


def test_the_clusters_making_is_awaited_by_the_first_layer_that_needs_it(tinh, monkeypatch):
    from contextlib import contextmanager

    from cli import up
    from infra.stackinfo import StackInfo

    seen = []

    @contextmanager
    def machines(site, last, view):
        seen.append("machines")
        yield lambda: seen.append("cluster")

    class Runner:
        def __init__(self, site, view, command, stacks):
            seen.append(f"runner of {' '.join(stack.layer for stack in stacks)}")

    layers = [StackInfo(layer, "lab") for layer in ("network", "base", "platforms")]
    monkeypatch.setattr(up, "_machines", machines)
    monkeypatch.setattr(up, "_supply", lambda site, layer, view: None)
    monkeypatch.setattr(up, "_deploy", lambda runner, stack, view, yes: seen.append(stack.layer))
    monkeypatch.setattr(up, "published", lambda site: "")
    monkeypatch.setattr(runner, "Runner", Runner)
    monkeypatch.setattr(runner, "select", lambda site, names: (load_site(site), layers))
    assert tinh("up", "--yes", "--site", "lab").code == 0
    assert seen == [
        "machines", "runner of network", "network",
        "cluster", "runner of base platforms", "base", "platforms",
    ]  # fmt: skip


def test_a_cluster_that_fails_is_said_also_where_no_layer_waits_for_it(tinh, monkeypatch):
    from cli import up
    from cli.progress import Plain
    from infra.errors import ToolError
    from lab import up as lab

    def fails(site, tell):
        raise ToolError("kubeadm failed", where="cp1", fix="again")

    monkeypatch.setattr(lab, "is_up", lambda name: False)
    monkeypatch.setattr(lab, "up_machines", lambda name, tell: load_site(name))
    monkeypatch.setattr(lab, "up_cluster", fails)
    with pytest.raises(ToolError, match="kubeadm failed"), up._lab(load_site("lab"), Plain("up")):
        pass
