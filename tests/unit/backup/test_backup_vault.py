"""The machine with the copies, as plain processes: what a key may do, and what it finds when something is wrong."""

import io
import json
import os
import subprocess
import sys
import time
from datetime import timedelta

import pytest
from backup_cases import NOW, entry, needs
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra import paths, receipt
from infra.backup import bring, seal
from infra.backup import vault as vault_module
from infra.backup.vault import Vault
from infra.errors import Exit, IntegrityError, RefusedError, TinhError, ToolError

pytestmark = needs("age")

AGENT = paths.PLAYBOOKS / "roles" / "backup_host" / "files" / "vault.py"
KEY = Ed25519PrivateKey.generate()
PUBLIC = receipt.public_text(KEY)
IDENTITY = seal.make_identity()
RECIPIENT = seal.public_of(IDENTITY, "test")


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "vault"
    folder.mkdir()
    (folder / "vault.json").write_text('{"locked_days": 1}')
    return folder


def vault(root, role, name="backup1"):
    return Vault(name, ("env", f"TINH_VAULT={root}", sys.executable, str(AGENT), role))


def back_up(root, content=b"content", ago=5, parent=None, **more):
    """Put one backup; return its entry."""
    writer = vault(root, "writer")
    blob, _ = writer.put(io.BytesIO(content), [RECIPIENT])
    known = {"index": blob, "blobs": (blob,), "recipients": (RECIPIENT,)}
    made = entry(ago, parent=parent, **more).model_copy(update=known)
    writer.enter(receipt.sign(made.body(), KEY))
    return made


def age(root, days):
    """Let everything at a copy have come some days ago."""
    then = time.time() - days * 24 * 3600
    for file in root.rglob("*"):
        if file.is_file():
            os.utime(file, (then, then))


def read(root, made, identity=IDENTITY):
    return fetch(vault(root, "reader"), made.index, identity)


def fetch(copy, blob, identity=IDENTITY):
    sink = io.BytesIO()
    with copy.delivery([blob]) as coming:
        coming.take(blob, sink, identity)
    return sink.getvalue()


@pytest.mark.parametrize("size", [0, 1, 65536, 3_000_001])
def test_what_was_put_comes_back_and_lies_there_sealed(root, size):
    content = os.urandom(size)
    made = back_up(root, b"marker" + content)
    assert read(root, made) == b"marker" + content
    assert vault(root, "observer").look(PUBLIC).entries == (made,)
    assert not any(b"marker" in file.read_bytes() for file in root.rglob("*") if file.is_file())


@pytest.mark.parametrize(
    ("role", "verb"),
    [
        ("writer", "get"), ("writer", "prune"), ("writer", "pull"), ("reader", "put"), ("reader", "prune"),
        ("observer", "get"), ("observer", "enter"), ("keeper", "get"), ("keeper", "put"),
        ("writer", "sh"), ("writer", ""),
    ],
)  # fmt: skip
def test_a_key_may_do_what_its_role_says_and_nothing_else(root, role, verb):
    with pytest.raises(RefusedError, match=f"{role} may not"):
        vault(root, role)._call(*([verb] if verb else []), data=b"{}") if verb else vault(root, role)._call(
            ""
        )


def test_sshd_gives_the_verb_in_the_environment_and_no_shell_sees_it(root):
    made = back_up(root)
    lines = {"list": 0, f"get {made.index.sha256}": 6, "list; rm -rf /": 6, "list $(id)": 0, "list a b": 2}
    for line, code in lines.items():
        done = subprocess.run(
            [sys.executable, str(AGENT), "writer"], capture_output=True, check=False,
            env={"TINH_VAULT": str(root), "SSH_ORIGINAL_COMMAND": line, "PATH": os.environ["PATH"]},
        )  # fmt: skip
        assert done.returncode == code, line
        assert line == "list" or made.id.encode() not in done.stdout
    assert read(root, made) == b"content"


