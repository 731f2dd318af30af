"""The builders for Go, wheels and Maven, with stand-ins of `go` and `mvn` on PATH where they fetch."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from infra.errors import HostError, IntegrityError, ToolError
from lab.toolchain import go, local, maven, process, pypi
from lab.toolchain.builders import BUILDERS, DOWNLOAD, PULL
from lab.toolchain.model import Tool
from tests.unit.toolchain.catalogues import local as entry

MAIN = """package main

import (
	_ "embed"
	"fmt"
)

var version = "unset"

//go:embed data.json
var data string

func main() { fmt.Println(version, data) }
"""


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TINH_CACHE", str(tmp_path / "cache"))
    process.stopping.clear()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    path = tmp_path / "out"
    path.mkdir()
    return path


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Put a small Python program on PATH."""

    def put(name: str, text: str) -> None:
        file = tmp_path / "path" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"#!{sys.executable}\nimport json, os, sys\nfrom pathlib import Path\n{text}")
        file.chmod(0o755)
        monkeypatch.setenv("PATH", str(file.parent), prepend=os.pathsep)

    return put


def tool(**build) -> Tool:
    return Tool.model_validate(entry("t", build=build))


def test_every_kind_has_a_builder_that_can_be_imported():
    for builder in (*BUILDERS.values(), DOWNLOAD, PULL):
        assert callable(builder.load())


# --- go ---


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(go, "HERE", tmp_path)
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "go.mod").write_text("module m.test/prog\n\ngo 1.26\n\nrequire x.test/lib v1.0.0\n")
    (folder / "go.sum").write_text("x.test/lib v1.0.0 h1:good\n")
    (folder / "main.go").write_text(MAIN)
    return tmp_path


@pytest.fixture
def real_go() -> str:
    found = go.machine_go()
    assert found, "the tests need the machine's Go"
    return found


GO = {
    "kind": "go",
    "module": "m",
    "packages": {"prog": "m.test/prog"},
    "stamp": {"main.version": "v{version}"},
    "embed": {"data.json": {"source": "x.test/lib/data.json", "set": {"version": "{version}"}}},
}


@pytest.fixture
def proxied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real_go: str) -> None:
    """Serve module x.test/lib from a folder, as a module proxy does."""
    at = tmp_path / "proxy" / "x.test" / "lib" / "@v"
    at.mkdir(parents=True)
    mod = "module x.test/lib\n\ngo 1.26\n"
    (at / "list").write_text("v1.0.0\n")
    (at / "v1.0.0.info").write_text('{"Version": "v1.0.0"}')
    (at / "v1.0.0.mod").write_text(mod)
    with zipfile.ZipFile(at / "v1.0.0.zip", "w") as zipped:
        zipped.writestr("x.test/lib@v1.0.0/go.mod", mod)
        zipped.writestr("x.test/lib@v1.0.0/lib.go", "package lib\n")
        zipped.writestr("x.test/lib@v1.0.0/data.json", '{"name": "tỉnh"}')
        zipped.writestr("x.test/lib@v1.0.0/script.sh", "#!/bin/sh\n")
    monkeypatch.setenv("GOPROXY", f"file://{tmp_path / 'proxy'}")
    monkeypatch.setenv("GONOSUMDB", "*")
    monkeypatch.setenv("GOFLAGS", "-modcacherw")


def pin(modules: Path) -> None:
    """Write the module's real hashes into go.sum."""
    text = io.StringIO()
    found = json.loads(
        process.output(
            ["go", "mod", "download", "-json", "x.test/lib@v1.0.0"], log=text, env=go.environment()
        )
    )
    (modules / "m" / "go.sum").write_text(
        f"x.test/lib v1.0.0 {found['Sum']}\nx.test/lib v1.0.0/go.mod {found['GoModSum']}\n"
    )


@pytest.mark.usefixtures("proxied")
def test_go_builds_stamps_embeds_and_takes_files_along(modules: Path, out: Path):
    pin(modules)
    build = GO | {
        "packages": {"plugins/v{version}/prog": "m.test/prog"},
        "extra": {"bin/script": "x.test/lib@v1.0.0/script.sh", "data.json": "x.test/lib/data.json"},
    }
    go.build(tool(**build), {}, out, io.StringIO())
    printed = process.output([out / "plugins" / "v1.0" / "prog"], log=io.StringIO())
    assert printed == 'v1.0 {"name":"tỉnh","version":"1.0"}\n'
    files = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert files == ["bin/script", "data.json", "plugins/v1.0/prog"]
    assert (out / "bin" / "script").stat().st_mode & 0o111
    assert not (modules / "m" / "data.json").exists(), "the repository's folder stays as it is"
    shutil.rmtree(modules / "cache")


