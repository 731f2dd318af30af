"""Downloads official releases: resumable, checked against the publisher's checksums and the pinned hashes.

Signatures: the publishers' (cosign bundles, GPG) need their whole verification stacks, which no small library
offers, so they are not verified; every manifest, `list` and `why` say so.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import tarfile
import time
import zipfile
from collections.abc import Callable, Generator
from pathlib import Path
from typing import IO, TextIO, TypeVar
from urllib.parse import urlparse

import requests
import urllib3

from infra import paths
from infra.errors import IntegrityError, ToolError
from lab.toolchain import process
from lab.toolchain.model import Download, Tool
from lab.toolchain.store import Evidence, Store, hash_file, write_atomically

T = TypeVar("T")
ATTEMPTS = 6
_AGAIN = {408, 429, 500, 502, 503, 504}
_TIMEOUT = (10, 60)
_CHUNK = 1 << 20
_SHA256 = re.compile(r"\b[0-9a-fA-F]{64}\b")
#: Seconds before the second attempt; doubled for each further one.
PAUSE = 0.5


def fetch(tool: Tool, out: Path, log: TextIO) -> list[Evidence]:
    """Download and lay out a tool's official release.

    Raises:
        IntegrityError: when a checksum differs, from the published, the pinned, or the one seen before.
        ToolError: when a download fails or a member is not in an archive.
    """
    store = Store(paths.cache())
    return [
        _fetch(store, tool, item, out, log) for item in (tool.official.downloads if tool.official else [])
    ]


def _fetch(store: Store, tool: Tool, item: Download, out: Path, log: TextIO) -> Evidence:
    url, checksum_url = tool.fill(item.url), tool.fill(item.checksum_url or "")
    expected, checked = item.sha256, "pinned hash"
    if expected is None:
        text = _retry(checksum_url, lambda: _text(checksum_url))
        expected = published(text, Path(urlparse(url).path).name, checksum_url)
        checked = f"publisher's {checksum_url}"
    # Tools may share an archive: one downloads it, the others wait and find it.
    with store.lock(f".download-{hashlib.sha256(url.encode()).hexdigest()[:20]}"):
        file = _download(store, url, expected, checked, log)
    remember(store, url, expected)
    if item.to:
        _place(file.open("rb"), out / tool.fill(item.to), executable=item.to.startswith("bin/"))
    else:
        unpack(file, {tool.fill(member): tool.fill(path) for member, path in item.unpack.items()}, out)
    signature = f"not verified ({tool.fill(item.signature_url)})" if item.signature_url else "none published"
    return Evidence(url, expected, checked, signature)


def published(text: str, name: str, where: str) -> str:
    """Find a file's hash in a publisher's checksum file.

    Args:
        text: `<hash>` alone, lines `<hash>  <file>` (also with `*` or a folder before the name), or BSD's
            `SHA256 (<file>) = <hash>`.
        name: of the file.
        where: for the error.

    Raises:
        IntegrityError: when the file is not listed.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for line in lines:
        found = _SHA256.search(line)
        rest = [word.lstrip("*").strip("()") for word in line.split()]
        if found and any(Path(word).name == name for word in rest):
            return found[0].lower()
    if len(lines) == 1 and re.fullmatch(_SHA256, lines[0]):
        return lines[0].lower()
    raise IntegrityError(
        f"no sha256 of {name} in the publisher's checksum file", where=where, fix="check the version"
    )


def remember(store: Store, url: str, sha256: str) -> None:
    """Remember the hash of a release file: from now on another one at the same address is refused.

    Raises:
        IntegrityError: when another hash was seen before.
    """
    file = store.root / "seen.json"
    with store.lock(".seen"):
        seen: dict[str, str] = json.loads(file.read_text("utf-8")) if file.exists() else {}
        if seen.setdefault(url, sha256) != sha256:
            raise IntegrityError(
                f"{url} had sha256 {seen[url]} before, now it has {sha256}",
                where=str(file),
                fix="a release file must never change: ask the publisher, then remove the line or keep away",
            )
        write_atomically(file, json.dumps(seen, indent=1, sort_keys=True))


def _download(store: Store, url: str, expected: str, checked: str, log: TextIO) -> Path:
    """Return the verified file; a part of it that is there already is not fetched again."""
    name = f"{hashlib.sha256(url.encode()).hexdigest()[:20]}-{Path(urlparse(url).path).name}"
    file, part = store.downloads / name, store.downloads / f"{name}.part"
    if not file.exists():
        _retry(url, lambda: _save(url, part))
        log.write(f"downloaded {url}: {part.stat().st_size} bytes\n")
        part.rename(file)
    if (found := hash_file(file)) != expected:
        # The next attempt starts anew: nothing of a wrong file is worth keeping.
        file.unlink()
        raise IntegrityError(
            f"{url} has sha256 {found}, expected {expected} ({checked})",
            where=str(file),
            fix="try again; if it stays, the release or the way to it was tampered with: do not use it",
        )
    return file


