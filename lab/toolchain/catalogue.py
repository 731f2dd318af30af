"""The list of all tools: read from `lab/toolchain/*.yaml`, checked, ordered, and keyed by content.

Each file is a YAML list of entries of `lab.toolchain.model.Tool`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

from infra.errors import TinhError
from infra.model.base import read_yaml, validate
from lab.toolchain.builders import BUILDERS, DOWNLOAD, PULL
from lab.toolchain.model import GoBuild, ImageBuild, LocalBuild, ManifestBuild, PythonBuild, Tool

HERE = Path(__file__).resolve().parent
#: Where artifacts come from: the official releases, or builds from package registries.
Source = Literal["official", "build"]
SOURCES: tuple[Source, ...] = get_args(Source)
#: Steps of `make up` in order; naming one means it and all before it.
STAGES: tuple[str, ...] = get_args(Tool.model_fields["stage"].annotation)


@dataclass(frozen=True)
class Catalogue:
    """All tools by name, in the order of the files."""

    tools: dict[str, Tool]
    root: Path = HERE
    _keys: dict[tuple[str, Source], str] = field(default_factory=dict, repr=False, compare=False)

    def __getitem__(self, name: str) -> Tool:
        """Return a tool.

        Raises:
            TinhError: when there is no such tool.
        """
        if name not in self.tools:
            raise TinhError(
                f"no tool {name!r} in the catalogue", where=str(self.root), fix="see `tinh toolchain list`"
            )
        return self.tools[name]

    def __iter__(self) -> Iterator[Tool]:
        """Iterate over the tools."""
        return iter(self.tools.values())

    def select(self, names_or_stage: str | Iterable[str]) -> list[str]:
        """Return names of tools: those named, or those of a stage and of all stages before it.

        A stage stands for what is used by itself: tools that only serve to build others come by their
        `needs`, so that nothing is compiled for an image that is downloaded.

        Raises:
            TinhError: when a name is neither a stage nor a tool.
        """
        if isinstance(names_or_stage, str):
            if names_or_stage in STAGES:
                until = STAGES.index(names_or_stage)
                inner = {need for tool in self for need in tool.needs} | {"go"}
                return [
                    tool.name
                    for tool in self
                    if STAGES.index(tool.stage) <= until and (tool.host or tool.name not in inner)
                ]
            names_or_stage = [names_or_stage]
        return [self[name].name for name in dict.fromkeys(names_or_stage)]

    def source(self, name: str, wanted: Source) -> Source:
        """Return where a tool really comes from: the build where there is no official release."""
        return wanted if self[name].official else "build"

    def needs(self, name: str, wanted: Source) -> list[str]:
        """Return the tools that must be there before this one: none when it is downloaded."""
        return self[name].needs if self.source(name, wanted) == "build" else []

    def dependents(self, name: str) -> list[str]:
        """Return the tools whose builds read this one."""
        return [tool.name for tool in self if name in tool.needs]

    def key(self, name: str, wanted: Source) -> str:
        """Return the sha256 of a tool's recipe: all that decides what the artifact contains."""
        at = (name, wanted)
        if at not in self._keys:
            text = json.dumps(self._recipe(self[name], wanted), sort_keys=True)
            self._keys[at] = hashlib.sha256(text.encode()).hexdigest()
        return self._keys[at]

    def _recipe(self, tool: Tool, wanted: Source) -> dict[str, object]:
        # Not in the recipe: why, stage, host, minutes, memory. They change nothing in the artifact.
        recipe: dict[str, object] = {"name": tool.name, "version": tool.version, "kind": tool.kind}
        if self.source(tool.name, wanted) == "official" and tool.official:
            how = PULL if tool.official.image else DOWNLOAD
            return recipe | {"official": tool.official.model_dump(), "builder": how.version}
        return recipe | {
            "build": tool.build.model_dump(),
            "builder": BUILDERS[tool.build.kind].version,
            "files": {str(file.relative_to(self.root)): _hash(file) for file in self.files(tool)},
            "needs": {need: self.key(need, wanted) for need in tool.needs},
        }

    def files(self, tool: Tool) -> list[Path]:
        """Return the files of this repository that a build reads."""
        build = tool.build
        if isinstance(build, GoBuild | ManifestBuild):
            return sorted(file for file in (self.root / build.module).rglob("*") if file.is_file())
        if isinstance(build, LocalBuild):
            return sorted(self.root / file for file in build.files.values())
        if isinstance(build, PythonBuild):
            folder = self.root / build.folder
            own = [file for file in (folder / "src").rglob("*") if file.is_file() and file.suffix != ".pyc"]
            return sorted([folder / "requirements.lock", *own])
        return []


