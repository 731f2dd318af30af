"""OCI image layouts (kind `image`) composed in pure Python; only `run` executes anything, in a chroot.

Layer 1 is the root file system of `base` (one blob for all images on it), layer 2 the files, layer 3 what
`run` changed. Times, owners, order and compression are fixed, so the same inputs give the same digest.
Format: OCI image specification 1.1 (image-layout, layer, config).
"""

from __future__ import annotations

import datetime
import hashlib
import io
import json
import os
import platform
import shlex
import shutil
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, TextIO

from infra import paths
from infra.errors import HostError, ToolError
from lab.toolchain.debian import EPOCH
from lab.toolchain.model import ImageBuild, Tool
from lab.toolchain.process import run

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
# zstd would be smaller, but containerd 1.6 and older registries' tools are surest with gzip
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"

CAPABILITIES = {"cap_net_bind_service": 10}
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
VOLATILE = ("dev", "proc", "run", "sys", "tmp")
"""Top folders whose changes by `run` commands are not part of an image."""

CHUNK = 1 << 20

Opener = Callable[[], IO[bytes]]


@dataclass(frozen=True)
class Entry:
    """One member of a layer."""

    path: str  # absolute in the image
    mode: int
    kind: bytes = tarfile.REGTYPE
    target: str = ""  # of a symbolic link
    size: int = 0
    open: Opener = io.BytesIO


@dataclass(frozen=True)
class Blob:
    """A blob in a layout; `diff_id` is the digest of the uncompressed layer."""

    digest: str
    size: int
    diff_id: str = ""

    def descriptor(self, media_type: str) -> dict[str, Any]:
        """Return the OCI content descriptor."""
        return {"mediaType": media_type, "digest": self.digest, "size": self.size}


@dataclass(frozen=True)
class Base:
    """The first layer: its blob in the cache, and the folders and links that later layers must respect."""

    blob: Blob
    file: Path
    folders: frozenset[str] = field(default_factory=frozenset)
    links: Mapping[str, str] = field(default_factory=dict)


def build(tool: Tool, needs: Mapping[str, Path], out: Path, log: TextIO) -> None:
    """Compose the image of a tool as an OCI image layout.

    Args:
        tool: an entry whose build is an `ImageBuild`.
        needs: artifact folders of the tools whose files it takes.
        out: folder of the layout.
        log: progress and output of `run` commands.

    Raises:
        ToolError: when a file is not in an artifact, would replace a link of the base, or a command fails.
        HostError: when `run` commands are needed and the caller is not root.
    """
    spec = tool.build
    assert isinstance(spec, ImageBuild)  # noqa: S101 - the engine dispatches by kind
    blobs = out / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    layers: list[Blob] = []
    base = None
    if spec.base:
        tar = _inside(needs, spec.base, "rootfs.tar", tool.name)
        log.write(f"layer: {spec.base}\n")
        base = base_layer(tar)
        _link(base.file, blobs / base.blob.digest.removeprefix("sha256:"))
        layers.append(base.blob)
    entries = list(plan(tool.name, spec, needs, base))
    if entries:
        log.write(f"layer: {len(entries)} files\n")
        layers.append(write_files(blobs, entries, spec.owner, spec.capabilities))
    if spec.run:
        layers.append(_run_layer(spec, blobs, layers, log))
    manifest = _write_json(blobs, _manifest(blobs, tool, spec, layers))
    descriptor = manifest.descriptor(MANIFEST) | {
        "platform": {"architecture": architecture(), "os": "linux"},
        "annotations": {"org.opencontainers.image.ref.name": spec.ref},
    }
    (out / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}', "utf-8")
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor]}
    (out / "index.json").write_text(_json(index), "utf-8")
    log.write(f"{spec.ref} {manifest.digest}\n")


def architecture() -> str:
    """Return this machine's architecture in OCI (Go) terms.

    Raises:
        HostError: when it is not one that the toolchain builds for.
    """
    machine = platform.machine()
    if machine not in ARCHITECTURES:
        raise HostError(
            f"no images for the architecture {machine!r}",
            where="uname -m",
            fix=f"use one of: {', '.join(ARCHITECTURES)}",
        )
    return ARCHITECTURES[machine]