class _Again(Exception):
    """This attempt did not work; another one may."""


def _retry(url: str, once: Callable[[], T]) -> T:
    """Try until it works.

    Raises:
        ToolError: when it does not work within six attempts.
    """
    problem: object = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        if process.stopping.is_set():
            raise process.Stopped
        try:
            return once()
        except (_Again, requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError) as error:
            problem = error
    raise ToolError(
        f"no download after {ATTEMPTS} attempts: {problem}",
        where=url,
        fix="run the command again: it goes on where it stopped; or use --source build",
    )


def _request(url: str, start: int = 0) -> requests.Response:
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    response = requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT)
    if response.status_code in _AGAIN:
        raise _Again(f"the server answers {response.status_code}")
    if not response.ok and response.status_code != requests.codes.requested_range_not_satisfiable:
        raise ToolError(
            f"the server answers {response.status_code} {response.reason}",
            where=url,
            fix="check the version in the catalogue, or use --source build",
        )
    return response


def _text(url: str) -> str:
    with _request(url) as response:
        return response.text


def _save(url: str, part: Path) -> None:
    """Fetch into `part`, from where it ends when the server can do that."""
    have = part.stat().st_size if part.exists() else 0
    with _request(url, have) as response:
        place = response.headers.get("Content-Range", "")
        if (
            response.status_code == requests.codes.requested_range_not_satisfiable
            and place == f"bytes */{have}"
        ):
            return  # all of it was there already
        resumed = place.startswith(f"bytes {have}-")
        if response.status_code == requests.codes.requested_range_not_satisfiable or (
            response.status_code == requests.codes.partial_content and not resumed
        ):
            # The server's file is another one now.
            part.unlink()
            raise _Again("the server refuses the rest of the file")
        with part.open("ab" if resumed else "wb") as stream:
            # Not iter_content: it throws away the begun chunk when the connection breaks.
            while chunk := response.raw.read1(_CHUNK):
                stream.write(chunk)
                if process.stopping.is_set():
                    raise process.Stopped


def unpack(archive: Path, members: dict[str, str], out: Path) -> None:
    """Take members out of a tar or zip archive.

    Args:
        archive: the file.
        members: member -> path in `out`; both end with a slash when the member is a folder.
        out: folder of the artifact.

    Raises:
        ToolError: when it is no archive, or a member is missing or is neither file nor folder.
    """
    found: set[str] = set()
    with contextlib.closing(_members(archive)) as items:
        for name, executable, stream in items:
            for member, path in members.items():
                if member.endswith("/") and name.startswith(member):
                    target = out / path / name.removeprefix(member)
                elif name == member:
                    target = out / path
                else:
                    continue
                if not target.resolve().is_relative_to(out.resolve()):
                    raise ToolError(f"member {name!r} would leave the artifact's folder", where=str(archive))
                _place(stream(), target, executable=executable or path.startswith("bin/"))
                found.add(member)
    if missing := set(members) - found:
        raise ToolError(
            f"not in the archive: {', '.join(sorted(missing))}", where=str(archive), fix="correct `unpack`"
        )


def _members(archive: Path) -> Generator[tuple[str, bool, Callable[[], IO[bytes]]]]:
    """Yield name, executable bit and opener of each regular file."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            for item in zipped.infolist():
                if not item.is_dir():
                    mode = item.external_attr >> 16
                    yield (
                        item.filename.removeprefix("./"),
                        bool(mode & 0o111),
                        lambda item=item: zipped.open(item),
                    )
        return
    try:
        with tarfile.open(archive) as tarred:
            for item in tarred:
                if item.isreg():
                    yield (
                        item.name.removeprefix("./"),
                        bool(item.mode & 0o111),
                        lambda item=item: _regular(tarred, item),
                    )
    except tarfile.TarError as error:
        raise ToolError(f"not a readable tar or zip archive: {error}", where=str(archive)) from None


def _regular(tarred: tarfile.TarFile, item: tarfile.TarInfo) -> IO[bytes]:
    stream = tarred.extractfile(item)
    assert stream is not None  # noqa: S101 - only regular files come here
    return stream


def _place(source: IO[bytes], target: Path, *, executable: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with source, target.open("wb") as stream:
        shutil.copyfileobj(source, stream)
    target.chmod(0o755 if executable else 0o644)