def test_production_can_neither_change_nor_remove(root):
    made = back_up(root)
    writer = vault(root, "writer")
    with pytest.raises(RefusedError, match="cannot be changed"):
        writer.enter(receipt.sign(made.model_copy(update={"size": 1}).body(), KEY))
    writer.enter(receipt.sign(made.body(), KEY))  # the same again changes nothing
    before = sorted(file.read_bytes() for file in root.rglob("*") if file.is_file())
    for verb in ("prune", "delete", "rm"):
        with pytest.raises(RefusedError):
            writer._call(verb, data=json.dumps({"entries": [[made.data_set, made.id]]}).encode())
    with pytest.raises(ToolError):
        writer._call("put", "../../etc/passwd", data=b"x")
    assert sorted(file.read_bytes() for file in root.rglob("*") if file.is_file()) == before
    assert read(root, made) == b"content"


def test_an_entry_is_not_taken_before_its_blobs_and_its_parent(root):
    with pytest.raises(ToolError, match="which is not here"):
        vault(root, "writer").enter(receipt.sign(entry(5).body(), KEY))
    made = back_up(root)
    lost = made.model_copy(update={"id": "20260101T000000Z", "parent": "20250101T000000Z"})
    with pytest.raises(ToolError, match="adds to 20250101T000000Z"):
        vault(root, "writer").enter(receipt.sign(lost.body(), KEY))
    with pytest.raises(ToolError, match="names no backup"):
        vault(root, "writer").enter(receipt.sign(made.body() | {"data_set": "../etc"}, KEY))


def test_a_damaged_blob_is_found_named_and_mended_by_the_same_content(root):
    made = back_up(root, os.urandom(200_000))
    file = root / "blobs" / made.index.sha256[:2] / made.index.sha256
    whole = file.read_bytes()
    file.chmod(0o600)
    file.write_bytes(whole[:100_000] + bytes([whole[100_000] ^ 1]) + whole[100_001:])
    with pytest.raises(IntegrityError, match="damaged") as error:
        read(root, made)
    assert error.value.code is Exit.INTEGRITY and made.index.sha256 in error.value.where
    assert vault(root, "observer").look(PUBLIC).good(made)  # of the same size: only a check sees it
    assert vault(root, "writer").check() == [made.index.sha256]
    assert not vault(root, "observer").look(PUBLIC).good(made)
    done = subprocess.run(
        (*vault(root, "writer").command, "put"), input=whole, capture_output=True, check=True
    )
    assert json.loads(done.stdout)["sha256"] == made.index.sha256
    assert vault(root, "writer").check() == []
    assert vault(root, "observer").look(PUBLIC).good(made)


def test_a_blob_that_is_missing_or_cut_off_is_found_at_once(root):
    made = back_up(root)
    file = root / "blobs" / made.index.sha256[:2] / made.index.sha256
    file.chmod(0o600)
    file.write_bytes(file.read_bytes()[:-1])
    assert not vault(root, "observer").look(PUBLIC).good(made)
    file.unlink()
    assert not vault(root, "observer").look(PUBLIC).good(made)
    with pytest.raises(IntegrityError, match="is missing"):
        read(root, made)


def test_many_come_over_one_connection_and_what_is_wrong_with_one_is_said_of_it(root, monkeypatch):
    monkeypatch.setattr(vault_module, "AT_ONCE", 3)
    blobs = [back_up(root, bytes([ago]) * 100_000 * ago, ago).index for ago in range(1, 8)]
    reader, calls = vault(root, "reader"), []
    monkeypatch.setattr(
        Vault, "_open", lambda self, *words, real=Vault._open: calls.append(words) or real(self, *words)
    )

    def take(wanted):
        with reader.delivery(wanted) as coming:
            for blob in wanted:
                sink = io.BytesIO()
                coming.take(blob, sink, IDENTITY)
                yield sink.getvalue()

    assert list(take(blobs)) == [bytes([ago]) * 100_000 * ago for ago in range(1, 8)]
    assert [len(words) - 1 for words in calls] == [3, 3, 1]
    longer = root / "blobs" / blobs[1].sha256[:2] / blobs[1].sha256
    longer.chmod(0o600)
    longer.write_bytes(longer.read_bytes() + b"more")
    (root / "blobs" / blobs[2].sha256[:2] / blobs[2].sha256).unlink()
    for wanted, said in (([blobs[0], blobs[1]], "damaged"), ([blobs[0], blobs[2], blobs[3]], "missing")):
        with pytest.raises(IntegrityError, match=said) as error:
            list(take(wanted))
        assert wanted[1].sha256 in error.value.where
    with pytest.raises(ValueError, match="not the next one"), reader.delivery(blobs[3:5]) as coming:
        coming.take(blobs[4], io.BytesIO(), IDENTITY)


