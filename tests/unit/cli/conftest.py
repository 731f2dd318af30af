import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import cli_harness as harness
import pytest

from cli import main
from infra import paths


@dataclass
class Result:
    code: int
    out: str
    err: str


@dataclass
class Tinh:
    """`tinh` in a folder of its own, with a fake Pulumi whose programs a test declares."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    capfd: pytest.CaptureFixture

    @property
    def state(self):
        return paths.state(harness.SITE)

    def declare(self, **stacks):
        """Set what the programs declare: `base=[...]` or `base={"resources": [...], ...}`."""
        programs = {
            f"{layer}.{harness.SITE}": value if isinstance(value, dict) else {"resources": value}
            for layer, value in stacks.items()
        }
        (self.folder / "program.json").write_text(json.dumps(programs))

    def __call__(self, *arguments) -> Result:
        self.monkeypatch.setattr(sys, "argv", ["tinh", *arguments])
        self.capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main.main()
        out, err = self.capfd.readouterr()
        return Result(int(ended.value.code), out, err)

    def start(self, *arguments) -> subprocess.Popen:
        """Start `tinh` as a process of its own, for signals."""
        return subprocess.Popen(
            [sys.executable, harness.__file__, str(self.folder), *arguments],
            env=dict(os.environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def calls(self) -> list[list[str]]:
        """What Pulumi was asked to do: the arguments of each call."""
        return [call["arguments"] for call in self.records()]

    def records(self) -> list[dict]:
        file = self.folder / "calls.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def runs(self) -> list[tuple[str, str]]:
        """The engine's runs: verb and stack."""
        return [
            (call[0], call[2]) for call in self.calls() if call[0] in ("up", "preview", "destroy", "refresh")
        ]

    def forget_calls(self):
        (self.folder / "calls.jsonl").unlink(missing_ok=True)

    def resources(self, layer) -> list[str]:
        from cli import backend

        state = backend.read_stack(self.state, f"{layer}.{harness.SITE}")
        return [record.resource.name for record in state.records]

    def wait_for(self, condition, what):
        """Wait until something is so; fails after half a minute."""
        for _ in range(600):
            if condition():
                return
            time.sleep(0.05)
        raise AssertionError(f"never happened: {what}")

    def strand(self):
        """Kill `tinh` and Pulumi in the middle of a run; return the lock that is left."""
        from cli import backend, locks

        self.declare(base={"resources": ["a"], "hang": "a"})
        process = self.start("up", "--yes")
        self.wait_for_lock()
        process.kill()
        process.communicate(timeout=60)
        (lock,) = backend.locks(self.state, f"base.{harness.SITE}")
        os.kill(lock.pid, signal.SIGKILL)
        self.wait_for(lambda: not locks.alive(lock.pid), "Pulumi's death")
        return lock

    def wait_for_lock(self, layer="base"):
        from cli import backend

        self.wait_for(lambda: backend.locks(self.state, f"{layer}.{harness.SITE}"), "Pulumi's lock")


@pytest.fixture
def tinh(tmp_path, monkeypatch, capfd):
    for name in [name for name in os.environ if name.startswith(("PULUMI_", "TINH_"))]:
        monkeypatch.delenv(name)
    for name in ("FAKE_PULUMI", "TINH_STATE", "TINH_CACHE", "TINH_SITE", "PATH"):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # registered, so that they are restored
    harness.install(tmp_path, monkeypatch.setattr)
    found = Tinh(tmp_path, monkeypatch, capfd)
    found.declare(base=["a", "b"], platforms=["c"])
    return found


@pytest.fixture
def terminal(monkeypatch):
    """Pretend that standard input is a terminal, and answer questions with what the test gives."""

    def answer(text):
        stream = io.StringIO(text)
        stream.isatty = lambda: True
        monkeypatch.setattr(sys, "stdin", stream)

    return answer
