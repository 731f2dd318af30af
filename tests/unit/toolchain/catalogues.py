"""Small catalogues and artifacts for the tests of the toolchain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from lab.toolchain.catalogue import Catalogue, load


def local(name: str, *, needs: tuple[str, ...] = (), stage: str = "lab", **more: Any) -> dict[str, Any]:
    """Return the entry of a tool made of one file of the catalogue's folder."""
    return {
        "name": name,
        "version": "1.0",
        "kind": "binaries",
        "why": "tests it",
        "stage": stage,
        "needs": list(needs),
        "build": {"kind": "local", "files": {f"bin/{name}": "file.txt"}},
        **more,
    }


def catalogue(folder: Path, *entries: dict[str, Any]) -> Catalogue:
    """Write and load a catalogue."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "file.txt").write_text("content\n")
    (folder / "tools.yaml").write_text(yaml.safe_dump(list(entries)))
    load.cache_clear()
    return load(folder)