def test_a_connection_that_breaks_on_the_way_is_no_damage(root):
    made = back_up(root, os.urandom(1_000_000))
    broken = f"{' '.join(vault(root, 'reader').command)} $0 $1 | head -c 500000; echo connection closed >&2; exit 255"
    with pytest.raises(ToolError, match="connection closed"):
        fetch(Vault("backup1", ("sh", "-c", broken)), made.index)
    with pytest.raises(ToolError, match="no route"):
        fetch(Vault("backup1", ("sh", "-c", "echo no route >&2; exit 255")), made.index)


def test_an_agent_of_another_version_is_an_error_and_not_a_wait(root):
    made = back_up(root)
    with pytest.raises(ToolError, match="does not do `get`"):
        fetch(
            Vault("backup1", ("sh", "-c", "head -c 2000000 /dev/zero | tr '\\0' '\\n'; exit 2")), made.index
        )


def test_a_changed_list_of_recipients_is_damage_and_not_another_key(root):
    made = back_up(root)
    file = root / "blobs" / made.index.sha256[:2] / made.index.sha256
    data = file.read_bytes()
    place = data.index(b"-> X25519 ") + 12
    file.chmod(0o600)
    file.write_bytes(data[:place] + (b"A" if data[place : place + 1] != b"A" else b"B") + data[place + 1 :])
    with pytest.raises(TinhError, match="the key does not open it"):
        read(root, made)
    with pytest.raises(IntegrityError, match="it is damaged"):
        bring.items_of([made], vault(root, "reader"), IDENTITY)
    with pytest.raises(seal.WrongKeyError, match="it is sealed for"):
        bring.items_of([made], vault(root, "reader"), seal.make_identity())


def test_another_key_does_not_open_it(root):
    made = back_up(root)
    with pytest.raises(TinhError, match="the key does not open it") as error:
        read(root, made, seal.make_identity())
    assert error.value.code is Exit.INPUT
    with pytest.raises(TinhError, match="no private key"):
        read(root, made, "password")


def test_a_forged_entry_is_left_out_and_named(root):
    made = back_up(root)
    found = vault(root, "observer").look(receipt.public_text(Ed25519PrivateKey.generate()))
    assert found.entries == () and "not the province's" in found.problem
    assert vault(root, "observer").look(None).entries == (made,)


def test_the_keeper_removes_what_is_old_but_nothing_locked_needed_or_last(root):
    full = back_up(root, b"1", ago=600)
    more = back_up(root, b"2", ago=500, parent=full)
    last = back_up(root, b"3", ago=5)
    keeper = vault(root, "keeper")
    with pytest.raises(RefusedError, match="it is locked"):
        keeper.prune([full, more])
    age(root, 2)
    with pytest.raises(RefusedError, match=f"{more.id} stays and needs {full.id}"):
        keeper.prune([full])
    with pytest.raises(RefusedError, match="no good backup of etcd would be left"):
        keeper.prune([full, more, last])
    freed = keeper.prune([full, more])
    assert freed == full.index.size + more.index.size
    assert vault(root, "observer").look(PUBLIC).entries == (last,) and read(root, last) == b"3"
    with pytest.raises(ToolError, match="there is no backup"):
        keeper.prune([full])


def test_a_damaged_last_one_does_not_count_as_the_last_good_one(root):
    old, new = back_up(root, b"1", ago=500), back_up(root, b"2", ago=5)
    file = root / "blobs" / new.index.sha256[:2] / new.index.sha256
    file.chmod(0o600)
    file.write_bytes(b"x" * new.index.size)
    vault(root, "keeper").check()
    age(root, 2)
    with pytest.raises(RefusedError, match="no good backup"):
        vault(root, "keeper").prune([old])


def test_a_blob_of_a_running_backup_is_not_cleared_away(root):
    old, _ = back_up(root, b"1", ago=500), back_up(root, b"2", ago=5)
    age(root, 2)
    blob, _ = vault(root, "writer").put(io.BytesIO(b"running"), [RECIPIENT])
    vault(root, "keeper").prune([old])
    assert (root / "blobs" / blob.sha256[:2] / blob.sha256).exists()


