"""Lays out the Python packages of a lock file: wheels only, each pinned by hash, nothing executed.

The artifact holds `site/`, which an image puts on `PYTHONPATH`, with the packages' commands in `site/bin`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from infra.errors import ToolError
from lab.toolchain import process
from lab.toolchain.catalogue import HERE
from lab.toolchain.model import Tool, WheelsBuild


def build(tool: Tool, needs: Mapping[str, Path], out: Path, log: TextIO) -> None:
    """Fetch the wheels of a lock file and unpack them.

    Raises:
        ToolError: when pip fails: a hash differs, or there is no wheel for the image's Python.
    """
    del needs
    recipe = tool.build
    assert isinstance(recipe, WheelsBuild)  # noqa: S101 - the registry calls this builder for this kind only
    site = out / "site"
    process.run(
        [
            *(sys.executable, "-m", "pip", "install", "--no-deps", "--only-binary=:all:", "--require-hashes"),
            *(
                "--no-compile",
                "--progress-bar=off",
                "--implementation=cp",
                f"--python-version={recipe.python}",
            ),
            *("--no-warn-script-location", "--no-cache-dir", f"--target={site}"),
            f"--requirement={HERE / recipe.lock}",
        ],
        log=log,
    )
    scripts = sorted((site / "bin").glob("*"))
    if not scripts:
        raise ToolError(
            "the lock file has no package with a command", where=recipe.lock, fix="correct `lock`"
        )
    for script in scripts:
        _adopt(script, recipe.interpreter)


def _adopt(script: Path, interpreter: str) -> None:
    """Let a command start the image's Python: pip writes the path of its own."""
    first, newline, rest = script.read_text("utf-8").partition("\n")
    if first.startswith("#!"):
        first = f"#!{interpreter}"
    script.write_text(first + newline + rest, "utf-8")
    script.chmod(0o755)
