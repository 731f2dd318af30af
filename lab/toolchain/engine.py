"""Brings tools into the store: what is missing is downloaded or built, once, whoever asks."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from infra import paths
from infra.errors import HostError, IntegrityError, TinhError, ToolError
from lab.toolchain import process, scheduler
from lab.toolchain.builders import BUILDERS, DOWNLOAD, PULL
from lab.toolchain.catalogue import SOURCES, STAGES, Catalogue, Source, image_ref, load
from lab.toolchain.go import machine_go
from lab.toolchain.model import GoBuild, Tool
from lab.toolchain.progress import Board
from lab.toolchain.sources import choose
from lab.toolchain.store import Evidence, Store, disk_full

#: Builds at once, on the whole machine: two keep two cores busy while one of them links on one core.
PARALLEL = 2
#: Part of the available memory that builds may use.
_SHARE = 0.75
_FULL = "no space left on device"


@dataclass(frozen=True)
class Engine:
    """The catalogue, the store, and where artifacts come from.

    Attributes:
        catalogue: all tools.
        store: all artifacts.
        wanted: `auto`, `official` or `build`.
    """

    catalogue: Catalogue
    store: Store
    wanted: str = "auto"

    def present(self, name: str) -> Path | None:
        """Return the artifact of a tool when it is there and is not damaged.

        With `auto` an artifact of either source will do.

        Raises:
            IntegrityError: when it is damaged.
        """
        for source in SOURCES if self.wanted == "auto" else (choose(self.catalogue, self.wanted),):
            folder = self.store.folder(name, self.catalogue.key(name, source))
            if folder.is_dir():
                self.store.check(folder)
                return folder
        return None

    def folders(self, name: str) -> list[Path]:
        """Return the artifacts of a tool that are there, of whatever source, unchecked."""
        keys = {self.catalogue.key(name, source): None for source in SOURCES}
        return [folder for key in keys if (folder := self.store.folder(name, key)).is_dir()]

    def garbage(self, *, caches: bool) -> list[Path]:
        """Return what can be removed: old artifacts, leftovers of dead builds, downloads, caches of builds.

        Nothing that a build of now needs is in it: while one runs, caches and downloads stay.

        Args:
            caches: with those of Go and uv.
        """
        wanted = {folder for tool in self.catalogue for folder in self.folders(tool.name)}
        old = [folder for folder in self.store.artifacts() if folder not in wanted]
        idle = not any(self.store.locked(tool.name) for tool in self.catalogue)
        more = [*self.store.downloads.iterdir()] if idle else []
        if caches and idle:
            names = ("go-build", "go-mod", "uv")
            more += [path for name in names if (path := self.store.root / name).is_dir()]
        return [*old, *self.store.leftovers(), *more]

    def missing(self, names: Iterable[str], source: Source) -> list[str]:
        """Return the tools that must be made so that all of `names` are there, in no order."""
        found: dict[str, None] = {}

        def visit(name: str, *, needed: bool) -> None:
            if name in found:
                return
            # What a build reads must come from the same source, or the keys would not tell
            # what is in the artifact.
            here = self._exact(name, source) if needed else self.present(name)
            if here is None:
                found[name] = None
                for need in self.needs(name, source):
                    visit(need, needed=True)

        for name in names:
            visit(name, needed=False)
        return list(found)

    def _exact(self, name: str, source: Source) -> Path | None:
        folder = self.store.folder(name, self.catalogue.key(name, source))
        if not folder.is_dir():
            return None
        self.store.check(folder)
        return folder

    def needs(self, name: str, source: Source) -> list[str]:
        """Return what a build reads, with Go itself where the machine has none."""
        needs = self.catalogue.needs(name, source)
        tool = self.catalogue[name]
        builds_go = isinstance(tool.build, GoBuild) and self.catalogue.source(name, source) == "build"
        return [*needs, "go"] if builds_go and not machine_go() else needs

    def ensure(
        self, names: list[str], *, progress: bool, keep_going: bool = False, parallel: int = PARALLEL
    ) -> dict[str, Path]:
        """Make what is missing and return the artifact folders of `names`.

        Raises:
            TinhError: of the first failure; the others are counted in it.
        """
        ready = {name: self.present(name) for name in names}
        if None in ready.values():
            source = choose(self.catalogue, self.wanted)
            self._make(self.missing(names, source), source, progress, keep_going, parallel)
            ready = {name: self.present(name) for name in names}
        return {name: folder for name, folder in ready.items() if folder}

    def _make(
        self, names: list[str], source: Source, progress: bool, keep_going: bool, parallel: int
    ) -> None:
        times = self.store.durations()
        rows = {
            name: (self.catalogue[name].version, times.get(name, 60 * self.catalogue[name].minutes))
            for name in names
        }
        board = Board(rows, enabled=progress)
        process.stopping.clear()
        with board.showing():
            errors = scheduler.run(
                jobs(self, names, source),
                lambda job: self._work(job.name, source, board),
                parallel=parallel,
                memory=_SHARE * scheduler.available_memory(),
                keep_going=keep_going,
                stop=process.stop_all,
            )
        _report({name: error for name, error in errors.items() if not isinstance(error, process.Stopped)})

    def _work(self, name: str, source: Source, board: Board) -> None:
        try:
            with self.store.lock(name, lambda: board.state(name, "built by another process")):
                if self._exact(name, source):
                    board.state(name, "cached")
                    return
                with self.store.slot(
                    "build", PARALLEL, lambda: board.state(name, "waits for another process")
                ):
                    self._build(self.catalogue[name], source, board)
        except process.Stopped:
            board.state(name, "stopped")
            raise
        except BaseException:
            board.state(name, "failed")
            raise

    def _build(self, tool: Tool, source: Source, board: Board) -> None:
        official = tool.official if self.catalogue.source(tool.name, source) == "official" else None
        board.state(tool.name, "downloading" if official else "building")
        begun = time.monotonic()
        evidence: list[Evidence] = []
        needs = {need: self._need(need, source) for need in self.needs(tool.name, source)}
        log_file = self.store.log(tool.name)
        try:
            out = self.store.begin(tool.name)
            with log_file.open("w", encoding="utf-8") as log:
                if official and official.image:
                    PULL.load()(official.image, out, log)
                elif official:
                    evidence = DOWNLOAD.load()(tool, out, log)
                else:
                    BUILDERS[tool.build.kind].load()(tool, needs, out, log)
            self.store.commit(
                out,
                tool.name,
                self.catalogue.key(tool.name, source),
                {
                    "version": tool.version,
                    "source": "official" if official else "build",
                    "evidence": [vars(item) for item in evidence],
                    "seconds": round(time.monotonic() - begun, 1),
                },
            )
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise disk_full(self.store.root, f"too few for {tool.name}") from None
            raise ToolError(f"{tool.name} {tool.version}: {error}", where=str(log_file)) from error
        except TinhError as error:
            if _FULL in error.what:
                raise disk_full(self.store.root, f"too few for {tool.name}") from None
            error.where = f"{tool.name} {tool.version}, log {log_file}" + (
                f"; {error.where}" if error.where else ""
            )
            raise
        self.store.remember(tool.name, time.monotonic() - begun)
        board.state(tool.name, "done")

    def _need(self, name: str, source: Source) -> Path:
        folder = self._exact(name, source)
        if folder is None:
            raise TinhError(
                f"{name} vanished from the cache during the build",
                where=str(self.store.root),
                fix="run again",
            )
        return folder


def jobs(engine: Engine, names: list[str], source: Source) -> list[scheduler.Job]:
    """Return the jobs that make tools: by stage, then what begins the longest chain of needs."""
    catalogue, wanted = engine.catalogue, set(names)
    needs = {name: frozenset(engine.needs(name, source)) & wanted for name in names}
    stage = {name: STAGES.index(catalogue[name].stage) for name in names}
    chain = {name: catalogue[name].minutes for name in names}
    # What a tool of an early stage needs is of that stage too, and a long chain must begin early.
    # The needs have no
    # circles, so after as many rounds as there are tools nothing changes any more.
    for _ in names:
        for name in names:
            for need in needs[name]:
                stage[need] = min(stage[need], stage[name])
                chain[need] = max(chain[need], catalogue[need].minutes + chain[name])
    return [
        scheduler.Job(
            name=name,
            rank=(stage[name], -chain[name]),
            needs=needs[name],
            group=_group(catalogue[name], catalogue.source(name, source)),
            memory=catalogue[name].memory,
        )
        for name in names
    ]


def _group(tool: Tool, source: Source) -> str | None:
    # Tools of one Go module share packages: one after another they compile once.
    return f"go {tool.build.module}" if source == "build" and isinstance(tool.build, GoBuild) else None


def _report(errors: dict[str, BaseException]) -> None:
    for error in errors.values():
        if not isinstance(error, TinhError):
            raise error
    if errors:
        # Damage and a full disk matter more than what followed from them.
        first = min(errors.values(), key=lambda error: not isinstance(error, IntegrityError | HostError))
        others = [name for name, error in errors.items() if error is not first]
        if isinstance(first, TinhError) and others:
            first.what += f"\n(failed too: {', '.join(sorted(others))})"
        raise first


def engine(source: str = "auto") -> Engine:
    """Return the engine of this checkout and cache."""
    return Engine(load(), Store(paths.cache()), source)


def ensure(
    names_or_stage: str | Iterable[str],
    source: str = "auto",
    progress: bool = True,
    *,
    keep_going: bool = False,
) -> dict[str, Path]:
    """Make sure that tools are there; at once when they are.

    Args:
        names_or_stage: names of tools, or a stage: all its tools and those of the stages before it.
        source: `auto`, `official` or `build`.
        progress: show it on standard error.
        keep_going: after a failure, go on with what does not depend on it.

    Returns:
        The artifact folders by name.

    Raises:
        TinhError: when a name is unknown or a download or build fails (see its subclasses).
    """
    found = engine(source)
    return found.ensure(found.catalogue.select(names_or_stage), progress=progress, keep_going=keep_going)


def artifact(name: str) -> Path:
    """Return the folder of an artifact that is there already.

    Raises:
        TinhError: when it is not; the command to run is named.
    """
    found = engine()
    folder = found.present(found.catalogue[name].name)
    if folder is None:
        raise TinhError(
            f"{name} {found.catalogue[name].version} is not in the cache",
            where=str(found.store.root),
            fix=f"tinh toolchain get {name}",
        )
    return folder


def bin_dir() -> Path:
    """Return the folder for PATH: links to the binaries of all host tools that are there.

    The folder stays the same for an instance, so that a shell's PATH stays right when more tools are built.
    """
    found = engine()
    links = {
        file.name: file
        for tool in found.catalogue
        if tool.host and (folder := found.present(tool.name)) and (folder / "bin").is_dir()
        for file in (folder / "bin").iterdir()
    }
    path = found.store.root / "bin" / paths.instance()
    path.mkdir(parents=True, exist_ok=True)
    with found.store.lock(f".bin-{paths.instance()}"):
        for old in path.iterdir():
            if old.name not in links:
                old.unlink()
        for name, target in links.items():
            link = path / name
            if not link.is_symlink() or link.readlink() != target:
                fresh = path / f".{name}"
                fresh.unlink(missing_ok=True)
                fresh.symlink_to(target)
                fresh.rename(link)
    return path


def images(stage: str = STAGES[-1]) -> list[tuple[str, Path]]:
    """Return upstream name with tag, and OCI layout, of all images of a stage and the stages before it.

    Raises:
        TinhError: when one is not there.
    """
    found = engine()
    tools = [found.catalogue[name] for name in found.catalogue.select(stage)]
    return [(ref, artifact(tool.name)) for tool in tools if (ref := image_ref(tool))]