def pull(root, source):
    ssh = " ".join(vault(source, "reader").command)
    command = vault(root, "local").command
    done = subprocess.run(
        ["env", f"TINH_VAULT_SSH={ssh}", *command, "pull", "backup1"],
        capture_output=True,
        text=True,
        check=False,
    )
    return (json.loads(done.stdout) if done.stdout else {}), done.stderr


def test_the_second_copy_gets_what_it_lacks_and_nothing_that_is_damaged(root, tmp_path):
    other = tmp_path / "offsite"
    other.mkdir()
    (other / "vault.json").write_text('{"locked_days": 1}')
    first = back_up(root, b"1", ago=50)
    assert pull(other, root)[0] == {"entries": 1, "failed": 0}
    assert read(other, first) == b"1"
    assert pull(other, root)[0] == {"entries": 0, "failed": 0}
    second = back_up(root, b"2", ago=5)
    file = root / "blobs" / second.index.sha256[:2] / second.index.sha256
    file.chmod(0o600)
    whole = file.read_bytes()
    file.write_bytes(b"x" * len(whole))
    done, said = pull(other, root)
    assert done == {"entries": 0, "failed": 1} and second.id in said
    assert vault(other, "observer").look(PUBLIC).entries == (first,)
    file.write_bytes(whole)
    assert pull(other, root)[0]["entries"] == 1
    # what is damaged here is got anew
    mine = other / "blobs" / first.index.sha256[:2] / first.index.sha256
    mine.chmod(0o600)
    mine.write_bytes(b"x" * first.index.size)
    assert vault(other, "observer").check() == [first.index.sha256]
    assert pull(other, root)[0]["failed"] == 0
    assert vault(other, "observer").check() == [] and read(other, first) == b"1"


def test_the_second_copy_gets_all_blobs_of_an_entry_that_are_whole(root, tmp_path):
    other = tmp_path / "offsite"
    other.mkdir()
    (other / "vault.json").write_text('{"locked_days": 1}')
    writer = vault(root, "writer")
    blobs = [
        writer.put(io.BytesIO(os.urandom(size)), [RECIPIENT])[0] for size in (0, 1, 70_000, 2_000_000, 5)
    ]
    made = entry(5).model_copy(
        update={"index": blobs[0], "blobs": tuple(blobs[1:]), "recipients": (RECIPIENT,)}
    )
    writer.enter(receipt.sign(made.body(), KEY))
    files = [root / "blobs" / blob.sha256[:2] / blob.sha256 for blob in blobs]
    missing, shorter = files[1].read_bytes(), files[2].read_bytes()
    files[1].unlink()
    files[2].chmod(0o600)
    files[2].write_bytes(shorter[:-9])
    done, said = pull(other, root)
    assert done == {"entries": 0, "failed": 1} and "2 blob(s) are damaged there" in said
    here = {file.name for file in (other / "blobs").glob("*/*")}
    assert here == {blob.sha256 for blob in blobs} - {blobs[1].sha256, blobs[2].sha256}
    files[1].write_bytes(missing)
    files[2].write_bytes(shorter)
    assert pull(other, root)[0] == {"entries": 1, "failed": 0}
    assert vault(other, "observer").look(PUBLIC).entries == (made,)


def test_a_machine_that_does_not_answer_is_a_copy_with_a_problem(root):
    dead = Vault("backup1", ("sh", "-c", "echo no route to host >&2; exit 255"))
    assert "no route to host" in dead.look(PUBLIC).problem
    with pytest.raises(ToolError, match="no route"):
        dead.put(io.BytesIO(b"x" * 10_000_000), [RECIPIENT])


def test_a_broken_connection_leaves_no_entry_and_no_harm(root):
    process = vault(root, "writer")._open("put")
    process.stdin.write(b"half")
    process.stdin.flush()
    time.sleep(0.2)
    process.kill()
    process.wait()
    made = back_up(root)
    assert vault(root, "writer").check() == [] and read(root, made) == b"content"
    assert made.at == NOW - timedelta(minutes=5)


def test_ctrl_c_on_the_way_stays_ctrl_c(root):
    class Source(io.RawIOBase):
        def read(self, count=-1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        vault(root, "writer").put(Source(), [RECIPIENT])
    assert not list((root / "blobs").glob("[0-9a-f]*"))
