"""The engine: builds what is missing, once, and tells what failed."""

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from infra.errors import Exit, HostError, IntegrityError, TinhError, ToolError
from lab import toolchain
from lab.toolchain import engine as module
from lab.toolchain import process, sources
from lab.toolchain.builders import BUILDERS, Builder
from lab.toolchain.engine import Engine, jobs
from lab.toolchain.store import Store
from tests.unit.toolchain.catalogues import catalogue, local

REPO = Path(__file__).resolve().parents[3]


class Workshop:
    """Stands for the builders: notes what was built, can fail."""

    def __init__(self):
        self.built: list[str] = []
        self.needs: dict[str, dict[str, Path]] = {}
        self.errors: dict[str, BaseException] = {}

    def build(self, tool, needs, out, log):
        log.write("building\n")
        self.built.append(tool.name)
        self.needs[tool.name] = dict(needs)
        if tool.name in self.errors:
            raise self.errors[tool.name]
        (out / "bin").mkdir()
        (out / "bin" / tool.name).write_text(tool.version)


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    workshop = Workshop()
    monkeypatch.setenv("TINH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys.modules[__name__], "build", workshop.build, raising=False)
    monkeypatch.setitem(BUILDERS, "local", Builder(f"{__name__}:build", 1))
    process.stopping.clear()
    return workshop


@pytest.fixture
def make(tmp_path: Path):
    def engine(*entries, wanted="build"):
        return Engine(catalogue(tmp_path / "list", *entries), Store(tmp_path / "cache"), wanted)

    return engine


def ensure(engine, *names, **options):
    return engine.ensure(list(names), progress=False, **options)


def test_builds_needs_first_and_only_once(workshop, make):
    engine = make(local("c", needs=("b",)), local("b", needs=("a",)), local("a"))
    ready = ensure(engine, "c")
    assert workshop.built == ["a", "b", "c"]
    assert workshop.needs["b"] == {"a": engine.store.folder("a", engine.catalogue.key("a", "build"))}
    assert (ready["c"] / "bin" / "c").read_text() == "1.0"
    assert ensure(engine, "c") == ready
    assert len(workshop.built) == 3
    assert engine.store.manifest(ready["c"])["source"] == "build"


def test_needs_of_what_is_there_may_be_gone(workshop, make):
    engine = make(local("b", needs=("a",)), local("a"))
    ensure(engine, "b")
    module_store = engine.store
    from lab.toolchain.store import discard

    discard(module_store.folder("a", engine.catalogue.key("a", "build")))
    ensure(engine, "b")
    assert workshop.built == ["a", "b"]


def test_a_changed_recipe_builds_anew_and_what_needs_it(workshop, make):
    ensure(make(local("b", needs=("a",)), local("a")), "b")
    changed = make(local("b", needs=("a",)), local("a", version="2"))
    ensure(changed, "b")
    assert workshop.built == ["a", "b", "a", "b"]
    assert len(changed.store.artifacts()) == 4
    assert {path.name.partition("-")[0] for path in changed.garbage(caches=True)} == {"a", "b"}


def test_a_damaged_artifact_is_refused_and_not_rebuilt_in_silence(workshop, make):
    engine = make(local("a"))
    (ensure(engine, "a")["a"] / "bin" / "a").write_text("something else")
    with pytest.raises(IntegrityError, match="bin/a should have 3 bytes, has 14") as caught:
        ensure(engine, "a")
    assert caught.value.code == Exit.INTEGRITY
    assert workshop.built == ["a"]


def test_a_failure_names_tool_and_log_and_leaves_nothing(workshop, make):
    workshop.errors["a"] = ToolError("go ended with code 1\nundefined: x")
    engine = make(local("a"))
    with pytest.raises(ToolError, match="undefined: x") as caught:
        ensure(engine, "a")
    assert f"a 1.0, log {engine.store.log('a')}" in caught.value.where
    assert engine.store.log("a").read_text() == "building\n"
    assert engine.store.artifacts() == []
    del workshop.errors["a"]
    ensure(engine, "a")


def test_keep_going_builds_what_does_not_depend_on_a_failure(workshop, make):
    workshop.errors = {"a": ToolError("first"), "z": ToolError("second")}
    engine = make(local("a"), local("child", needs=("a",)), local("other"), local("z"))
    with pytest.raises(ToolError, match=r"\(failed too: [az]\)"):
        ensure(engine, "a", "child", "other", "z", keep_going=True)
    assert "child" not in workshop.built
    assert engine.present("other")


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), ToolError("link: write x: no space left on device")],
)
def test_a_full_disk_is_named(workshop, make, error):
    workshop.errors["a"] = error
    with pytest.raises(HostError, match=r"the disk is full: .* GiB are free, too few for a") as caught:
        ensure(make(local("a")), "a")
    assert "tinh toolchain prune" in caught.value.fix
    assert caught.value.code == Exit.HOST


