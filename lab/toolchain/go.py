"""Builds Go programs from modules, with the versions and hashes of a committed go.mod and go.sum.

No source of another project is kept in this repository: the main packages are those of the required modules,
or a few lines of our own beside go.mod. Builds are static (CGO_ENABLED=0), without paths of the machine
(-trimpath), and share `go-build` and `go-mod` in the cache, so a stopped build goes on where it was.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, TextIO

from infra import paths
from infra.errors import HostError, IntegrityError, ToolError
from lab.toolchain import process
from lab.toolchain.catalogue import HERE
from lab.toolchain.model import GoBuild, Tool
from lab.toolchain.store import Store

#: The oldest Go that builds every module of the catalogue.
MINIMUM = (1, 26)


@lru_cache(maxsize=1)
def machine_go() -> str | None:
    """Return the machine's own `go` when it is new enough."""
    found = shutil.which("go")
    if not found:
        return None
    done = subprocess.run([found, "env", "GOVERSION"], capture_output=True, text=True, check=False)
    match = re.match(r"go(\d+)\.(\d+)", done.stdout)
    return found if match and (int(match[1]), int(match[2])) >= MINIMUM else None


def environment() -> dict[str, str]:
    """Return the variables of a Go build; the module proxy stays the machine's own."""
    return {
        "CGO_ENABLED": "0",
        "GO111MODULE": "on",
        "GOFLAGS": "-buildvcs=false -trimpath -mod=readonly",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GOCACHE": str(paths.cache() / "go-build"),
        "GOMODCACHE": str(paths.cache() / "go-mod"),
    }


def build(tool: Tool, needs: Mapping[str, Path], out: Path, log: TextIO) -> None:
    """Build a Go tool.

    Raises:
        ToolError: when `go` fails or a file of a module is missing.
        IntegrityError: when a module differs from go.sum.
        HostError: when there is no Go.
    """
    recipe = tool.build
    assert isinstance(recipe, GoBuild)  # noqa: S101 - the registry calls this builder for this kind only
    go = str(needs["go"] / "bin" / "go") if "go" in needs else machine_go()
    if not go:
        raise HostError("there is no Go 1.26 or newer", fix="`tinh toolchain get go`, or install it")
    # Two builds of one module at once would compile the same packages twice.
    with Store(paths.cache()).lock(f".go-{recipe.module}"):
        work = out / ".module"
        shutil.copytree(HERE / recipe.module, work)
        _Module(go, work, tool, recipe, log).build(out)
        shutil.rmtree(work)


