"""Which function builds which kind: imported only when a build of that kind starts.

A builder has the signature::

    def build(tool: Tool, needs: Mapping[str, Path], out: Path, log: TextIO) -> None

`needs` maps the tools of `Tool.needs` (and of the builder's own toolchain, such as `go`) to their artifact
folders. The builder writes the artifact into the empty folder `out` and its output into `log`, starts
commands through `lab.toolchain.process.run` (so that Ctrl-C ends them), and raises `ToolError` or another
`TinhError`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from lab.toolchain.model import OfficialImage, Tool

BuildFunction = Callable[["Tool", Mapping[str, Path], Path, TextIO], None]


@dataclass(frozen=True)
class Builder:
    """A builder: where its function is, and its version.

    The version is part of every key, so raising it builds all artifacts of the kind anew. Raise it when the
    same recipe gives other bytes, not for a refactoring.
    """

    path: str
    version: int

    def load(self) -> Callable[..., Any]:
        """Import the function."""
        module, _, name = self.path.partition(":")
        return getattr(importlib.import_module(module), name)


BUILDERS: dict[str, Builder] = {
    "go": Builder("lab.toolchain.go:build", 1),
    "pypi": Builder("lab.toolchain.pypi:build", 1),
    "python": Builder("lab.toolchain.python:build", 1),
    "maven": Builder("lab.toolchain.maven:build", 1),
    "local": Builder("lab.toolchain.local:build", 1),
    "image": Builder("lab.toolchain.oci:build", 1),
    "debian": Builder("lab.toolchain.debian:build", 1),
    "manifest": Builder("lab.toolchain.manifests:build", 1),
}

#: `fetch(tool, out, log) -> list[Evidence]` for releases made of files.
DOWNLOAD = Builder("lab.toolchain.fetch:fetch", 1)
#: `pull(image: OfficialImage, out, log) -> None` for images of an upstream registry.
PULL = Builder("lab.toolchain.pull:pull", 1)

PullFunction = Callable[["OfficialImage", Path, TextIO], None]