def test_a_defect_is_not_dressed_up(workshop, make):
    workshop.errors["a"] = ZeroDivisionError("a bug")
    with pytest.raises(ZeroDivisionError):
        ensure(make(local("a")), "a")


def test_auto_takes_an_artifact_of_either_source(workshop, make, monkeypatch):
    entry = local(
        "a", official={"downloads": [{"url": "https://x.test/a", "sha256": "a" * 64, "to": "bin/a"}]}
    )
    ready = ensure(make(entry, wanted="build"), "a")
    monkeypatch.setattr(
        module, "choose", lambda *_: pytest.fail("nothing is missing: no look at the network")
    )
    assert ensure(make(entry, wanted="auto"), "a") == ready


def test_official_is_a_different_artifact(workshop, make):
    entry = local(
        "a", official={"downloads": [{"url": "https://x.test/a", "sha256": "a" * 64, "to": "bin/a"}]}
    )
    ensure(make(entry), "a")
    assert make(entry, wanted="official").present("a") is None


def test_jobs_go_by_stage_of_who_needs_them_then_by_the_longest_chain(make):
    engine = make(
        local("long", minutes=9),
        local("short", minutes=1),
        local("late", stage="base", minutes=50),
        local("part", stage="bench", minutes=1),
        local("whole", needs=("part",), minutes=20),
    )
    names = [tool.name for tool in engine.catalogue]
    order = [job.name for job in sorted(jobs(engine, names, "build"), key=lambda job: job.rank)]
    assert order == ["part", "whole", "long", "short", "late"]


def test_tools_of_one_go_module_are_one_group(make, tmp_path: Path):
    (tmp_path / "list" / "m").mkdir(parents=True)
    (tmp_path / "list" / "m" / "go.mod").write_text("module m\n")
    go = {"kind": "go", "module": "m", "packages": {"x": "m/x"}}
    engine = make(local("a", build=go), local("b", build=go), local("c"))
    groups = {job.name: job.group for job in jobs(engine, ["a", "b", "c"], "build")}
    assert groups == {"a": "go m", "b": "go m", "c": None}


def test_go_is_needed_only_where_the_machine_has_none(make, tmp_path: Path, monkeypatch):
    (tmp_path / "list" / "m").mkdir(parents=True)
    (tmp_path / "list" / "m" / "go.mod").write_text("module m\n")
    engine = make(local("a", build={"kind": "go", "module": "m", "packages": {"x": "m/x"}}), local("go"))
    monkeypatch.setattr(module, "machine_go", lambda: "/bin/go")
    assert engine.missing(["a"], "build") == ["a"]
    monkeypatch.setattr(module, "machine_go", lambda: None)
    assert sorted(engine.missing(["a"], "build")) == ["a", "go"]


def test_two_processes_build_a_tool_once(workshop, make, tmp_path: Path):
    """One process holds the tool's lock, as while it builds; the other waits and takes its artifact."""
    engine = make(local("a"))
    waiting, results = threading.Event(), []
    lock = engine.store.lock("a")
    lock.__enter__()
    board_state = module.Board.state

    def state(self, name, text):
        board_state(self, name, text)
        if text == "built by another process":
            waiting.set()

    module.Board.state = state
    try:
        thread = threading.Thread(target=lambda: results.append(ensure(engine, "a")))
        thread.start()
        assert waiting.wait(10)
        out = engine.store.begin("a")
        (out / "file").write_text("of the other process")
        engine.store.commit(out, "a", engine.catalogue.key("a", "build"), {"evidence": [], "source": "build"})
    finally:
        module.Board.state = board_state
        lock.__exit__(None, None, None)
        thread.join(10)
    assert workshop.built == []
    assert (results[0]["a"] / "file").read_text() == "of the other process"


def test_api_on_the_real_catalogue(workshop, monkeypatch, tmp_path: Path):
    found = catalogue(tmp_path / "list", local("a", host=True), local("b"))
    monkeypatch.setattr(module, "load", lambda: found)
    monkeypatch.setenv("TINH_SOURCE", "build")
    with pytest.raises(TinhError, match=r"a 1\.0 is not in the cache") as caught:
        toolchain.artifact("a")
    assert caught.value.fix == "tinh toolchain get a"
    ready = toolchain.ensure("lab", progress=False)
    assert set(ready) == {"a", "b"}
    assert toolchain.artifact("a") == ready["a"]
    assert toolchain.images() == []
    path = toolchain.bin_dir()
    assert [link.name for link in path.iterdir()] == ["a"], "b is no host tool"
    assert (path / "a").resolve() == ready["a"] / "bin" / "a"
    (path / "stale").symlink_to("nowhere")
    assert toolchain.bin_dir() == path
    assert [link.name for link in path.iterdir()] == ["a"]


