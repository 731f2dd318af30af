"""Rebuild: steps in order, goes on where it was interrupted, refuses what lives, ends with a signed receipt."""

import json
import signal

import click
import pytest
from click.testing import CliRunner

from cli import rebuild
from infra import paths, receipt
from infra.backup.rebuild import KIND, steps
from infra.backup.sets import data_sets
from infra.errors import Exit, ToolError

DATABASES = ("identity-db", "portal-db", "gazette-db")
ORDER = [
    "site data",
    "machines",
    "layers",
    *(f"data {name}" for name in DATABASES),
    "data probe-files",
    "data probe-events",
    "data cluster-objects",
    "backup",
]


@pytest.fixture
def done(lab, monkeypatch):
    """What was done, instead of doing it; the cluster does not answer."""
    from infra.backup import seal

    kit = paths.state("lab").vault
    kit.mkdir()
    (kit / "identity.age").write_text(seal.make_identity())
    names: list[str] = []
    monkeypatch.setattr(rebuild, "_do", lambda backups, step, copy, key: names.append(step.name) or "done")
    monkeypatch.setattr("infra.cluster.live_uid", lambda site: (_ for _ in ()).throw(ToolError("no answer")))
    return names


def run(*words):
    return CliRunner().invoke(rebuild.command, words, standalone_mode=False)


def test_keys_come_first_then_machines_layers_data_and_a_new_backup(lab):
    names = [step.name for step in steps(data_sets(lab), lab=True)]
    assert names == ORDER


def test_every_step_is_done_once_and_the_receipt_says_how_long_it_took(done):
    result = run("--yes")
    assert result.exception is None, result.output
    assert done == ORDER
    (file,) = (paths.state("lab").root / "receipts").glob("rebuild-*.json")
    body = receipt.verify(receipt.read(file), str(file), receipt.public_text(receipt.province_key("lab")))
    assert body["kind"] == KIND and body["copy"] == "offsite1" and [s["name"] for s in body["steps"]] == done
    assert not (paths.state("lab").root / "rebuild.json").exists()


def test_an_interrupted_rebuild_goes_on_where_it_stopped(done, monkeypatch):
    def stop(backups, step, copy, key):
        if step.name == "layers":
            raise KeyboardInterrupt
        done.append(step.name)
        return "done"

    monkeypatch.setattr(rebuild, "_do", stop)
    assert isinstance(run("--yes").exception, click.Abort)
    assert [row["name"] for row in json.loads((paths.state("lab").root / "rebuild.json").read_text())] == done
    monkeypatch.setattr(rebuild, "_do", lambda backups, step, copy, key: done.append(step.name) or "done")
    assert run("--yes").exception is None
    assert done == ORDER


class Child:
    """A command that is under way when Ctrl-C comes, and takes its time to clean up."""

    def __init__(self, command, *, start_new_session):
        assert start_new_session
        self.signals, self.answers = [], [KeyboardInterrupt(), KeyboardInterrupt(), 130]
        Child.last = self

    def wait(self):
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def send_signal(self, number):
        self.signals.append(number)


def test_each_ctrl_c_reaches_the_command_of_a_step_once_and_its_end_is_awaited(lab, monkeypatch):
    monkeypatch.setattr(rebuild.subprocess, "Popen", Child)
    with pytest.raises(KeyboardInterrupt):
        rebuild._tinh(rebuild.open_backups("lab"), "up", "--yes")
    assert Child.last.signals == [signal.SIGINT] * 2 and Child.last.answers == []


def test_a_site_that_lives_and_a_missing_kit_are_refused(done, monkeypatch):
    monkeypatch.setattr("infra.cluster.check_cluster", lambda site: "uid")
    error = run("--yes").exception
    assert error.code is Exit.REFUSED and "cluster uid answers" in error.what and done == []


def test_without_the_kit_nothing_begins(lab, monkeypatch):
    monkeypatch.setattr("infra.cluster.live_uid", lambda site: (_ for _ in ()).throw(ToolError("no answer")))
    error = run("--yes").exception
    assert error.code is Exit.INPUT and "the key that opens backups is not here" in error.what
