"""`diff`, `down`, `status`, and the entry point."""

import io
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cli_harness import SITE
from click.shell_completion import ShellComplete

from cli import backend, locks, main, runner


def test_right_after_up_there_is_no_difference(tinh):
    tinh("up", "--yes")
    result = tinh("diff")
    assert result.code == 0
    assert result.out == "base.sim: 0 changes (3 same)\nplatforms.sim: 0 changes (2 same)\n"


def test_a_difference_is_shown_and_has_its_own_exit_code(tinh):
    tinh("up", "--yes")
    tinh.declare(base=["a", "new"], platforms=["c"])
    result = tinh("diff")
    assert result.code == 3
    assert "preview base.sim: ['a', 'new']" in result.out  # Pulumi's own text
    assert "base.sim: 2 changes (1 create, 1 delete, 2 same)" in result.out
    assert tinh.resources("base") == ["a", "b"]


def test_a_changed_output_is_a_difference(tinh):
    tinh("up", "--yes")
    tinh.declare(base={"resources": ["a", "b"], "output": "other"}, platforms=["c"])
    result = tinh("diff")
    assert result.code == 3
    assert "base.sim: 1 changes (3 same, outputs)" in result.out


def test_a_stack_that_is_not_there_is_all_new(tinh):
    result = tinh("diff")
    assert result.code == 3
    assert "base.sim: not deployed yet" in result.out
    assert tinh.calls() == []


def test_diff_takes_no_lock(tinh):
    tinh("up", "--yes")
    with locks.stack_lock(tinh.state, "base.sim", "tinh up"):
        assert tinh("diff").code == 0


# --- down -----------------------------------------------------------------------------------------


def key(tinh):
    return tinh("down", "--show-data").out.splitlines()[-1].removeprefix("digest: ")


def test_down_destroys_in_reverse_order(tinh):
    tinh("up", "--yes")
    tinh.forget_calls()
    result = tinh("down", "--yes")
    assert result.code == 0
    assert tinh.runs() == [("destroy", "platforms.sim"), ("destroy", "base.sim")]
    assert "base.sim: 2 resources" in result.err
    assert tinh.resources("base") == []
    assert "nothing is deployed" in tinh("down", "--yes").out


def test_down_needs_the_sites_name(tinh, terminal):
    tinh("up", "--yes")
    tinh.forget_calls()
    terminal("lab\n")
    assert tinh("down").code == 6
    assert tinh.calls() == []
    terminal("sim\n")
    assert tinh("down").code == 0


def test_down_without_a_terminal_needs_yes(tinh, monkeypatch):
    tinh("up", "--yes")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert tinh("down").code == 2
    assert tinh.resources("base") == ["a", "b"]


@pytest.mark.parametrize("second", [(), ("--data-key", "0123456789abcdef")])
def test_data_is_not_lost_by_one_key(tinh, second):
    tinh.declare(base=["a"], platforms={"resources": ["c", "db"], "protect": ["db"]})
    tinh("up", "--yes")
    tinh.forget_calls()
    result = tinh("down", "--yes", *second)
    assert result.code == 6
    assert "ConfigMap db" in result.err
    assert "--show-data" in result.err
    assert tinh.calls() == []
    assert tinh.resources("platforms") == ["c", "db"]


def test_data_is_lost_with_both_keys(tinh):
    tinh.declare(base=["a"], platforms={"resources": ["c", "db"], "protect": ["db"]})
    tinh("up", "--yes")
    digest = key(tinh)
    tinh.forget_calls()
    assert tinh("down", "--yes", "--data-key", digest).code == 0
    (unprotect,) = [call for call in tinh.calls() if call[:2] == ["state", "unprotect"]]
    assert [argument for argument in unprotect if argument.startswith("urn:")] == [
        "urn:pulumi:platforms.sim::tinh::kubernetes:core/v1:ConfigMap::db"
    ]
    assert tinh.resources("platforms") == []


def test_the_second_key_alone_is_not_enough(tinh, monkeypatch):
    tinh.declare(base=["a"], platforms={"resources": ["db"], "protect": ["db"]})
    tinh("up", "--yes")
    digest = key(tinh)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert tinh("down", "--data-key", digest).code == 2
    assert tinh.resources("platforms") == ["db"]


def test_the_second_key_is_for_one_list_of_objects_only(tinh):
    tinh.declare(base=["a"], platforms={"resources": ["db"], "protect": ["db"]})
    tinh("up", "--yes")
    digest = key(tinh)
    tinh.declare(base=["a"], platforms={"resources": ["db", "db2"], "protect": ["db", "db2"]})
    tinh("up", "--yes")
    result = tinh("down", "--yes", "--data-key", digest)
    assert result.code == 6
    assert "has changed" in result.err
    assert "db2" in result.err