def test_images_names_what_is_missing(workshop, monkeypatch, tmp_path: Path):
    image = local("i", kind="image", build={"kind": "image", "ref": "example.test/i:1"})
    monkeypatch.setattr(module, "load", lambda: found)
    found = catalogue(tmp_path / "list", image)
    with pytest.raises(TinhError, match="is not in the cache"):
        toolchain.images()
    monkeypatch.setitem(BUILDERS, "image", Builder(f"{__name__}:build", 1))
    ready = toolchain.ensure(["i"], "build", progress=False)
    assert toolchain.images("lab") == [("example.test/i:1", ready["i"])]


@pytest.mark.parametrize(
    ("wanted", "variable", "answers", "chosen"),
    [
        ("official", None, False, "official"),
        ("build", None, True, "build"),
        ("auto", None, True, "official"),
        ("auto", None, False, "build"),
        ("auto", "build", True, "build"),
        ("official", "build", True, "official"),
    ],
)
def test_source(make, monkeypatch, wanted, variable, answers, chosen):
    entry = local(
        "a", official={"downloads": [{"url": "https://x.test/a", "sha256": "a" * 64, "to": "bin/a"}]}
    )
    monkeypatch.setattr(sources, "reachable", lambda address: answers)
    monkeypatch.delenv("TINH_SOURCE", raising=False)
    if variable:
        monkeypatch.setenv("TINH_SOURCE", variable)
    assert sources.choose(make(entry).catalogue, wanted) == chosen


def test_source_needs_every_host_and_a_known_word(make, monkeypatch):
    items = [{"url": f"https://{host}/a", "sha256": "a" * 64, "to": "a"} for host in ("x.test", "y.test")]
    found = make(local("a", official={"downloads": items})).catalogue
    monkeypatch.delenv("TINH_SOURCE", raising=False)
    monkeypatch.setattr(sources, "reachable", lambda address: "x.test" in address)
    assert sources.unreachable(found) == ["https://y.test"]
    assert sources.choose(found, "auto") == "build"
    monkeypatch.setenv("TINH_SOURCE", "internet")
    with pytest.raises(TinhError, match="'internet' is not one of auto, official, build"):
        sources.choose(found, "auto")


def test_reachable_looks_and_remembers():
    from tests.unit.toolchain.server import serving

    sources.reachable.cache_clear()
    with serving() as server:
        assert sources.reachable(server.url)
    assert sources.reachable(server.url), "the answer is remembered for the process"
    sources.reachable.cache_clear()
    assert not sources.reachable(server.url)


def test_registry_of_docker_hub_has_another_name():
    assert sources.registry("docker.io/library/busybox:1") == "registry-1.docker.io"
    assert sources.registry("registry.k8s.io/pause:1") == "registry.k8s.io"


def test_ctrl_c_ends_children_and_the_next_run_goes_on(tmp_path: Path):
    """A real process, a real signal: children die, the half-made folder is no artifact, the lock is free."""
    script = tmp_path / "run.py"
    script.write_text(
        "import sys, time\n"
        "from pathlib import Path\n"
        "from lab.toolchain import process\n"
        "from lab.toolchain.builders import BUILDERS, Builder\n"
        "from lab.toolchain.catalogue import load\n"
        "from lab.toolchain.engine import Engine\n"
        "from lab.toolchain.store import Store\n"
        "def build(tool, needs, out, log):\n"
        "    (out / 'half').write_text('half')\n"
        "    process.run(['sh', '-c', 'echo $$ > pid; sleep 60 & wait'], log=log, cwd=out.parent)\n"
        "sys.modules['slow'] = sys.modules['__main__']\n"
        "BUILDERS['local'] = Builder('slow:build', 1)\n"
        "engine = Engine(load(Path(sys.argv[1])), Store(Path(sys.argv[2])), 'build')\n"
        "engine.ensure(['a'], progress=False)\n"
    )
    catalogue(tmp_path / "list", local("a"))
    cache = tmp_path / "cache"
    pid = cache / "artifacts" / "pid"
    command = [sys.executable, str(script), str(tmp_path / "list"), str(cache)]
    with subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(REPO)},
        stderr=subprocess.PIPE,
        # a shell without job control has its background jobs, and so this test's children, ignore Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as child:
        _until(lambda: pid.exists() and pid.read_text().strip() != "")
        child.send_signal(2)
        child.wait(90)
    group = int(pid.read_text())
    _until(lambda: not _alive(group))
    store = Store(cache)
    assert [path.name for path in store.leftovers()] == [".tmp-a"]
    assert [path for path in store.artifacts() if path.name != "pid"] == []


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _until(true):
    done = threading.Event()
    for _ in range(1200):
        if true():
            return
        done.wait(0.05)
    pytest.fail("it did not happen within a minute")
