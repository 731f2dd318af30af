"""The runner with the real Pulumi CLI and a small program of its own; no cluster is needed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from cli import backend, main
from infra import paths

pytestmark = [pytest.mark.sim, pytest.mark.slow]

SITE = "sim"
PROGRAM = """
import json, pathlib, sys, time
import pulumi
sys.path.insert(0, str(pathlib.Path(__file__).parent))
from infra.patience import be_patient
from thing import Thing

be_patient()
stack = pulumi.get_stack()
declared = json.loads((pathlib.Path(__file__).parent / "program.json").read_text())[stack.split(".")[0]]
for name in declared["things"]:
    failure = declared.get("failures", {}).get(name)
    Thing(name, declared.get("seconds", 0), failure, name in declared.get("protect", []))
pulumi.export("contract", declared.get("contract", {"text": "1"}))
pulumi.export("password", pulumi.Output.secret("hunter2-secret"))
"""
THING = """
import time
import pulumi
from pulumi.dynamic import CreateResult, Resource, ResourceProvider

class Provider(ResourceProvider):
    serialize_as_secret_always = False
    def create(self, props):
        time.sleep(props["seconds"])
        if props.get("failure"):  # Pulumi leaves out what is None
            text, times = props["failure"]
            with open(__file__ + ".tries", "a+") as tries:
                tries.write("x")
                if tries.tell() <= times:
                    raise Exception(text)
        return CreateResult("id-of-" + props["label"], props)
    def delete(self, id, props):
        pass

class Thing(Resource):
    def __init__(self, name, seconds, failure, protect):
        secret = pulumi.Output.secret("hunter2-secret")
        props = {"label": name, "seconds": seconds, "failure": failure, "secret": secret}
        super().__init__(Provider(), name, props, pulumi.ResourceOptions(protect=protect))