def plan(name: str, spec: ImageBuild, needs: Mapping[str, Path], base: Base | None) -> Iterator[Entry]:
    """Yield the members of the files layer in order: missing parent folders first, then each path sorted.

    Args:
        name: of the image tool, for messages.
        spec: files and archives of the image.
        needs: artifact folders by tool.
        base: the layer below, or None.

    Raises:
        ToolError: when a source is missing, or a path goes through a symbolic link of the base.
    """
    found: dict[str, Entry] = {}
    for path, source in spec.files.items():
        for entry in _from_source(name, path, source, needs):
            found[entry.path] = entry
    for folder, source in spec.unzip.items():
        tool, _, member = source.partition(":")
        for entry in _from_zip(folder, _inside(needs, tool, member, name)):
            found[entry.path] = entry
    folders = set(base.folders if base else ())
    for path in sorted(found):
        for parent in reversed([str(parent) for parent in PurePosixPath(path).parents][:-1]):
            if base and parent in base.links:
                raise ToolError(
                    f"{path} would go through the link {parent} -> {base.links[parent]} of the base",
                    where=f"tool {name}, files",
                    fix="name the path behind the link",
                )
            if parent not in folders and parent not in found:
                yield Entry(parent, 0o755, tarfile.DIRTYPE)
            folders.add(parent)
        yield found[path]


def _from_source(name: str, path: str, source: str, needs: Mapping[str, Path]) -> Iterator[Entry]:
    scheme, _, rest = source.partition(":")
    if scheme == "text":
        data = rest.encode()
        mode = 0o755 if rest.startswith("#!") else 0o644
        yield Entry(path, mode, size=len(data), open=partial(io.BytesIO, data))
    elif scheme == "dir":
        yield Entry(path, int(rest or "755", 8), tarfile.DIRTYPE)
    elif scheme == "link":
        yield Entry(path, 0o777, tarfile.SYMTYPE, target=rest)
    else:
        yield from _from_disk(path, _inside(needs, scheme, rest, name))


def _from_disk(path: str, source: Path) -> Iterator[Entry]:
    """Yield a file, or a folder with everything below it; only a link at the top is followed."""
    real = source.resolve()
    yield _entry(path, real)
    if real.is_dir():
        for below in sorted(real.rglob("*")):
            yield _entry(f"{path.rstrip('/')}/{below.relative_to(real).as_posix()}", below)


def _entry(path: str, file: Path) -> Entry:
    if file.is_symlink():
        return Entry(path, 0o777, tarfile.SYMTYPE, target=str(file.readlink()))
    if file.is_dir():
        return Entry(path, 0o755, tarfile.DIRTYPE)
    info = file.stat()
    return Entry(
        path, 0o755 if info.st_mode & 0o111 else 0o644, size=info.st_size, open=partial(file.open, "rb")
    )


def _from_zip(folder: str, file: Path) -> Iterator[Entry]:
    """Yield the members of a zip below a folder, without the zip's own top folder."""
    archive = zipfile.ZipFile(file)
    for info in archive.infolist():
        below = info.filename.partition("/")[2].rstrip("/")
        if not below:
            continue
        path = f"{folder.rstrip('/')}/{below}"
        if info.is_dir():
            yield Entry(path, 0o755, tarfile.DIRTYPE)
        else:
            mode = 0o755 if (info.external_attr >> 16) & 0o111 else 0o644
            yield Entry(path, mode, size=info.file_size, open=partial(archive.open, info))


def _inside(needs: Mapping[str, Path], tool: str, path: str, name: str) -> Path:
    """Return a path in a tool's artifact."""
    if tool not in needs or not (needs[tool] / path).exists():
        raise ToolError(
            f"image {name} takes {path!r} of tool {tool!r}, which "
            + ("has no such file" if tool in needs else "is not among its needs"),
            where=str(needs.get(tool, f"tool {name}")),
            fix="correct `files`, `unzip`, `base` or `needs` of the image",
        )
    return needs[tool] / path