CHANGED = GO | {
    "overlay": {"x.test/lib/lib.go": "overlay/lib.go"},
    "edit": {"x.test/lib/lib.go": {'"own(.)': r'"changed\1'}},
}


@pytest.mark.usefixtures("proxied")
def test_go_compiles_changed_copies_of_modules(modules: Path, out: Path):
    pin(modules)
    module = modules / "m"
    (module / "overlay").mkdir()
    (module / "overlay" / "lib.go").write_text('package lib\n\nconst Said = "own "\n')
    (module / "main.go").write_text(
        'package main\n\nimport "x.test/lib"\n\nfunc main() { print(lib.Said) }\n'
    )
    go.build(tool(**CHANGED), {}, out, io.StringIO())
    said = subprocess.run([out / "bin" / "prog"], capture_output=True, text=True, check=True)
    assert said.stderr == "changed "


@pytest.mark.usefixtures("proxied")
def test_go_refuses_an_edit_that_finds_nothing(modules: Path, out: Path):
    pin(modules)
    build = GO | {"edit": {"x.test/lib/lib.go": {"another package": ""}}}
    with pytest.raises(ToolError, match=r"x\.test/lib/lib\.go holds nothing like 'another package'"):
        go.build(tool(**build), {}, out, io.StringIO())


@pytest.mark.usefixtures("proxied")
def test_go_refuses_a_module_that_differs_from_go_sum(modules: Path, out: Path):
    with pytest.raises((IntegrityError, ToolError), match=r"h1:good|SECURITY ERROR|checksum mismatch"):
        go.build(tool(**GO), {}, out, io.StringIO())


@pytest.mark.usefixtures("proxied")
@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x.test/lib/none.json", r"x\.test/lib@v1\.0\.0 has no file none\.json"),
        ("y.test/lib/data.json", r"no module of go\.mod holds y\.test"),
    ],
)
def test_go_names_a_file_that_is_not_in_a_module(modules: Path, out: Path, source, message):
    pin(modules)
    build = GO | {"embed": {"data.json": {"source": source}}}
    with pytest.raises(ToolError, match=message):
        go.build(tool(**build), {}, out, io.StringIO())


def test_go_refuses_two_packages_that_would_overwrite_each_other(modules: Path, out: Path, real_go: str):
    build = {"kind": "go", "module": "m", "packages": {"a": "x/one/cmd", "b": "x/two/cmd"}}
    with pytest.raises(ToolError, match="same base name"):
        go.build(tool(**build), {}, out, io.StringIO())


def test_go_base_name_ignores_the_major_version():
    build = tool(kind="go", module="m", packages={"etcd": "x.test/etcd/server/v3", "ctl": "x.test/ctl"}).build
    assert go._base_names(build) == {"x.test/etcd/server/v3": "server", "x.test/ctl": "ctl"}


@pytest.mark.parametrize(
    ("version", "usable"), [("go1.26.0", True), ("go1.27.3", True), ("go1.25.9", False), ("", False)]
)
def test_the_machines_go_must_be_new_enough(command, version, usable):
    command("go", f"print({version!r})")
    go.machine_go.cache_clear()
    assert bool(go.machine_go()) is usable
    go.machine_go.cache_clear()


def test_no_go_at_all_is_named(modules: Path, out: Path, monkeypatch):
    monkeypatch.setattr(go, "machine_go", lambda: None)
    with pytest.raises(HostError, match=r"no Go 1\.26") as caught:
        go.build(tool(**GO), {}, out, io.StringIO())
    assert "tinh toolchain get go" in caught.value.fix


# --- wheels ---


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    file = tmp_path / "wheels" / "prog-1.0-py3-none-any.whl"
    file.parent.mkdir()
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr("prog/_bin/prog", "binary")
        zipped.writestr("prog/pkg/a", "1")
        zipped.writestr("prog/pkg/b/c", "2")
        zipped.writestr("prog-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: prog\nVersion: 1.0\n")
        zipped.writestr("prog-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        zipped.writestr("prog-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(file.parent))
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_wheel_files(wheel: str, out: Path):
    files = {"bin/prog": "prog/_bin/prog", "./": "prog/pkg/*"}
    build = tool(kind="pypi", requirement="prog=={version}", sha256=wheel, files=files)
    pypi.build(build, {}, out, io.StringIO())
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()) == [
        "a",
        "b/c",
        "bin/prog",
    ]
    assert (out / "bin" / "prog").stat().st_mode & 0o111