def test_data_that_appears_after_the_confirmation_is_kept(tinh, monkeypatch):
    tinh.declare(base=["a"], platforms={"resources": ["db"], "protect": ["db"]})
    tinh("up", "--yes")
    digest = key(tinh)
    from cli import down

    real = down.check_data_key

    def confirm_while_somebody_deploys(site, data, given):
        real(site, data, given)
        monkeypatch.setattr(down, "check_data_key", real)
        file = backend.stack_file(tinh.state, "platforms.sim")
        state = json.loads(file.read_text())
        first = next(r for r in state["checkpoint"]["latest"]["resources"] if r.get("protect"))
        state["checkpoint"]["latest"]["resources"].append(first | {"urn": first["urn"] + "2"})
        file.write_text(json.dumps(state))

    monkeypatch.setattr(down, "check_data_key", confirm_while_somebody_deploys)
    tinh.forget_calls()
    assert tinh("down", "--yes", "--data-key", digest).code == 6
    assert tinh.calls() == []


def test_a_layer_is_not_taken_from_under_another(tinh):
    tinh("up", "--yes")
    result = tinh("down", "--yes", "--layer", "base")
    assert result.code == 6
    assert "platforms.sim stands on what would be destroyed" in result.err
    assert tinh("down", "--yes", "--layer", "platforms").code == 0
    assert tinh("down", "--yes", "--layer", "base").code == 0


def test_show_data_says_when_there_is_none(tinh):
    tinh("up", "--yes")
    assert "no object that holds data" in tinh("down", "--show-data").out


# --- status ---------------------------------------------------------------------------------------


def status(tinh):
    result = tinh("status", "--json")
    assert result.code == 0
    return json.loads(result.out)


def test_status_shows_stacks_cluster_and_addresses(tinh):
    contract = {
        "zone": "z",
        "dns_ipv6": "fd00::1",
        "dns_ipv4": "10.0.0.1",
        "urls": {"identity": "https://id.z"},
    }
    tinh.declare(base=["a", "b"], platforms={"resources": ["db"], "protect": ["db"], "output": contract})
    tinh("up", "--yes")
    report = status(tinh)
    assert report["cluster"] == {"reachable": True, "uid": "uid"}
    assert [(s["name"], s["resources"], s["protected"]) for s in report["stacks"]] == [
        ("base.sim", 2, 0),
        ("platforms.sim", 1, 1),
    ]
    assert report["stacks"][0]["last"]["result"] == "succeeded"
    assert report["published"] == {"identity": "https://id.z"}
    text = tinh("status").out
    assert "2 resources, 0 protected; update succeeded at" in text
    assert "https://id.z" in text


def test_status_before_anything_is_there(tinh, monkeypatch):
    from infra.errors import HostError

    def no_cluster(site):
        raise HostError("no cluster is recorded")

    monkeypatch.setattr("infra.cluster.check_cluster", no_cluster)
    assert [stack["deployed"] for stack in status(tinh)["stacks"]] == [False, False]
    text = tinh("status").out
    assert "not reachable: no cluster is recorded" in text
    assert "base.sim                 not deployed" in text
    assert not tinh.state.passphrase.exists()


def test_status_shows_locks_and_interrupted_operations(tinh):
    tinh.strand()
    text = tinh("status").out
    assert "Pulumi's lock: pid" in text
    assert "tinh unlock base.sim" in text
    tinh("unlock", "base.sim")
    file = backend.stack_file(tinh.state, "base.sim")
    state = json.loads(file.read_text())
    urn = "urn:pulumi:base.sim::tinh::kubernetes:core/v1:ConfigMap::a"
    state["checkpoint"]["latest"]["pending_operations"] = [{"type": "creating", "resource": {"urn": urn}}]
    file.write_text(json.dumps(state))
    with locks.stack_lock(tinh.state, "base.sim", "tinh up"):
        text = tinh("status").out
    assert f"locked by pid {os.getpid()}" in text
    assert "repaired by the next `tinh up`: ConfigMap a" in text


def test_status_shows_tenants_too(tinh):
    tinh("up", "--yes", "--layer", "base")
    file = backend.stack_file(tinh.state, "base.sim")
    file.with_name("tenant.sim.abc.json").write_text(file.read_text())
    assert [stack["name"] for stack in status(tinh)["stacks"]] == [
        "base.sim",
        "platforms.sim",
        "tenant.sim.abc",
    ]