def image_ref(tool: Tool) -> str | None:
    """Return the upstream name and tag of an image tool, None for other tools."""
    if isinstance(tool.build, ImageBuild):
        return tool.build.ref
    return None


def _hash(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@lru_cache(maxsize=8)
def load(root: Path = HERE) -> Catalogue:
    """Read and check the catalogue of a folder.

    Raises:
        TinhError: when a file is not as the model says, a name is there twice, a need is unknown or goes
            round in a circle, files of a build are missing, or an official download could not be checked.
    """
    tools: dict[str, Tool] = {}
    origin: dict[str, Path] = {}
    for file in sorted(root.glob("*.yaml")):
        entries = read_yaml(file)
        if not isinstance(entries, list):
            raise TinhError(
                "the file is not a list of tools", where=str(file), fix="begin each tool with `- name:`"
            )
        for number, entry in enumerate(entries):
            name = entry.get("name", number) if isinstance(entry, dict) else number
            tool = validate(Tool, entry, Path(f"{file}[{name}]"))
            if tool.name in tools:
                raise TinhError(
                    f"tool {tool.name!r} is declared twice",
                    where=f"{origin[tool.name]} and {file}",
                    fix="remove or rename one of them",
                )
            tools[tool.name], origin[tool.name] = tool, file
    catalogue = Catalogue(tools, root)
    for tool in catalogue:
        _check(catalogue, tool, origin[tool.name])
    _check_circles(catalogue, origin)
    return catalogue


def _check(catalogue: Catalogue, tool: Tool, file: Path) -> None:
    where = f"{file}: {tool.name}"
    for need in tool.needs:
        if need not in catalogue.tools:
            raise TinhError(
                f"{tool.name} needs {need!r}, which is no tool", where=where, fix="correct `needs`"
            )
    if isinstance(tool.build, GoBuild | ManifestBuild):
        folder = catalogue.root / tool.build.module
        for name in ("go.mod", "go.sum"):
            # A module without requirements has no go.sum.
            if not (folder / name).is_file() and not (
                name == "go.sum" and _no_requirements(folder / "go.mod")
            ):
                raise TinhError(
                    f"{tool.name} is built in {tool.build.module}, which has no {name}",
                    where=where,
                    fix=f"add {folder / name}",
                )
    if isinstance(tool.build, PythonBuild):
        lock = catalogue.root / tool.build.folder / "requirements.lock"
        if not lock.is_file():
            raise TinhError(
                f"{tool.name} is built from a lock file that is not there",
                where=f"{where}: {lock}",
                fix="correct `folder`, or write it with `make lock`",
            )
    if isinstance(tool.build, LocalBuild):
        for path in tool.build.files.values():
            if not (catalogue.root / path).is_file():
                raise TinhError(
                    f"{tool.name} takes {path!r}, which is no file",
                    where=where,
                    fix="correct `files`",
                )
    for item in tool.official.downloads if tool.official else []:
        if not item.sha256 and not item.checksum_url:
            raise TinhError(
                f"the download {item.url} has neither checksum_url nor sha256",
                where=where,
                fix="name the publisher's checksum file or pin the hash",
            )
        if bool(item.unpack) == bool(item.to):
            raise TinhError(
                f"the download {item.url} needs one of `unpack` and `to`", where=where, fix="keep one"
            )


def _no_requirements(go_mod: Path) -> bool:
    return go_mod.is_file() and "require" not in go_mod.read_text("utf-8")


def _check_circles(catalogue: Catalogue, origin: dict[str, Path]) -> None:
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            circle = " -> ".join((*path[path.index(name) :], name))
            raise TinhError(
                f"needs go round in a circle: {circle}", where=str(origin[name]), fix="remove one need"
            )
        if name not in done:
            for need in catalogue[name].needs:
                visit(need, (*path, name))
            done.add(name)

    for tool in catalogue:
        visit(tool.name, ())
