"""Pushes OCI image layouts to a registry over HTTPS (OCI distribution specification 1.1).

A site's registry serves the images of many upstream registries: the image `HOST/REPOSITORY:TAG` is stored
as repository `HOST/REPOSITORY`, where containerd's `hosts.toml` with `override_path` looks for it.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urljoin

import requests
from requests.adapters import HTTPAdapter

from infra.errors import IntegrityError, ToolError
from lab.toolchain.oci import INDEX

PARALLEL = 4
TIMEOUT = (10.0, 300.0)
"""Seconds to connect, and without a byte from the other side."""

INDEXES = (INDEX, "application/vnd.docker.distribution.manifest.list.v2+json")
CHUNK = 1 << 20


@dataclass(frozen=True)
class Pushed:
    """What a push did."""

    ref: str
    digest: str
    uploaded: int  # bytes; what the registry had already is not in it


def upstream(ref: str) -> tuple[str, str]:
    """Split an upstream image name into the repository in the site's registry and the tag.

    Args:
        ref: `HOST/REPOSITORY:TAG`.

    Raises:
        ToolError: when the host or the tag is missing: short names mean different registries to tools.
    """
    name, colon, tag = ref.rpartition(":")
    host, slash, rest = name.partition("/")
    if not colon or not slash or not rest or "/" in tag or not ("." in host or ":" in host):
        raise ToolError(
            f"{ref!r} is not a full image name",
            where="image ref",
            fix="write HOST/REPOSITORY:TAG, as in docker.io/library/debian:12",
        )
    return name, tag


def push(
    layout: Path, registry: str, repository: str, tag: str, *, ca: Path, auth: tuple[str, str] | None = None
) -> Pushed:
    """Push the image of a layout.

    Args:
        layout: OCI image layout.
        registry: host and port.
        repository: repository name in the registry.
        tag: tag to set.
        ca: certificate authority of the registry, PEM.
        auth: user name and password.

    Raises:
        ToolError: when the registry cannot be reached, refuses or breaks off.
        IntegrityError: when a blob of the layout is damaged or the registry stored something else.
    """
    with _session(ca, auth) as session:
        return _Push(session, registry).image(layout, repository, tag)


def push_all(
    images: Mapping[str, Path],
    registry: str,
    *,
    ca: Path,
    auth: tuple[str, str] | None = None,
    progress: Callable[[Pushed, int, int], None] = lambda _pushed, _done, _total: None,
) -> list[Pushed]:
    """Push images side by side; a blob that several share is sent once.

    Args:
        images: layout by upstream name (`HOST/REPOSITORY:TAG`).
        registry: host and port.
        ca: certificate authority of the registry, PEM.
        auth: user name and password.
        progress: called after each image with how many of how many are done.

    Returns:
        What was pushed, in the order of `images`.

    Raises:
        ToolError: as `push`, or when a name is not a full one; images that were not begun are left out.
        IntegrityError: as `push`.
    """
    targets = {ref: upstream(ref) for ref in images}
    done: dict[str, Pushed] = {}
    with _session(ca, auth) as session, ThreadPoolExecutor(PARALLEL) as pool:
        pushing = _Push(session, registry)
        futures = {pool.submit(pushing.image, images[ref], *targets[ref]): ref for ref in images}
        try:
            for future in as_completed(futures):
                pushed = done[futures[future]] = future.result()
                progress(pushed, len(done), len(images))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [done[ref] for ref in images]


def _session(ca: Path, auth: tuple[str, str] | None) -> requests.Session:
    session = requests.Session()
    session.trust_env = False  # no proxy for the site's own registry, and no other authority than `ca`
    session.verify = str(ca)
    session.auth = auth
    session.mount("https://", HTTPAdapter(pool_maxsize=PARALLEL))
    return session


class _Push:
    """Images pushed to one registry in one go; remembers where each blob is."""

    def __init__(self, session: requests.Session, registry: str) -> None:
        self.session, self.registry = session, registry
        self.guard = threading.Lock()
        self.locks: dict[str, threading.Lock] = {}
        self.homes: dict[str, str] = {}  # digest -> a repository that has it

    def image(self, layout: Path, repository: str, tag: str) -> Pushed:
        """Push blobs, then manifests, then the tag: a tag never names an image that is not complete."""
        index = json.loads((layout / "index.json").read_text("utf-8"))
        if len(index["manifests"]) != 1:
            raise ToolError(
                f"the layout holds {len(index['manifests'])} images, not one",
                where=str(layout / "index.json"),
                fix="build or pull the image again",
            )
        descriptor = index["manifests"][0]
        uploaded = self._content(layout, repository, descriptor, tag)
        return Pushed(f"{repository}:{tag}", descriptor["digest"], uploaded)

    def _content(self, layout: Path, repository: str, descriptor: dict[str, Any], name: str) -> int:
        """Push a manifest or index with all that it names, and return the bytes sent for blobs."""
        data = _file(layout, descriptor).read_bytes()
        if f"sha256:{hashlib.sha256(data).hexdigest()}" != descriptor["digest"]:
            raise _damaged(layout, descriptor["digest"])
        content = json.loads(data)
        if descriptor["mediaType"] in INDEXES:
            sent = sum(
                self._content(layout, repository, below, below["digest"]) for below in content["manifests"]
            )
        else:
            sent = sum(
                self._blob(layout, repository, below) for below in (content["config"], *content["layers"])
            )
        response = self._send(
            "PUT",
            self._url(repository, f"manifests/{name}"),
            (201,),
            data=data,
            headers={"Content-Type": descriptor["mediaType"]},
        )
        self._confirm(response, descriptor["digest"])
        return sent

    def _blob(self, layout: Path, repository: str, descriptor: dict[str, Any]) -> int:
        digest = descriptor["digest"]
        with self.guard:
            lock = self.locks.setdefault(digest, threading.Lock())
        with lock:  # the second image with the same base waits, then mounts instead of sending
            if self._send("HEAD", self._url(repository, f"blobs/{digest}"), (200, 404)).status_code == 200:
                self.homes[digest] = repository
                return 0
            home = self.homes.get(digest)
            mount = {"mount": digest, "from": home} if home else None
            begun = self._send("POST", self._url(repository, "blobs/uploads/"), (201, 202), params=mount)
            if begun.status_code == 201:
                return 0
            with _file(layout, descriptor).open("rb") as file:
                body = _Hashing(file, int(descriptor["size"]))
                response = self._send(
                    "PUT",
                    urljoin(begun.url, begun.headers["Location"]),
                    (201, 400),
                    params={"digest": digest},
                    data=body,
                    headers={"Content-Type": "application/octet-stream"},
                )
            if body.digest != digest:
                raise _damaged(layout, digest)
            self._expect(response, (201,))
            self._confirm(response, digest)
            self.homes[digest] = repository
            return int(descriptor["size"])

    def _url(self, repository: str, path: str) -> str:
        return f"https://{self.registry}/v2/{repository}/{path}"

    def _send(self, method: str, url: str, expected: tuple[int, ...], **options: Any) -> requests.Response:  # noqa: ANN401 - as requests
        try:
            response = self.session.request(method, url, timeout=TIMEOUT, **options)
        except requests.exceptions.SSLError as error:
            raise ToolError(
                f"the certificate of registry {self.registry} is not trusted: {error}",
                where=self.registry,
                fix="check that the certificate is from the given authority and names this address",
            ) from None
        except requests.exceptions.RequestException as error:
            raise ToolError(
                f"registry {self.registry} does not answer or broke off: {error}",
                where=f"{method} {_place(url)}",
                fix="look at the registry's log and free disk, then push again; nothing is sent twice",
            ) from None
        self._expect(response, expected)
        return response

    def _expect(self, response: requests.Response, expected: tuple[int, ...]) -> None:
        if response.status_code not in expected:
            raise ToolError(
                f"registry {self.registry} answered {response.status_code}: {response.text[:300].strip()}",
                where=f"{response.request.method} {_place(response.url)}",
                fix="check the address, the credentials and the registry's log",
            )

    def _confirm(self, response: requests.Response, digest: str) -> None:
        stored = response.headers.get("Docker-Content-Digest", digest)
        if stored != digest:
            raise IntegrityError(
                f"registry {self.registry} stored {stored} for {digest}",
                where=_place(response.url),
                fix="check the registry's storage",
            )


class _Hashing:
    """A file that requests reads as a body, hashed on the way.

    It has a length, so that requests announces it: an iterator without one would be sent in chunks.
    """

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.file, self.size, self.hash = file, size, hashlib.sha256()

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[bytes]:
        while data := self.file.read(CHUNK):
            self.hash.update(data)
            yield data

    @property
    def digest(self) -> str:
        """Digest of what was read so far."""
        return f"sha256:{self.hash.hexdigest()}"


def _file(layout: Path, descriptor: dict[str, Any]) -> Path:
    """Return a blob's file; one of another size would leave the registry waiting for the rest."""
    file = layout / "blobs" / descriptor["digest"].replace(":", "/")
    if not file.is_file() or file.stat().st_size != descriptor["size"]:
        raise _damaged(layout, descriptor["digest"])
    return file


def _damaged(layout: Path, digest: str) -> IntegrityError:
    return IntegrityError(
        f"blob {digest} of the image is missing or damaged",
        where=str(layout),
        fix="remove this artifact from the cache and build or pull it again",
    )


def _place(url: str) -> str:
    """Return an address without its query, where upload tokens are."""
    return url.partition("?")[0]
