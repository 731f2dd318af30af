"""Lays out files of this repository as an artifact."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from lab.toolchain.catalogue import HERE
from lab.toolchain.model import LocalBuild, Tool


def build(tool: Tool, needs: Mapping[str, Path], out: Path, log: TextIO) -> None:
    """Copy the files, executable when they are under bin/."""
    del needs, log
    recipe = tool.build
    assert isinstance(recipe, LocalBuild)  # noqa: S101 - the registry calls this builder for this kind only
    for path, source in recipe.files.items():
        target = out / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(HERE / source, target)
        target.chmod(0o755 if path.startswith("bin/") else 0o644)
