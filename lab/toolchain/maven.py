"""Fetches an artifact by its Maven coordinates with the machine's Maven client."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from infra.errors import HostError, IntegrityError
from lab.toolchain import process
from lab.toolchain.model import MavenBuild, Tool
from lab.toolchain.store import hash_file

#: The plugin's version is fixed so that the same command works everywhere.
PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"


def build(tool: Tool, needs: Mapping[str, Path], out: Path, log: TextIO) -> None:
    """Fetch the artifact and check its hash.

    Raises:
        HostError: when Maven is not installed.
        ToolError: when Maven fails.
        IntegrityError: when the file has another hash than the pinned one.
    """
    del needs
    recipe = tool.build
    assert isinstance(recipe, MavenBuild)  # noqa: S101 - the registry calls this builder for this kind only
    maven = shutil.which("mvn")
    if not maven:
        raise HostError(
            "Maven (`mvn`) is not installed", fix="apt-get install maven, or use --source official"
        )
    coordinates = tool.fill(recipe.coordinates)
    work = out / ".maven"
    process.run(
        [
            *(maven, "--batch-mode", "--no-transfer-progress", PLUGIN),
            *(f"-Dartifact={coordinates}", f"-DoutputDirectory={work}"),
        ],
        log=log,
        # Maven looks for a pom.xml where it runs; there is none here.
        cwd=out,
    )
    (file,) = work.iterdir()
    if (found := hash_file(file)) != recipe.sha256:
        raise IntegrityError(
            f"{coordinates} should have sha256 {recipe.sha256}, has {found}",
            where=f"tool {tool.name}",
            fix="find out why it changed before changing the pinned hash",
        )
    target = out / tool.fill(recipe.to)
    target.parent.mkdir(parents=True, exist_ok=True)
    file.rename(target)
    work.rmdir()
