"""The content-addressed store of artifacts under `infra.paths.cache()`.

```
artifacts/<name>-<20 digits of the key>/   an artifact; manifest.json lists every file with its sha256
artifacts/.tmp-<name>/                     a build under way; the holder of the tool's lock may remove it
locks/  logs/  downloads/  bin/            locks, build logs, resumable downloads, links to host binaries
go-build/  go-mod/  uv/                    caches of Go and uv
durations.json  seen.json                  measured build times; hashes of release files seen so far
```
An artifact appears by one rename after everything in it is on disk: a folder with the final name is complete.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import stat
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.errors import HostError, IntegrityError
from lab.toolchain import process

MANIFEST = "manifest.json"
_POLL = 0.1


@dataclass(frozen=True)
class Evidence:
    """How one downloaded file was checked: recorded in the manifest, shown by `list` and `why`.

    Attributes:
        url: where it came from.
        sha256: of the file.
        checksum: what it was compared with: `pinned`, or the publisher's checksum file.
        signature: what is known of the publisher's signature.
    """

    url: str
    sha256: str
    checksum: str
    signature: str


@dataclass(frozen=True)
class Store:
    """The store in a cache folder."""

    root: Path

    def folder(self, name: str, key: str) -> Path:
        """Return the folder of an artifact, whether or not it is there."""
        return self.root / "artifacts" / f"{name}-{key[:20]}"

    def log(self, name: str) -> Path:
        """Return the log file of a tool's last build."""
        return self._made("logs") / f"{name}.log"

    @property
    def downloads(self) -> Path:
        """Folder of downloaded files."""
        return self._made("downloads")

    def _made(self, name: str) -> Path:
        path = self.root / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    # --- locks ---

    @contextlib.contextmanager
    def lock(self, name: str, waiting: Callable[[], None] | None = None) -> Generator[None]:
        """Hold a lock that other processes and threads respect; it falls when its holder dies.

        Args:
            name: of the lock.
            waiting: called once when somebody else holds it.
        """
        with self.slot(f"{name}.lock", 1, waiting):
            yield

    @contextlib.contextmanager
    def slot(self, name: str, count: int, waiting: Callable[[], None] | None = None) -> Generator[None]:
        """Hold one of `count` locks: a limit that is shared by all processes on the machine."""
        folder = self._made("locks")
        files = (
            [folder / name] if count == 1 else [folder / f"{name}-{number}.lock" for number in range(count)]
        )
        handles = [os.open(file, os.O_RDWR | os.O_CREAT, 0o644) for file in files]
        try:
            while not any(_try(handle) for handle in handles):
                if process.stopping.is_set():
                    raise process.Stopped
                if waiting:
                    waiting()
                    waiting = None
                # Polling and not a blocking flock: Ctrl-C has to end the wait in every thread.
                time.sleep(_POLL)
            yield
        finally:
            for handle in handles:
                os.close(handle)

    def locked(self, name: str) -> bool:
        """Tell whether somebody builds this tool now."""
        handle = os.open(self._made("locks") / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            return not _try(handle)
        finally:
            os.close(handle)

    # --- artifacts ---

    def begin(self, name: str) -> Path:
        """Return an empty folder for a build; a leftover is of a dead process: the caller has the lock."""
        path = self._made("artifacts") / f".tmp-{name}"
        discard(path)
        path.mkdir()
        return path

    def commit(self, built: Path, name: str, key: str, facts: dict[str, object]) -> Path:
        """Move a finished build to its final name, with its manifest; a crash leaves all or nothing."""
        paths = sorted(path for path in built.rglob("*") if path.is_symlink() or not path.is_dir())
        with ThreadPoolExecutor(2) as pool:
            files = dict(zip(paths, pool.map(_entry, paths), strict=True))
        manifest = {
            **facts,
            "name": name,
            "key": key,
            "files": {str(path.relative_to(built)): entry for path, entry in files.items()},
        }
        with (built / MANIFEST).open("w", encoding="utf-8") as stream:
            json.dump(manifest, stream, indent=1, sort_keys=True)
            stream.flush()
            os.fsync(stream.fileno())
        for folder in [path for path in built.rglob("*") if path.is_dir() and not path.is_symlink()] + [
            built
        ]:
            _sync(folder)
        final = self.folder(name, key)
        built.rename(final)
        _sync(final.parent)
        return final

    def manifest(self, folder: Path) -> dict[str, Any]:
        """Return the manifest of an artifact.

        Raises:
            IntegrityError: when it is missing or broken.
        """
        try:
            return json.loads((folder / MANIFEST).read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise _refused(folder, f"its {MANIFEST} cannot be read ({error})") from None

    def check(self, folder: Path, *, thorough: bool = False) -> None:
        """Check an artifact against its manifest.

        Args:
            folder: of the artifact.
            thorough: hash every file; otherwise only files whose time differs from the recorded one.

        Raises:
            IntegrityError: when a file is missing, additional or different; both values are named.
        """
        entries = self.manifest(folder)["files"]
        for path, entry in entries.items():
            file = folder / path
            try:
                found = file.lstat()
            except FileNotFoundError:
                raise _refused(folder, f"{path} is missing") from None
            if "link" in entry:
                target = str(file.readlink()) if file.is_symlink() else "no link"
                if target != entry["link"]:
                    raise _refused(folder, f"{path} should be a link to {entry['link']}, is {target}")
                continue
            if found.st_size != entry["size"]:
                raise _refused(folder, f"{path} should have {entry['size']} bytes, has {found.st_size}")
            if (thorough or found.st_mtime_ns != entry["mtime_ns"]) and (sha256 := hash_file(file)) != entry[
                "sha256"
            ]:
                raise _refused(folder, f"{path} should have sha256 {entry['sha256']}, has {sha256}")
            if (mode := stat.S_IMODE(found.st_mode)) != entry["mode"]:
                raise _refused(folder, f"{path} should have mode {entry['mode']:o}, has {mode:o}")
        if thorough:
            for file in folder.rglob("*"):
                path = str(file.relative_to(folder))
                if (file.is_symlink() or not file.is_dir()) and path not in entries and path != MANIFEST:
                    raise _refused(folder, f"{path} is there, but is not in the manifest")

    def artifacts(self) -> list[Path]:
        """Return all artifact folders, of whatever catalogue."""
        return sorted(path for path in self._made("artifacts").iterdir() if not path.name.startswith("."))

    def leftovers(self) -> list[Path]:
        """Return folders of builds that nobody works on any more."""
        found = self._made("artifacts").glob(".tmp-*")
        return sorted(path for path in found if not self.locked(path.name.removeprefix(".tmp-")))

    # --- measured times ---

    def durations(self) -> dict[str, float]:
        """Return measured build times in seconds; empty when there are none."""
        try:
            return json.loads((self.root / "durations.json").read_text("utf-8"))
        except (OSError, ValueError):
            return {}

    def remember(self, name: str, seconds: float) -> None:
        """Remember how long a build took."""
        with self.lock(".durations"):
            times = {**self.durations(), name: round(seconds, 1)}
            write_atomically(self.root / "durations.json", json.dumps(times, indent=1, sort_keys=True))


def write_atomically(file: Path, text: str) -> None:
    """Write a file so that readers see the old or the new text, never half of it."""
    part = file.with_name(f".{file.name}.{os.getpid()}")
    part.write_text(text, "utf-8")
    part.replace(file)


def hash_file(file: Path) -> str:
    """Return the sha256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def discard(path: Path) -> None:
    """Remove a folder, also one with read-only folders in it as Go's module cache has; missing is fine."""
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return

    def force(function: Callable[..., object], name: str, error: object) -> None:
        del error
        Path(name).parent.chmod(0o700)
        if Path(name).is_dir() and not Path(name).is_symlink():
            Path(name).chmod(0o700)
        function(name)

    shutil.rmtree(path, onerror=force)


def size(path: Path) -> int:
    """Return the bytes that a folder takes on disk."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += (Path(folder) / name).lstat().st_blocks * 512
    return total


def disk_full(root: Path, doing: str) -> HostError:
    """Return the error for a full disk."""
    usage = shutil.disk_usage(root)
    return HostError(
        f"the disk is full: {usage.free / 2**30:.1f} GiB of {usage.total / 2**30:.0f} GiB are free, {doing}",
        where=str(root),
        fix="`tinh toolchain prune` removes build caches and old artifacts; TINH_CACHE names another disk",
    )


def _entry(path: Path) -> dict[str, object]:
    if path.is_symlink():
        return {"link": str(path.readlink())}
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        os.fsync(stream.fileno())
        found = os.fstat(stream.fileno())
    return {
        "sha256": sha256,
        "size": found.st_size,
        "mtime_ns": found.st_mtime_ns,
        "mode": stat.S_IMODE(found.st_mode),
    }


def _refused(folder: Path, why: str) -> IntegrityError:
    return IntegrityError(
        f"the cached artifact {folder.name} is damaged: {why}",
        where=str(folder),
        fix=f"remove it (rm -r {folder}) and run `tinh toolchain get {folder.name.rpartition('-')[0]}`",
    )


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _try(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