@pytest.fixture
def with_certificates(tinh, monkeypatch):
    """A site whose certificates the test decides: `ends(...)` in days from now, or an error."""
    import infra.expiry
    from infra.model.site import SiteKind

    contract = {"zone": "z", "dns_ipv6": "fd00::1", "dns_ipv4": "10.0.0.1", "urls": {}}
    tinh.declare(platforms={"resources": [], "output": contract})
    tinh("up", "--yes")
    target, stacks = runner.select(SITE)
    real = target.model_copy(update={"kind": SiteKind.LAB})  # on the sim nothing issues certificates
    monkeypatch.setattr(runner, "select", lambda site: (real, stacks))
    monkeypatch.setattr("cli.status._drills", lambda site: {})
    monkeypatch.setattr("infra.health.look", lambda site: [])

    def ends(days):
        at = datetime.now(UTC) + timedelta(days=days)
        certificate = {
            "spec": {"dnsNames": ["id.z"], "duration": "2160h", "renewBefore": "720h"},
            "status": {
                "notAfter": at.isoformat(),
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }
        monkeypatch.setattr(infra.expiry, "certificates", lambda site: [certificate])

    return ends


def test_status_shows_when_certificates_end_and_ends_with_3_when_it_is_soon(tinh, with_certificates):
    with_certificates(60)
    done = tinh("status")
    assert (done.code, "certificate of id.z: ends" in done.out) == (0, True)
    with_certificates(3)
    done = tinh("status")
    assert (done.code, "RED certificate of id.z" in done.out) == (3, True)
    assert json.loads(tinh("status", "--json").out)["certificates"][0]["red"]


def test_status_is_red_when_certificates_cannot_be_asked_for(tinh, with_certificates, monkeypatch):
    from infra.errors import ToolError

    def unknown(site):
        raise ToolError("the certificates are not known")

    monkeypatch.setattr("infra.expiry.certificates", unknown)
    done = tinh("status")
    assert (done.code, "RED the certificates are not known" in done.out) == (3, True)


def test_status_names_what_is_not_healthy_and_what_to_do(tinh, with_certificates, monkeypatch):
    from infra.errors import ToolError
    from infra.health import Finding

    with_certificates(60)
    found = Finding("database portal/portal-db", "1 of 2 instances are ready", "see its pods")
    monkeypatch.setattr("infra.health.look", lambda site: [found])
    done = tinh("status")
    assert (done.code, str(found) in done.out) == (3, True)
    assert json.loads(tinh("status", "--json").out)["health"][0]["where"] == "database portal/portal-db"

    def silent(site):
        raise ToolError("kubectl get: no answer within 60 s", fix="see that the cluster works")

    monkeypatch.setattr("infra.health.look", silent)
    done = tinh("status")
    assert (done.code, "its health is not known: kubectl get" in done.out) == (3, True)


# --- entry point ----------------------------------------------------------------------------------


def test_help_imports_no_command():
    program = (
        "import sys; sys.argv = ['tinh', '--help']\n"
        "from cli import main\n"
        "try: main.main()\n"
        "finally: print(sorted(set(sys.modules) & "
        "{'cli.up', 'cli.runner', 'pulumi', 'pydantic', 'rich', 'yaml', 'kubernetes', 'lab'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    for name, (_, short) in main.COMMANDS.items():
        assert name in done.stdout
        assert short.split()[0] in done.stdout


@pytest.mark.parametrize("name", ["up", "down", "diff", "status", "unlock", "env"])
def test_the_table_of_commands_is_what_the_modules_hold(tinh, name):
    result = tinh(name, "--help")
    assert result.code == 0
    assert result.out.startswith(f"Usage: tinh {name}")


def test_completion_knows_names_and_options():
    complete = ShellComplete(main.group, {}, "tinh", "_TINH_COMPLETE")
    assert [item.value for item in complete.get_completions([], "un")] == ["unlock"]
    assert "--site" in [item.value for item in complete.get_completions(["up"], "--s")]
    assert "--help" in [item.value for item in complete.get_completions([], "--h")]


def test_a_defect_is_called_one_and_its_traceback_is_kept(tinh, monkeypatch):
    def broken(site):
        raise KeyError("unforeseen")

    monkeypatch.setattr("infra.cluster.check_cluster", broken)
    result = tinh("diff")
    assert result.code == 1
    assert "defect in tinh: KeyError: 'unforeseen'" in result.err
    assert "Traceback" not in result.err
    log = result.err.split("log:")[1].strip()
    assert "in broken" in Path(log).read_text()
    monkeypatch.setenv("TINH_DEBUG", "1")
    assert "Traceback" in tinh("diff").err


def test_ctrl_c_outside_of_a_run_has_the_exit_code_of_an_interrupt(tinh, monkeypatch):
    def interrupt(site):
        raise KeyboardInterrupt

    monkeypatch.setattr("infra.cluster.check_cluster", interrupt)
    assert tinh("diff").code == 130


def test_one_more_ctrl_c_while_an_interrupt_is_reported_does_not_change_the_exit_code():
    program = (
        "import atexit, os, signal\n"
        "from cli import main\n"
        "def interrupted(**_): raise KeyboardInterrupt\n"
        "main.group = interrupted\n"
        "atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))\n"
        "main.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