class _Module:
    """One build in a copy of the module's folder."""

    def __init__(self, go: str, work: Path, tool: Tool, recipe: GoBuild, log: TextIO) -> None:
        self.go, self.work, self.tool, self.recipe, self.log = go, work, tool, recipe, log
        self.folders: dict[str, Path] = {}

    def build(self, out: Path) -> None:
        """Build all packages in one go, so that shared ones compile once, and lay out the artifact."""
        for name, item in self.recipe.embed.items():
            text = self._source(item.source).read_text("utf-8")
            document = json.loads(text) | {key: self.tool.fill(value) for key, value in item.set.items()}
            (self.work / name).write_text(
                json.dumps(document, separators=(",", ":"), ensure_ascii=False), "utf-8"
            )
        self._change_modules()
        stamps = " ".join(f"-X {key}={self.tool.fill(value)}" for key, value in self.recipe.stamp.items())
        names = _base_names(self.recipe)
        built = self.work / ".out"
        built.mkdir()
        self._run(
            "build",
            f"-tags={','.join(self.recipe.tags)}",
            f"-ldflags=-s -w {stamps}".strip(),
            f"-o={built}/",
            *dict.fromkeys(self.recipe.packages.values()),
        )
        for name, package in self.recipe.packages.items():
            path = self.tool.fill(name)
            target = out / (path if "/" in path else f"bin/{path}")
            target.parent.mkdir(parents=True, exist_ok=True)
            (built / names[package]).rename(target)
        for path, source in self.recipe.extra.items():
            target = out / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self._source(source), target)
            target.chmod(0o755 if path.startswith("bin/") else 0o644)

    def _change_modules(self) -> None:
        """Compile changed copies of modules: `go build -overlay` refuses files of the module cache."""
        copies: dict[Path, Path] = {}

        def changed(source: str) -> Path:
            required, folder, path = self._locate(source)
            if folder not in copies:
                copies[folder] = self.work / f".changed-{len(copies)}"
                shutil.copytree(folder, copies[folder], copy_function=shutil.copyfile)
                for item in (copies[folder], *copies[folder].rglob("*")):
                    item.chmod(0o755 if item.is_dir() else 0o644)  # the module cache is read-only
                self._run("mod", "edit", f"-replace={required}={copies[folder]}")
            return copies[folder] / path

        for source, own in self.recipe.overlay.items():
            shutil.copyfile(self.work / own, changed(source))
        for source, changes in self.recipe.edit.items():
            file = changed(source)
            text = file.read_text("utf-8")
            for old, new in changes.items():
                text, times = re.subn(old, new, text, flags=re.DOTALL | re.MULTILINE)
                if not times:
                    raise ToolError(
                        f"{source} holds nothing like {old!r}",
                        where=f"{self.recipe.module}, edit",
                        fix="look at the module's new version, then change or remove the entry",
                    )
            file.write_text(text, "utf-8")

    def _run(self, *args: str) -> None:
        process.run([self.go, *args], log=self.log, cwd=self.work, env=environment())

    def _output(self, *args: str) -> str:
        return process.output([self.go, *args], log=self.log, cwd=self.work, env=environment())

    @cached_property
    def _go_mod(self) -> dict[str, Any]:
        """go.mod as it is in the repository: read before copies of modules are put in their place."""
        return json.loads(self._output("mod", "edit", "-json"))

    def _source(self, source: str) -> Path:
        """Return a file of a module: `<module>@<version>/<path>` or `<module required in go.mod>/<path>`."""
        _, folder, path = self._locate(source)
        return folder / path

    def _locate(self, source: str) -> tuple[str, Path, str]:
        """Return a file's module as it is required, the module's folder in the cache, and the path in it."""
        required, at, rest = source.partition("@")
        if at:
            version, _, path = rest.partition("/")
            module = required
        else:
            versions = {item["Path"]: item["Version"] for item in self._go_mod["Require"]}
            candidates = [name for name in versions if source.startswith(f"{name}/")]
            if not candidates:
                raise ToolError(f"no module of go.mod holds {source}", where=self.recipe.module)
            module = required = max(candidates, key=len)
            version, path = versions[required], source.removeprefix(f"{required}/")
            for item in self._go_mod["Replace"] or ():
                if item["Old"]["Path"] == required:
                    module, version = item["New"]["Path"], item["New"]["Version"]
        folder = self._folder(module, version)
        if not (folder / path).is_file():
            raise ToolError(f"module {module}@{version} has no file {path}", where=self.recipe.module)
        return required, folder, path

    def _folder(self, module: str, version: str) -> Path:
        """Return a module's folder, downloaded and compared with go.sum once."""
        name = f"{module}@{version}"
        if name not in self.folders:
            found = json.loads(self._output("mod", "download", "-json", name))
            self._compare(module, version, found["Sum"])
            self.folders[name] = Path(found["Dir"])
        return self.folders[name]

    def _compare(self, module: str, version: str, found: str) -> None:
        pinned = re.search(
            rf"^{re.escape(module)} {re.escape(version)} (\S+)$", (self.work / "go.sum").read_text(), re.M
        )
        if not pinned or pinned[1] != found:
            raise IntegrityError(
                f"module {module}@{version} has hash {found}, go.sum has {pinned[1] if pinned else 'none'}",
                where=f"{self.recipe.module}/go.sum",
                fix="find out why the module changed before changing go.sum",
            )


def _base_names(recipe: GoBuild) -> dict[str, str]:
    """Return the file name that `go build` gives to each package.

    Raises:
        ToolError: when two packages would get the same name.
    """
    names: dict[str, str] = {}
    for package in recipe.packages.values():
        parts = package.split("/")
        names[package] = parts[-2] if re.fullmatch(r"v\d+", parts[-1]) else parts[-1]
    if len(set(names.values())) != len(names):
        raise ToolError(
            f"two packages of module {recipe.module} have the same base name: {sorted(names)}",
            fix="put them into two tools",
        )
    return names