def test_wheel_with_another_hash_is_refused_with_both(wheel: str, out: Path):
    build = tool(
        kind="pypi", requirement="prog=={version}", sha256="0" * 64, files={"bin/prog": "prog/_bin/prog"}
    )
    with pytest.raises(ToolError) as caught:
        pypi.build(build, {}, out, io.StringIO())
    assert wheel in caught.value.what
    assert "0" * 64 in caught.value.what


@pytest.mark.parametrize(("pattern", "count"), [("prog/none", 0), ("prog/pkg/*", 2)])
def test_wheel_pattern_must_match_one_file(wheel: str, out: Path, pattern, count):
    build = tool(kind="pypi", requirement="prog=={version}", sha256=wheel, files={"bin/prog": pattern})
    with pytest.raises(ToolError, match=f"{count} files of the wheel match"):
        pypi.build(build, {}, out, io.StringIO())


# --- Maven ---

MVN = """
options = dict(word[2:].split("=", 1) for word in sys.argv if word.startswith("-D"))
folder = Path(options["outputDirectory"])
folder.mkdir(parents=True)
(folder / "x.zip").write_text(options["artifact"])
"""


def maven_tool(sha256: str) -> Tool:
    return tool(kind="maven", coordinates="org.test:x:{version}:zip", sha256=sha256, to="files/x.zip")


def test_maven_checks_the_hash(command, out: Path):
    command("mvn", MVN)
    good = hashlib.sha256(b"org.test:x:1.0:zip").hexdigest()
    maven.build(maven_tool(good), {}, out, io.StringIO())
    assert [str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()] == ["files/x.zip"]
    shutil.rmtree(out / "files")
    with pytest.raises(IntegrityError) as caught:
        maven.build(maven_tool("0" * 64), {}, out, io.StringIO())
    assert good in caught.value.what
    assert "0" * 64 in caught.value.what


def test_maven_missing_or_failing(command, out: Path, monkeypatch):
    command("mvn", "print('cannot resolve'); sys.exit(1)")
    with pytest.raises(ToolError, match="cannot resolve"):
        maven.build(maven_tool("0" * 64), {}, out, io.StringIO())
    monkeypatch.setenv("PATH", str(out))
    with pytest.raises(HostError, match="Maven"):
        maven.build(maven_tool("0" * 64), {}, out, io.StringIO())


# --- own files, commands ---


def test_local_files(tmp_path: Path, out: Path, monkeypatch):
    monkeypatch.setattr(local, "HERE", tmp_path)
    (tmp_path / "a.sh").write_text("#!/bin/sh\n")
    local.build(tool(kind="local", files={"bin/a": "a.sh", "etc/a": "a.sh"}), {}, out, io.StringIO())
    assert (out / "bin" / "a").stat().st_mode & 0o777 == 0o755
    assert (out / "etc" / "a").stat().st_mode & 0o777 == 0o644


def test_a_failing_command_shows_its_last_lines(tmp_path: Path):
    log = io.StringIO()
    with pytest.raises(ToolError) as caught:
        process.run(["sh", "-c", "seq 1 40; echo broken >&2; exit 3"], log=log, cwd=tmp_path)
    assert "ended with code 3" in caught.value.what
    assert caught.value.what.endswith("\n39\n40\nbroken")
    assert "\n5\n" not in caught.value.what
    assert "\n5\n" in log.getvalue()


def test_a_missing_command_and_one_after_the_stop():
    with pytest.raises(ToolError, match="'no-such-command' is not there"):
        process.run(["no-such-command"], log=io.StringIO())
    process.stop_all()
    with pytest.raises(process.Stopped):
        process.run(["true"], log=io.StringIO())
    process.stopping.clear()


def test_output_keeps_errors_apart():
    log = io.StringIO()
    assert process.output(["sh", "-c", "echo out; echo err >&2"], log=log) == "out\n"
    assert "err" in log.getvalue()
    assert "out\n" not in log.getvalue().replace("echo out", "")