class _Writer(io.RawIOBase):
    """Compresses into a file of a folder and counts both digests on the way."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.target = tempfile.NamedTemporaryFile(dir=folder, prefix=".part-", delete=False)  # noqa: SIM115 - closed below
        self.raw, self.packed, self.size = hashlib.sha256(), hashlib.sha256(), 0
        self.deflate = zlib.compressobj(1, zlib.DEFLATED, 31)  # 31: gzip container, its time field stays 0

    def write(self, data: Any, /) -> int:  # noqa: ANN401 - any buffer, as the base class
        self.raw.update(data)
        self._put(self.deflate.compress(data))
        return len(data)

    def finish(self, name: str = "") -> Blob:
        """Put the file in place under a name (default: its digest)."""
        self._put(self.deflate.flush())
        self.target.close()
        part = Path(self.target.name)
        part.chmod(0o644)
        part.replace(self.folder / (name or self.packed.hexdigest()))
        return Blob(f"sha256:{self.packed.hexdigest()}", self.size, f"sha256:{self.raw.hexdigest()}")

    def close(self) -> None:
        self.target.close()
        Path(self.target.name).unlink(missing_ok=True)
        super().close()

    def _put(self, data: bytes) -> None:
        self.packed.update(data)
        self.size += len(data)
        self.target.write(data)


def _write_layer(blobs: Path, members: Iterable[tuple[tarfile.TarInfo, Opener]]) -> Blob:
    with _Writer(blobs) as writer:
        with tarfile.open(fileobj=writer, mode="w|", format=tarfile.PAX_FORMAT, bufsize=CHUNK) as tar:
            for info, opener in members:
                with opener() as data:
                    tar.addfile(info, data)
        return writer.finish()


def write_files(
    blobs: Path, entries: Iterable[Entry], owner: Mapping[str, str], capabilities: Mapping[str, str]
) -> Blob:
    """Write a layer from entries.

    Args:
        blobs: folder `blobs/sha256` of the layout.
        entries: members in order.
        owner: path prefix -> `uid:gid`; the longest prefix wins, root owns the rest.
        capabilities: path -> name of the capability of a program.
    """

    def member(entry: Entry) -> tuple[tarfile.TarInfo, Opener]:
        info = tarfile.TarInfo(entry.path.lstrip("/"))
        info.type, info.mode, info.size, info.linkname = entry.kind, entry.mode, entry.size, entry.target
        info.mtime = EPOCH
        info.uid, info.gid = owner_of(entry.path, owner) or (0, 0)
        if entry.path in capabilities:
            number = CAPABILITIES[capabilities[entry.path]]
            # struct vfs_cap_data, revision 2: effective flag, permitted and inheritable sets of 2 x 32 bits
            attribute = struct.pack("<5I", 0x02000001, 1 << number, 0, 0, 0)
            info.pax_headers = {"SCHILY.xattr.security.capability": attribute.decode("ascii")}
        return info, entry.open

    return _write_layer(blobs, map(member, entries))


def owner_of(path: str, owner: Mapping[str, str]) -> tuple[int, int] | None:
    """Return (uid, gid) of the longest prefix of a path, None when there is none."""
    prefixes = [prefix for prefix in owner if PurePosixPath(path).is_relative_to(prefix)]
    if not prefixes:
        return None
    uid, gid = owner[max(prefixes, key=len)].split(":")
    return int(uid), int(gid)


def base_layer(tar: Path) -> Base:
    """Return a root file system's tar as a layer; compressed once and kept in the cache by its digest.

    Args:
        tar: uncompressed tar of a root file system.
    """
    with tar.open("rb") as file:
        diff_id = hashlib.file_digest(file, "sha256").hexdigest()
    cache = paths.cache() / "layers"
    cache.mkdir(parents=True, exist_ok=True)
    packed, facts = cache / f"{diff_id}.tar.gz", cache / f"{diff_id}.json"
    if not facts.exists() or not packed.exists():
        with _Writer(cache) as writer, tar.open("rb") as file:
            while data := file.read(CHUNK):
                writer.write(data)
            blob = writer.finish(packed.name)
        with tarfile.open(tar) as archive:
            members = [(f"/{member.name.removeprefix('./')}", member) for member in archive]
        text = json.dumps(
            {
                "digest": blob.digest,
                "size": blob.size,
                "folders": [path for path, member in members if member.isdir()],
                "links": {path: member.linkname for path, member in members if member.issym()},
            }
        )
        part = facts.with_suffix(f".{os.getpid()}.part")
        part.write_text(text, "utf-8")
        part.replace(facts)
    known = json.loads(facts.read_text("utf-8"))
    blob = Blob(known["digest"], known["size"], f"sha256:{diff_id}")
    return Base(blob, packed, frozenset(known["folders"]), known["links"])


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # another file system
        shutil.copyfile(source, target)


def _run_layer(spec: ImageBuild, blobs: Path, layers: list[Blob], log: TextIO) -> Blob:
    """Run the commands in a chroot of the layers, network off, and return what they changed as a layer."""
    if os.geteuid() != 0:
        raise HostError(
            f"composing {spec.ref} runs commands in a chroot, which only root may do",
            where="`run` of the image",
            fix="run as root, or take the official image where the network allows",
        )
    scratch = paths.cache() / "tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch, prefix="root-") as temporary:
        root = Path(temporary)
        root.chmod(0o755)
        for layer in layers:
            blob = blobs / layer.digest.removeprefix("sha256:")
            unpack = ["tar", "-C", root, "--numeric-owner", "--xattrs", "--xattrs-include=*", "-xzpf", blob]
            run(unpack, log=log)
        before = snapshot(root)
        for command in spec.run:
            run(_chroot(root, spec, command), log=log)
        return _write_layer(blobs, _changes(root, before, snapshot(root), spec.owner))


def _chroot(root: Path, spec: ImageBuild, command: str) -> list[str | Path]:
    isolated = ["unshare", "--net", "--mount", "--pid", "--fork", f"--mount-proc={root}/proc", "chroot", root]
    variables = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        **spec.env,
    }
    assignments = [f"{name}={value}" for name, value in variables.items()]
    return [
        *isolated,
        "/usr/bin/env",
        "-i",
        *assignments,
        "/bin/sh",
        "-ec",
        f"cd {shlex.quote(spec.workdir)}; {command}",
    ]


def snapshot(root: Path) -> dict[str, tuple[object, ...]]:
    """Return what tells a changed file from an unchanged one, by path; volatile folders are left out."""
    seen: dict[str, tuple[object, ...]] = {}
    for folder, names, files in os.walk(root):
        below = Path(folder).relative_to(root)
        if folder == str(root):
            names[:] = [name for name in names if name not in VOLATILE]
        for name in (*names, *files):
            info = Path(folder, name).lstat()
            fact: tuple[object, ...] = (info.st_mode, info.st_uid, info.st_gid)
            if stat.S_ISREG(info.st_mode):  # the content, not the time: many tools write the same file again
                with Path(folder, name).open("rb") as file:
                    fact += (hashlib.file_digest(file, "sha256").digest(),)
            elif stat.S_ISLNK(info.st_mode):
                fact += (str(Path(folder, name).readlink()),)
            seen[(below / name).as_posix()] = fact
    return seen


Facts = Mapping[str, tuple[object, ...]]


def _changes(
    root: Path, before: Facts, after: Facts, owner: Mapping[str, str]
) -> Iterator[tuple[tarfile.TarInfo, Opener]]:
    """Yield what differs between two snapshots: changed members, and whiteouts for those that are gone."""
    # the archive only serves to describe members: it knows hard links among them
    with tarfile.open(fileobj=io.BytesIO(), mode="w") as tar:
        for path in sorted(before.keys() | after.keys()):
            member = PurePosixPath(path)
            if path not in after:
                if member.parent == PurePosixPath() or str(member.parent) in after:
                    info = tarfile.TarInfo(str(member.with_name(f".wh.{member.name}")))
                    info.mtime = EPOCH
                    yield info, io.BytesIO
            elif after[path] != before.get(path):
                info = tar.gettarinfo(root / path, arcname=path)
                info.uname = info.gname = ""
                info.mtime = EPOCH
                info.uid, info.gid = owner_of(f"/{path}", owner) or (info.uid, info.gid)
                yield info, partial((root / path).open, "rb") if info.isreg() else io.BytesIO


def _manifest(blobs: Path, tool: Tool, spec: ImageBuild, layers: list[Blob]) -> dict[str, Any]:
    """Write the image configuration and return the manifest that names it and the layers."""
    settings: dict[str, Any] = {
        "User": spec.user,
        "Env": [f"{name}={value}" for name, value in sorted(spec.env.items())],
        "Entrypoint": spec.entrypoint,
        "Cmd": spec.cmd,
        "WorkingDir": spec.workdir,
    }
    config = {
        "created": datetime.datetime.fromtimestamp(EPOCH, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "architecture": architecture(),
        "os": "linux",
        "config": {name: value for name, value in settings.items() if value},
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
    }
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _write_json(blobs, config).descriptor(CONFIG),
        "layers": [layer.descriptor(LAYER) for layer in layers],
        "annotations": {
            "org.opencontainers.image.title": tool.name,
            "org.opencontainers.image.version": tool.version,
            "org.opencontainers.image.ref.name": spec.ref,
        },
    }


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _write_json(blobs: Path, value: object) -> Blob:
    data = _json(value).encode()
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    return Blob(f"sha256:{digest}", len(data))
