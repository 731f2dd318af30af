"""Pulls an image from an upstream registry into an OCI layout, checked by digest blob for blob."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any, TextIO

import requests

from infra import paths
from infra.errors import IntegrityError, ToolError
from lab.toolchain import process
from lab.toolchain.fetch import remember
from lab.toolchain.model import OfficialImage
from lab.toolchain.sources import registry
from lab.toolchain.store import Store

_LISTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_PLATFORM = {"os": "linux", "architecture": "amd64"}
_CHUNK = 1 << 20
_TIMEOUT = (10, 60)


def pull(image: OfficialImage, out: Path, log: TextIO, *, scheme: str = "https") -> None:
    """Pull the linux/amd64 image and write an OCI layout.

    Args:
        image: upstream name with tag and, once seen, the digest that the tag must have.
        out: empty folder for the layout.
        log: receives what is fetched.
        scheme: of the registry.

    Raises:
        IntegrityError: when the tag has another digest than the pinned or the one seen before, or a blob
            another digest than its manifest says.
        ToolError: when the registry refuses.
    """
    session = _Session(image.ref, out, log, scheme)
    digest, media, text = session.manifest(session.tag)
    if image.digest and image.digest != digest:
        raise IntegrityError(
            f"{image.ref} has digest {digest}, pinned is {image.digest}",
            where=image.ref,
            fix="a release tag must never move: ask the publisher before changing the pinned digest",
        )
    remember(Store(paths.cache()), f"image:{image.ref}", digest.removeprefix("sha256:"))
    if media in _LISTS:
        found = [item for item in json.loads(text)["manifests"] if _fits(item.get("platform", {}))]
        if not found:
            raise ToolError(f"no image for {_PLATFORM['os']}/{_PLATFORM['architecture']}", where=image.ref)
        digest, media, text = session.manifest(found[0]["digest"])
    session.blob(digest, text)
    manifest = json.loads(text)
    for item in (manifest["config"], *manifest["layers"]):
        session.download(item["digest"])
    descriptor = {
        "mediaType": media,
        "digest": digest,
        "size": len(text),
        "annotations": {"org.opencontainers.image.ref.name": image.ref},
    }
    index = {"schemaVersion": 2, "mediaType": _LISTS[0], "manifests": [descriptor]}
    (out / "index.json").write_text(json.dumps(index), "utf-8")
    (out / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}', "utf-8")


def _fits(platform: dict[str, Any]) -> bool:
    return all(platform.get(key) == value for key, value in _PLATFORM.items())


class _Session:
    """Anonymous reading of one repository."""

    def __init__(self, ref: str, out: Path, log: TextIO, scheme: str) -> None:
        _, _, rest = ref.partition("/")
        repository, _, self.tag = rest.rpartition(":")
        self.base = f"{scheme}://{registry(ref)}/v2/{repository}"
        self.out, self.log = out, log
        self.http = requests.Session()
        (out / "blobs" / "sha256").mkdir(parents=True)

    def manifest(self, reference: str) -> tuple[str, str, bytes]:
        """Return digest, media type and text of a manifest."""
        with self._get(f"manifests/{reference}", ", ".join(_LISTS + _MANIFESTS)) as response:
            text = response.content
            media = response.headers.get("Content-Type", "").partition(";")[0]
        digest = f"sha256:{hashlib.sha256(text).hexdigest()}"
        if reference.startswith("sha256:") and reference != digest:
            raise IntegrityError(f"the manifest {reference} has digest {digest}", where=self.base)
        return digest, media, text

    def blob(self, digest: str, text: bytes) -> None:
        """Write a blob that is in memory."""
        self._path(digest).write_bytes(text)

    def download(self, digest: str) -> None:
        """Fetch a blob."""
        hashed = hashlib.sha256()
        with self._get(f"blobs/{digest}", "*/*") as response, self._path(digest).open("wb") as stream:
            for chunk in response.iter_content(_CHUNK):
                if process.stopping.is_set():
                    raise process.Stopped
                hashed.update(chunk)
                stream.write(chunk)
        if digest != (found := f"sha256:{hashed.hexdigest()}"):
            raise IntegrityError(f"the blob {digest} has digest {found}", where=self.base, fix="try again")

    def _path(self, digest: str) -> Path:
        algorithm, _, value = digest.partition(":")
        if algorithm != "sha256" or not re.fullmatch(r"[0-9a-f]{64}", value):
            raise IntegrityError(f"digest {digest!r} is not a sha256", where=self.base)
        return self.out / "blobs" / "sha256" / value

    def _get(self, path: str, accept: str) -> requests.Response:
        url = f"{self.base}/{path}"
        self.log.write(f"GET {url}\n")
        try:
            response = self._once(url, accept)
            if response.status_code == requests.codes.unauthorized:
                self._authorize(response.headers.get("WWW-Authenticate", ""))
                response = self._once(url, accept)
        except requests.RequestException as error:
            raise ToolError(f"the registry does not answer: {error}", where=url, fix="try again") from None
        if not response.ok:
            raise ToolError(f"the registry answers {response.status_code} {response.reason}", where=url)
        return response

    def _once(self, url: str, accept: str) -> requests.Response:
        return self.http.get(url, headers={"Accept": accept}, stream=True, timeout=_TIMEOUT)

    def _authorize(self, challenge: str) -> None:
        """Get the anonymous token that public registries ask for."""
        fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        if "realm" not in fields:
            raise ToolError(f"the registry wants a login: {challenge!r}", where=self.base)
        query = {key: value for key, value in fields.items() if key in ("service", "scope")}
        answer = self.http.get(fields["realm"], params=query, timeout=_TIMEOUT).json()
        self.http.headers["Authorization"] = f"Bearer {answer.get('token') or answer.get('access_token')}"