"""


class Tinh:
    def __init__(self, folder, monkeypatch, capfd):
        self.folder, self.monkeypatch, self.capfd = folder, monkeypatch, capfd
        self.state = paths.state(SITE)

    def declare(self, **layers):
        (self.folder / "repo" / "stacks" / "program.json").write_text(json.dumps(layers))

    def __call__(self, *arguments):
        self.monkeypatch.setattr(sys, "argv", ["tinh", *arguments])
        self.capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main.main()
        out, err = self.capfd.readouterr()
        return int(ended.value.code), out + err

    def things(self, layer):
        return sorted(r.resource.name for r in backend.read_stack(self.state, f"{layer}.{SITE}").records)

    def signals(self, number, times):
        """Send signals to this process, where the runner listens, once a resource is being made."""

        def send():
            while not (self.creating() and backend.locks(self.state, "base.sim")):
                time.sleep(0.05)
            for _ in range(times):
                os.kill(os.getpid(), number)
                time.sleep(1)

        threading.Thread(target=send, daemon=True).start()

    def creating(self):
        logs = [file.read_text() for file in self.state.logs.glob("pulumi-*-up-base.sim.log")]
        return logs and "slow creating" in logs[-1]


@pytest.fixture
def tinh(real_pulumi, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("stacks.layers.layers_of", lambda site: ("base", "data"))
    stacks = tmp_path / "repo" / "stacks"
    (stacks / "__main__.py").write_text(PROGRAM)
    (stacks / "thing.py").write_text(THING)
    project = yaml.safe_load((Path(__file__).parents[2] / "Pulumi.yaml").read_text())
    del project["plugins"]  # is relative to the project, and not needed
    del project["runtime"]["options"]["virtualenv"]  # dynamic resources would look for it in stacks/
    (tmp_path / "repo" / "Pulumi.yaml").write_text(yaml.safe_dump(project))
    return Tinh(tmp_path, monkeypatch, capfd)


def test_deploy_fail_resume_compare_and_destroy(tinh):
    data = {"things": ["c", "db"], "protect": ["db"]}
    tinh.declare(base={"things": ["a", "b"]}, data=data | {"failures": {"c": ["the server rejected it", 99]}})
    code, text = tinh("up", "--yes")
    assert code == 5, text
    assert "the server rejected it" in text
    assert tinh.things("base") == ["a", "b"]

    tinh.declare(base={"things": ["a", "b"]}, data=data)
    code, text = tinh("up", "--yes")
    assert code == 0, text
    assert "base.sim: 3 same" in text
    assert tinh.things("data") == ["c", "db"]

    code, text = tinh("diff")
    assert code == 0, text
    assert "base.sim: 0 changes" in text

    tinh.declare(base={"things": ["a", "new"]}, data=data)
    code, text = tinh("diff")
    assert code == 3, text
    assert "+ pulumi-python:dynamic:Resource: (create)" in text
    assert "base.sim: 2 changes (1 create, 1 delete, 2 same)" in text
    tinh.declare(base={"things": ["a", "b"], "contract": {"text": "2"}}, data=data)
    assert tinh("diff", "--layer", "base")[0] == 3

    kept = [file for file in tinh.folder.rglob("*") if file.is_file() and file.parent.name != "stacks"]
    assert [file for file in kept if b"hunter2-secret" in file.read_bytes()] == []

    assert tinh("down", "--yes")[0] == 6
    assert tinh.things("data") == ["c", "db"]
    digest = tinh("down", "--show-data")[1].split("digest: ")[1].strip()
    code, text = tinh("down", "--yes", "--data-key", digest)
    assert code == 0, text
    assert tinh.things("data") == tinh.things("base") == []


def test_a_webhook_that_does_not_listen_yet_is_waited_for(tinh):
    not_yet = ['Internal error occurred: failed calling webhook "w": connection refused', 2]
    tinh.declare(base={"things": ["a", "b"], "failures": {"b": not_yet}}, data={"things": []})
    code, text = tinh("up", "--yes")
    assert code == 0, text
    assert tinh.things("base") == ["a", "b"]


def test_plain_pulumi_works_in_the_printed_environment(tinh, monkeypatch):
    tinh.declare(base={"things": ["a"]}, data={"things": []})
    assert tinh("up", "--yes", "--layer", "base")[0] == 0
    (paths.REPO / "stacks" / "config" / "Pulumi.base.sim.yaml").unlink()
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "wrong")
    exports = tinh("env")[1]
    command = ["bash", "-c", f"{exports}\npulumi up -s base.sim --yes --non-interactive"]
    done = subprocess.run(command, cwd=paths.REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 unchanged" in done.stdout


def test_one_interrupt_finishes_the_step_and_two_are_repaired(tinh):
    slow = {"things": ["slow"], "seconds": 8}
    tinh.declare(base=slow, data={"things": []})
    tinh.signals(signal.SIGINT, 2)
    code, text = tinh("up", "--yes")
    assert code == 130, text
    assert backend.locks(tinh.state, "base.sim") == []
    assert [str(r) for r in backend.read_stack(tinh.state, "base.sim").pending] == ["Resource slow"]
    for file in tinh.state.logs.glob("pulumi-*"):
        file.unlink()

    tinh.signals(signal.SIGTERM, 1)
    code, text = tinh("up", "--yes")
    assert code == 130, text
    assert "repairing the record of Resource slow" in text
    assert backend.read_stack(tinh.state, "base.sim").pending == ()
    assert tinh.things("base") == ["slow"]

    code, text = tinh("up", "--yes")
    assert code == 0, text
    assert "base.sim: 2 same" in text


def test_a_killed_pulumi_is_cleared_away_and_the_next_run_continues(tinh):
    tinh.declare(base={"things": ["slow"], "seconds": 5}, data={"things": []})

    def kill():
        while not (tinh.creating() and backend.locks(tinh.state, "base.sim")):
            time.sleep(0.05)
        os.kill(backend.locks(tinh.state, "base.sim")[0].pid, signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    code, text = tinh("up", "--yes")
    assert code == 5, text
    assert "killed by signal 9" in text
    assert backend.locks(tinh.state, "base.sim") == []
    code, text = tinh("up", "--yes")
    assert code == 0, text


def test_passphrase_wrong_or_missing(tinh):
    tinh.declare(base={"things": ["a"]}, data={"things": []})
    assert tinh("up", "--yes")[0] == 0
    right = tinh.state.passphrase.read_text()
    tinh.state.passphrase.write_text("wrong")
    code, text = tinh("diff")
    assert code == 2, text
    assert "not the one that the stack was encrypted with" in text
    tinh.state.passphrase.unlink()
    assert tinh("diff")[0] == 2
    tinh.state.passphrase.write_text(right)
    assert tinh("diff")[0] == 0
