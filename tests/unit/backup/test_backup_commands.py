"""The commands, end to end with copies as plain processes: back up, lose, list, prove, restore, clear out."""

import io
import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import click
import pytest
from backup_cases import entry, needs
from click.testing import CliRunner

from cli import backup, drill, locks, restore
from infra import paths, receipt
from infra.backup import bring, keys, seal, vault
from infra.backup.catalogue import new_id
from infra.backup.vault import Vault
from infra.errors import Exit, TinhError
from infra.model.site import load_site

pytestmark = needs("age")

AGENT = paths.PLAYBOOKS / "roles" / "backup_host" / "files" / "vault.py"
ROLE = {"backup-writer": "writer", "reader": "reader", "keeper": "keeper"}


@pytest.fixture
def site(state, tmp_path, monkeypatch):
    """A site with some state, and two copies that the second gets from the first."""
    own = paths.state("lab")
    (own.root / "secrets").mkdir()
    (own.root / "secrets" / "one").write_text("secret value")
    stack = own.pulumi / ".pulumi" / "stacks" / "tinh" / "base.lab.json"
    stack.parent.mkdir(parents=True)
    stack.write_text(json.dumps({"checkpoint": {"latest": {"resources": [{"urn": "a"}, {"urn": "b"}]}}}))
    homes = {}
    for name in ("backup1", "offsite1"):
        homes[name] = tmp_path / name
        homes[name].mkdir()
        (homes[name] / "vault.json").write_text('{"locked_days": 1}')

    def local(site, key):
        words = {
            name: ("env", f"TINH_VAULT={home}", sys.executable, str(AGENT)) for name, home in homes.items()
        }
        role = ROLE[key.name]
        return [Vault(name, (*line, role)) for name, line in words.items()]

    monkeypatch.setattr(vault, "vaults", local)
    return homes


def run(command, *words, stdin=None):
    return CliRunner().invoke(command, words, standalone_mode=False, input=stdin)


def ok(command, *words):
    result = run(command, *words)
    assert result.exception is None, result.output
    return result


def pull(homes):
    ssh = f"env TINH_VAULT={homes['backup1']} {sys.executable} {AGENT} reader"
    subprocess.run(
        [sys.executable, str(AGENT), "local", "pull", "backup1"], check=True, capture_output=True,
        env=os.environ | {"TINH_VAULT": str(homes["offsite1"]), "TINH_VAULT_SSH": ssh},
    )  # fmt: skip


def test_a_data_set_is_backed_up_listed_proven_and_restored(site):
    assert ok(backup.command, "run", "site-data", "pulumi-state").return_value == 0
    assert "1 of 2 copies" in ok(backup.command, "list").output
    pull(site)
    shown = json.loads(ok(backup.command, "list", "--json").output)
    standing = {one["data_set"]: one for one in shown}
    assert standing["pulumi-state"]["problems"] == [] and standing["pulumi-state"]["holders"] == [
        "backup1",
        "offsite1",
    ]
    assert standing["etcd"]["problems"] == ["no good backup"]
    (row,) = json.loads(ok(backup.command, "show", "pulumi-state", "--json").output)
    assert row["facts"]["stacks"] == {"base.lab": 2} and row["good_at"] == ["backup1", "offsite1"]

    result = ok(drill.command, "run", "--data-set", "pulumi-state", "--data-set", "site-data")
    assert result.return_value == Exit.OK and "pulumi-state: proven: backup" in result.output
    assert "from offsite1" in result.output
    (file,) = (paths.state("lab").root / "receipts").glob("drill-*.json")
    assert ok(drill.command, "verify", str(file)).return_value == Exit.OK
    late = json.loads(ok(drill.command, "status", "--json").output)
    assert not late["site-data"]["overdue"] and late["etcd"]["overdue"]
    assert "nothing is due" in ok(drill.command, "run", "--data-set", "site-data", "--due").output

    stack = paths.state("lab").pulumi / ".pulumi" / "stacks" / "tinh" / "base.lab.json"
    stack.write_text("{broken")
    ok(restore.command, "pulumi-state", "--in-place", "--yes")
    assert len(json.loads(stack.read_text())["checkpoint"]["latest"]["resources"]) == 2
    (aside,) = paths.state("lab").root.glob("pulumi.before-*")
    assert (aside / ".pulumi" / "stacks" / "tinh" / "base.lab.json").read_text() == "{broken"


