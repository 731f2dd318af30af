"""The store: atomic, checked, locked."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from infra.errors import HostError, IntegrityError
from lab.toolchain import process
from lab.toolchain.store import MANIFEST, Store, discard, disk_full, size

KEY = "0123456789abcdef" * 4


@pytest.fixture
def store(tmp_path: Path) -> Store:
    process.stopping.clear()
    return Store(tmp_path)


@pytest.fixture
def artifact(store: Store) -> Path:
    out = store.begin("tool")
    (out / "bin").mkdir()
    (out / "bin" / "tool").write_text("#!/bin/sh\n")
    (out / "bin" / "tool").chmod(0o755)
    (out / "bin" / "alias").symlink_to("tool")
    (out / "empty").mkdir()
    return store.commit(out, "tool", KEY, {"version": "1"})


def test_commit_names_the_folder_by_key_and_lists_every_file(store: Store, artifact: Path):
    assert artifact == store.folder("tool", KEY)
    assert artifact.name == f"tool-{KEY[:20]}"
    manifest = json.loads((artifact / MANIFEST).read_text())
    assert manifest["key"] == KEY
    assert set(manifest["files"]) == {"bin/tool", "bin/alias"}
    assert manifest["files"]["bin/alias"] == {"link": "tool"}
    store.check(artifact, thorough=True)


def change_content(folder: Path):
    file = folder / "bin" / "tool"
    found = file.stat()
    file.write_text("#!/bin/no\n")  # as long as before
    os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))


def test_verify_finds_changed_content_of_the_same_size_and_time(store: Store, artifact: Path):
    change_content(artifact)
    store.check(artifact)  # the quick check looks at size and time only
    with pytest.raises(IntegrityError, match=r"should have sha256 [0-9a-f]{64}, has [0-9a-f]{64}"):
        store.check(artifact, thorough=True)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda at: (at / "bin" / "tool").unlink(), "bin/tool is missing"),
        (lambda at: (at / "bin" / "tool").write_text("longer than before"), "should have 10 bytes, has 18"),
        (lambda at: (at / "bin" / "tool").write_text("#!/bin/no\n"), "should have sha256"),
        (lambda at: (at / "bin" / "tool").chmod(0o777), "should have mode 755, has 777"),
        (
            lambda at: ((at / "bin" / "alias").unlink(), (at / "bin" / "alias").symlink_to("x")),
            "link to tool, is x",
        ),
        (lambda at: (at / MANIFEST).unlink(), "manifest.json cannot be read"),
        (lambda at: (at / MANIFEST).write_text("{"), "manifest.json cannot be read"),
    ],
)
def test_quick_check_refuses(store: Store, artifact: Path, damage, message):
    damage(artifact)
    with pytest.raises(IntegrityError, match=message) as caught:
        store.check(artifact)
    assert f"rm -r {artifact}" in caught.value.fix
    assert caught.value.fix.endswith("tinh toolchain get tool`")


def test_verify_finds_additional_files(store: Store, artifact: Path):
    (artifact / "more").write_text("")
    with pytest.raises(IntegrityError, match="more is there, but is not in the manifest"):
        store.check(artifact, thorough=True)


def test_a_new_time_alone_is_no_damage(store: Store, artifact: Path):
    os.utime(artifact / "bin" / "tool")
    store.check(artifact)


def test_begin_removes_what_a_killed_build_left(store: Store):
    left = store.begin("tool")
    (left / "half").write_text("half")
    assert store.leftovers() == [left]
    assert list(store.begin("tool").iterdir()) == []


def test_leftovers_of_a_running_build_are_not_garbage(store: Store):
    store.begin("tool")
    with store.lock("tool"):
        assert store.leftovers() == []


def test_lock_excludes_threads_and_tells_who_waits(store: Store):
    waiting, got = threading.Event(), threading.Event()

    def other():
        with store.lock("tool", waiting.set):
            got.set()

    thread = threading.Thread(target=other)
    with store.lock("tool"):
        thread.start()
        assert waiting.wait(10)
        assert not got.is_set()
    thread.join(10)
    assert got.is_set()


def test_waiting_for_a_lock_ends_when_everything_stops(store: Store):
    errors = []

    def other():
        try:
            with store.lock("tool", process.stopping.set):
                pass
        except process.Stopped as error:
            errors.append(error)

    with store.lock("tool"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(10)
    process.stopping.clear()
    assert len(errors) == 1


def test_the_lock_of_a_killed_process_falls(store: Store):
    code = (
        "import sys, time; from pathlib import Path; from lab.toolchain.store import Store\n"
        "with Store(Path(sys.argv[1])).lock('tool'):\n    print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(store.root)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout
        assert child.stdout.readline() == "held\n"
        assert store.locked("tool")
        child.kill()
    assert not store.locked("tool")


def test_slots_limit_how_many_run_at_once(store: Store):
    waiting = threading.Event()
    with store.slot("build", 2), store.slot("build", 2):
        thread = threading.Thread(target=lambda: store.slot("build", 2, waiting.set).__enter__())
        thread.start()
        assert waiting.wait(10)
    thread.join(10)
    assert not thread.is_alive()


def test_discard_removes_read_only_folders(tmp_path: Path):
    folder = tmp_path / "mod" / "pkg"
    folder.mkdir(parents=True)
    (folder / "file").write_text("x")
    (folder / "file").chmod(0o444)
    folder.chmod(0o555)
    discard(tmp_path / "mod")
    assert not (tmp_path / "mod").exists()
    discard(tmp_path / "mod")  # what is gone already is fine


def test_remembered_times_survive_a_broken_file(store: Store):
    store.remember("a", 3.21)
    store.remember("b", 4)
    assert store.durations() == {"a": 3.2, "b": 4}
    (store.root / "durations.json").write_text("{")
    assert store.durations() == {}


def test_disk_full_names_path_space_and_way_out(tmp_path: Path):
    error = disk_full(tmp_path, "too few for tool")
    assert isinstance(error, HostError)
    assert "GiB are free" in error.what
    assert error.where == str(tmp_path)
    assert "tinh toolchain prune" in error.fix


def test_size_counts_blocks(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"x" * 10_000)
    assert size(tmp_path) >= 10_000
