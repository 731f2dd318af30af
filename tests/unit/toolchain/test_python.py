"""Python packages of an application's image: what is locked, and nothing else."""

from __future__ import annotations

import hashlib
import io
import shutil
import zipfile
from pathlib import Path

import pytest

from infra.errors import TinhError, ToolError
from lab.toolchain import python
from lab.toolchain.catalogue import Catalogue
from lab.toolchain.model import PythonBuild, Tool
from tests.unit.toolchain.catalogues import catalogue


def wheel(folder: Path) -> str:
    """Write a wheel with a module, a command, a source of translations; return its hash."""
    file = folder / "prog-1.0-py3-none-any.whl"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr("prog/__init__.py", "")
        zipped.writestr("prog/vi.po", "source")
        zipped.writestr("prog/vi.mo", "compiled")
        zipped.writestr("prog-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: prog\nVersion: 1.0\n")
        zipped.writestr("prog-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        zipped.writestr("prog-1.0.dist-info/entry_points.txt", "[console_scripts]\nprog = prog:main\n")
        zipped.writestr("prog-1.0.dist-info/RECORD", "")
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An image's folder with a lock file that names the wheel, and a package of our own."""
    digest = wheel(tmp_path / "wheels")
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("TINH_CACHE", str(tmp_path / "cache"))
    image = tmp_path / "image"
    (image / "src" / "own" / "__pycache__").mkdir(parents=True)
    (image / "src" / "own" / "__init__.py").write_text("")
    (image / "src" / "own" / "vi.po").write_text("ours")
    (image / "src" / "own" / "__pycache__" / "a.pyc").write_text("left by a test")
    (image / python.LOCK).write_text(f"prog==1.0 --hash=sha256:{digest}\n")
    return image


def tool(folder: Path, **more: object) -> Tool:
    recipe = {"kind": "python", "folder": str(folder), "python": "3.11", "drop": ["*.po"], **more}
    entry = {
        "name": "prog",
        "version": "1.0",
        "kind": "files",
        "why": "tests it",
        "stage": "lab",
        "build": recipe,
    }
    return Tool.model_validate(entry)


def test_packages_of_the_lock_file_and_our_own_without_commands_and_sources(
    folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    python.build(tool(folder), {}, out, io.StringIO())
    found = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert {"lib/prog/__init__.py", "lib/prog/vi.mo", "lib/own/__init__.py", "lib/own/vi.po"} <= found
    assert not [path for path in found if path.endswith((".pyc", "prog/vi.po")) or path.startswith("lib/bin")]


def test_commands_start_the_images_python(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    shutil.rmtree(folder / "src")
    python.build(tool(folder, interpreter="/image/python3"), {}, out, io.StringIO())
    command = out / "lib" / "bin" / "prog"
    assert command.read_text().startswith("#!/image/python3\n")
    assert command.stat().st_mode & 0o111


def test_another_wheel_than_the_locked_one_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / python.LOCK).write_text(f"prog==1.0 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(ToolError, match=r"(?i)hash"):
        python.build(tool(folder), {}, tmp_path, io.StringIO())


def entry(folder: Path) -> dict[str, object]:
    return tool(folder).model_dump(exclude_none=True)


def test_lock_file_and_own_sources_are_in_the_key_and_leftovers_are_not(folder: Path, tmp_path: Path) -> None:
    def key() -> str:
        made: Catalogue = catalogue(tmp_path / "catalogue", entry(Path("..") / "image"))
        return made.key("prog", "build")

    first = key()
    (folder / "src" / "own" / "__pycache__" / "b.pyc").write_text("another one")
    assert key() == first
    (folder / "src" / "own" / "__init__.py").write_text("x = 1")
    assert (second := key()) != first
    (folder / python.LOCK).write_text("")
    assert key() != second


def test_a_missing_lock_file_is_named(folder: Path, tmp_path: Path) -> None:
    shutil.move(folder / python.LOCK, tmp_path)
    with pytest.raises(TinhError, match=r"requirements\.lock"):
        catalogue(tmp_path / "catalogue", entry(Path("..") / "image"))


def test_the_images_python_is_named_by_major_and_minor() -> None:
    with pytest.raises(ValueError, match="python"):
        PythonBuild(kind="python", folder="x", python="3")
