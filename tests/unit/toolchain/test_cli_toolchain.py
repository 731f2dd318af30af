"""`tinh toolchain`: what its commands print and how they end."""

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.toolchain import command
from infra.errors import IntegrityError, TinhError
from lab.toolchain import engine as module
from lab.toolchain import process
from lab.toolchain.builders import BUILDERS, Builder
from lab.toolchain.engine import Engine
from lab.toolchain.store import Store
from tests.unit.toolchain.catalogues import catalogue, local


def build(tool, needs, out, log):
    del needs, log
    (out / "bin").mkdir()
    (out / "bin" / tool.name).write_text("x")


@pytest.fixture(autouse=True)
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    official = {
        "downloads": [
            {
                "url": "https://x.test/a-{version}",
                "checksum_url": "https://x.test/a-{version}.sha256",
                "signature_url": "https://x.test/a.sig",
                "to": "bin/a",
            }
        ]
    }
    entries = [local("a", official=official), local("b", needs=("a",), stage="base", why="publishes names")]
    engine = Engine(catalogue(tmp_path / "list", *entries), Store(tmp_path / "cache"))
    monkeypatch.setenv("TINH_SOURCE", "build")
    monkeypatch.setitem(BUILDERS, "local", Builder(f"{__name__}:build", 1))
    monkeypatch.setattr(
        module, "engine", lambda source="auto": Engine(engine.catalogue, engine.store, source)
    )
    process.stopping.clear()
    assert sys.modules[__name__]
    return engine


def run(*args: str):
    return CliRunner().invoke(command, list(args), catch_exceptions=False)


def test_get_prints_the_folders_and_is_idempotent(found: Engine):
    first = run("get", "--all", "--quiet")
    assert first.output.splitlines() == [f"b {found.present('b')}"]
    assert run("get", "b", "-q").output == first.output


@pytest.mark.parametrize("args", [(), ("a", "--all"), ("--all", "--stage", "lab")])
def test_get_wants_one_way_of_naming(args):
    with pytest.raises(TinhError, match="name tools, or one of --stage and --all"):
        run("get", *args)


def test_get_refuses_unknown_names():
    with pytest.raises(TinhError, match="no tool 'c'"):
        run("get", "c")
    with pytest.raises(TinhError, match="no tool"):
        run("get", "--stage", "moon")


def test_list_says_honestly_what_is_checked():
    row = next(line for line in run("list").output.splitlines() if line.startswith("a "))
    assert " ".join(row.split()) == "a 1.0 binaries lab - files publisher's not verified local"
    run("get", "b", "-q")
    row = next(line for line in run("list").output.splitlines() if line.startswith("b "))
    assert " ".join(row.split()) == "b 1.0 binaries base build none - - local"


def test_list_and_why_show_damage(found: Engine):
    run("get", "a", "-q")
    folder = found.present("a")
    assert folder
    (folder / "bin" / "a").write_text("longer")
    assert "DAMAGED" in run("list").output
    assert "DAMAGED" in run("why", "a").output


def test_why_shows_how_a_download_was_checked(found: Engine):
    out = found.store.begin("a")
    evidence = {
        "url": "https://x.test/a-1.0",
        "sha256": "b" * 64,
        "checksum": "pinned",
        "signature": "not verified",
    }
    facts = {"source": "official", "evidence": [evidence]}
    found.store.commit(out, "a", found.catalogue.key("a", "official"), facts)
    text = run("why", "a").output
    assert f"https://x.test/a-1.0 sha256 {'b' * 64}" in text
    assert "checksum: pinned; signature: not verified" in text


def test_why_names_users_sources_and_checks():
    text = run("why", "a").output
    assert "needed by:      b" in text
    assert "signature not verified" in text
    assert "https://x.test/a-1.0.sha256" in text
    assert "on PATH" not in text
    assert "publishes names" in run("why", "b").output


def test_verify_rehashes_and_fails_on_damage(found: Engine):
    run("get", "--all", "-q")
    assert run("verify").output.count("ok ") == 2
    folder = found.present("a")
    assert folder
    (folder / "more").write_text("")
    with pytest.raises(IntegrityError, match="more is there"):
        run("verify")
    assert run("verify", "b").output.startswith("ok ")


def test_prune_removes_caches_and_old_artifacts_only(found: Engine, tmp_path: Path):
    run("get", "--all", "-q")
    root = found.store.root
    (root / "go-mod" / "x").mkdir(parents=True)
    (root / "artifacts" / "old-0123").mkdir()
    (found.store.downloads / "x.tgz").write_text("x")
    assert "would be removed" in run("prune", "--dry-run").output
    assert (root / "go-mod").exists()
    run("prune", "--no-go")
    assert (root / "go-mod").exists()
    assert not (root / "artifacts" / "old-0123").exists()
    run("prune")
    assert not (root / "go-mod").exists()
    assert run("verify").output.count("ok ") == 2


def test_prune_leaves_what_a_running_build_uses(found: Engine):
    (found.store.root / "go-mod").mkdir(parents=True)
    with found.store.lock("a"):
        found.store.begin("a")
        run("prune")
        assert (found.store.root / "go-mod").exists()
        assert (found.store.root / "artifacts" / ".tmp-a").exists()