def test_keys_and_secrets_come_back_without_the_key_that_opens_backups(site):
    own = paths.state("lab")
    keys.recipients(load_site("lab"))
    ok(backup.command, "run", "site-data")
    (own.root / "secrets" / "one").write_text("lost")
    ok(restore.command, "site-data", "--as", "look", "--yes")
    look = own.root / "restored" / "look"
    assert (look / "state" / "secrets" / "one").read_text() == "secret value"
    assert (look / "site" / "site.yaml").exists()
    assert not (look / "state" / "vault").exists() and not list(look.rglob("identity.age"))
    with pytest.raises(TinhError, match="is there already"):
        raise run(restore.command, "site-data", "--as", "look", "--yes").exception
    ok(restore.command, "site-data", "--in-place", "--yes", "--no-backup")
    assert (own.root / "secrets" / "one").read_text() == "secret value"
    (aside,) = (own.root / "restored").glob("state-before-*")
    assert (aside / "secrets" / "one").read_text() == "lost"


def test_what_is_not_there_or_not_wanted_is_said(site, monkeypatch):
    ok(backup.command, "run", "site-data")
    assert "nothing was done" in ok(restore.command, "site-data").output
    for words, message in {
        ("site-data", "--as", "x"): "nobody can answer",
        ("site-data", "--as", "x", "--in-place"): "exclude each other",
        ("nothing",): "no data set 'nothing'",
        ("site-data", "--to", "yesterday"): "is no time",
        ("site-data", "--to", "2020-01-01T00:00:00Z"): "no good backup of site-data for 2020",
        ("routers", "--in-place"): "routers are not restored in place",
        ("site-data", "--as", "site-data"): "is the data set itself",
        ("site-data", "--as", "../x"): "cannot be part of a name",
        ("site-data", "--as", "x", "--from", "nowhere", "--yes"): "no good backup",
    }.items():
        error = run(restore.command, *words).exception
        assert isinstance(error, TinhError) and message in error.what, words


def test_a_wrong_key_a_missing_key_and_a_damaged_copy_each_have_their_code(site, tmp_path):
    ok(backup.command, "run", "site-data")
    other = tmp_path / "other"
    other.write_text(seal.make_identity())
    wrong = run(restore.command, "site-data", "--as", "x", "--yes", "--identity", str(other)).exception
    assert wrong.code is Exit.INPUT and "the key does not open it" in wrong.what
    missing = run(
        restore.command, "site-data", "--as", "x", "--yes", "--identity", str(tmp_path / "none")
    ).exception
    assert missing.code is Exit.INPUT and "is not here" in missing.what
    for file in (site["backup1"] / "blobs").glob("*/*"):
        file.chmod(0o600)
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
    hurt = run(restore.command, "site-data", "--in-place", "--yes", "--no-backup").exception
    assert hurt.code is Exit.INTEGRITY and "damaged" in hurt.what
    assert not (paths.state("lab").root / "restored").exists()
    proof = ok(drill.command, "run", "--data-set", "site-data")
    assert proof.return_value == Exit.CHANGES and "NOT PROVEN" in proof.output
    found = ok(backup.command, "verify")
    assert found.return_value == Exit.INTEGRITY and "DAMAGED: site-data" in found.output


def test_verify_repairs_from_the_copy_that_is_whole(site):
    ok(backup.command, "run", "site-data")
    pull(site)
    for file in (site["backup1"] / "blobs").glob("*/*"):
        file.chmod(0o600)
        file.write_bytes(b"x" * file.stat().st_size)
    assert ok(backup.command, "verify").return_value == Exit.INTEGRITY
    assert ok(backup.command, "verify", "--repair").return_value == Exit.OK
    assert ok(restore.command, "site-data", "--as", "x", "--yes", "--from", "backup1").exception is None


BEGUN = {
    "restore": (restore.command, ("site-data", "--in-place", "--yes", "--no-backup")),
    "drill": (drill.command, ("run", "--data-set", "site-data")),
    "backup": (backup.command, ("run", "--whole", "site-data")),
}


def test_of_two_at_once_the_second_one_is_refused(site):
    ok(backup.command, "run", "site-data")
    with locks.data_lock(paths.state("lab"), "site-data", "tinh restore"):
        for command, words in BEGUN.values():
            result = run(command, *words)
            code = result.exception.code if result.exception else result.return_value
            assert code is Exit.LOCKED, result.output


