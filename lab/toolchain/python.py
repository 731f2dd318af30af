"""Lays out the Python packages of an application's image: everything a lock file names, and packages of our own.

The artifact holds `lib/`, which an image puts in a virtual environment as its `site-packages`. Only wheels are taken,
each checked against the lock file's hashes; nothing is resolved here and nothing of a package runs.
"""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from infra import paths
from lab.toolchain import process
from lab.toolchain.catalogue import HERE
from lab.toolchain.model import PythonBuild, Tool

#: The lock file beside the sources, written by `make lock`.
LOCK = "requirements.lock"
#: What the images' C library (Debian 12: 2.36) can run.
_GLIBC = "manylinux_2_36"


def build(tool: Tool, needs: Mapping[str, Path], out: Path, log: TextIO) -> None:
    """Install the locked wheels into `lib/` and copy our own packages beside them.

    Raises:
        ToolError: when uv fails: a wheel cannot be had, or has another hash than the lock file's.
    """
    del needs
    recipe = tool.build
    assert isinstance(recipe, PythonBuild)  # noqa: S101 - the registry calls this builder for this kind only
    folder, lib = HERE / recipe.folder, out / "lib"
    process.run(
        [
            *(sys.executable, "-m", "uv", "pip", "install", "--no-config", "--no-progress"),
            *("--no-deps", "--require-hashes", "--only-binary=:all:", "--link-mode=copy"),
            *(f"--cache-dir={paths.cache() / 'uv'}", f"--target={lib}", f"--python={sys.executable}"),
            *(f"--python-version={recipe.python}", f"--python-platform={platform.machine()}-{_GLIBC}"),
            f"--requirements={folder / LOCK}",
        ],
        log=log,
    )
    (lib / ".lock").unlink(missing_ok=True)
    if recipe.interpreter:
        for command in (lib / "bin").iterdir():
            _adopt(command, recipe.interpreter)
    else:
        shutil.rmtree(lib / "bin", ignore_errors=True)
    for pattern in recipe.drop:
        for file in [found for found in lib.rglob(pattern) if found.is_file()]:
            file.unlink()
    if (folder / "src").is_dir():
        # What editors and test runs leave beside the sources is not part of them.
        ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
        shutil.copytree(folder / "src", lib, dirs_exist_ok=True, ignore=ignore)


def _adopt(command: Path, interpreter: str) -> None:
    """Let a command start the image's Python: installers write the path of their own."""
    first, newline, rest = command.read_text("utf-8").partition("\n")
    if first.startswith("#!"):
        first = f"#!{interpreter}"
    command.write_text(first + newline + rest, "utf-8")
    command.chmod(0o755)