@pytest.mark.parametrize("which", BEGUN)
def test_ctrl_c_leaves_nothing_behind_and_what_serves_alone(site, monkeypatch, which):
    own = paths.state("lab")
    ok(backup.command, "run", "site-data")
    (own.root / "secrets" / "one").write_text("newer")
    before = {file: file.read_bytes() for file in (own.root / "secrets").iterdir()}
    entries = set(site["backup1"].glob("catalogue/*/*"))

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(bring, "fetch", stop)
    monkeypatch.setattr(Vault, "put", stop)
    command, words = BEGUN[which]
    assert isinstance(run(command, *words).exception, click.Abort)
    assert not list(own.backup.glob("work-*")) and not (own.root / "restored").exists()
    assert locks.holder(own, "data.site-data") is None
    assert {file: file.read_bytes() for file in (own.root / "secrets").iterdir()} == before
    assert set(site["backup1"].glob("catalogue/*/*")) == entries


def test_a_second_backup_of_the_same_sends_nothing_again(site):
    ok(backup.command, "run", "pulumi-state")
    first = {f.name for f in (site["backup1"] / "blobs").glob("*/*")}
    time.sleep(1.1)
    ok(backup.command, "run", "pulumi-state")
    rows = json.loads(ok(backup.command, "show", "pulumi-state", "--json").output)
    assert rows[1]["parent"] == rows[0]["id"] and rows[1]["size"] == 0
    assert len({f.name for f in (site["backup1"] / "blobs").glob("*/*")} - first) == 1  # the index
    assert ok(drill.command, "run", "--data-set", "pulumi-state").return_value == Exit.OK
    time.sleep(1.1)
    ok(backup.command, "run", "--whole", "pulumi-state")
    rows = json.loads(ok(backup.command, "show", "pulumi-state", "--json").output)
    assert rows[2]["parent"] == ""
    assert "nothing is due" not in ok(backup.command, "run", "pulumi-state").output


def old_backup(home, days):
    """A complete backup of site-data that was taken some days ago."""
    at = datetime.now(UTC) - timedelta(days=days)
    writer = Vault("backup1", ("env", f"TINH_VAULT={home}", sys.executable, str(AGENT), "writer"))
    blob, _ = writer.put(io.BytesIO(str(days).encode()), keys.recipients(load_site("lab")))
    made = entry(0).model_copy(
        update={"data_set": "site-data", "id": new_id(at), "at": at, "index": blob, "blobs": (blob,)}
    )
    writer.enter(receipt.sign(made.body(), receipt.province_key("lab")))
    return made


def test_clearing_out_says_what_goes_asks_and_never_takes_the_last_one(site):
    home = site["backup1"]
    old = [old_backup(home, days) for days in (300, 200, 100)]
    # the lab's rules: 7 days, 4 weeks that have one: all three are some week's last, until there are more
    newer = [old_backup(home, days) for days in (60, 50, 40, 30, 20)]
    refused = run(backup.command, "prune").exception
    assert isinstance(refused, TinhError) and "nobody can answer" in refused.what
    locked = run(backup.command, "prune", "--yes").exception
    assert locked.code is Exit.REFUSED and "it is locked" in locked.what
    for file in home.glob("catalogue/*/*"):
        os.utime(file, (0, 0))
    result = ok(backup.command, "prune", "--yes")
    assert f"site-data: 1 ({old[0].id}); 7 stay" in result.output
    assert "offsite1: nothing is older" in result.output
    left = {file.stem for file in home.glob("catalogue/site-data/*")}
    assert left == {one.id for one in (*old[1:], *newer)}


def test_a_receipt_that_was_changed_proves_nothing(site):
    ok(backup.command, "run", "site-data")
    ok(drill.command, "run", "--data-set", "site-data")
    (file,) = (paths.state("lab").root / "receipts").glob("drill-*.json")
    file.write_text(file.read_text().replace('"compared": ', '"compared": 1'))
    assert run(drill.command, "verify", str(file)).exception.code is Exit.INTEGRITY
    assert json.loads(ok(drill.command, "status", "--json").output)["site-data"]["overdue"]
    document = receipt.sign({"kind": "other"}, receipt.province_key("lab"))
    file.write_text(json.dumps(document))
    assert "of kind 'other'" in run(drill.command, "verify", str(file)).exception.what
