"""Pulling an upstream image from a registry on loopback."""

import hashlib
import io
import json
from pathlib import Path

import pytest

from infra.errors import IntegrityError, ToolError
from lab.toolchain import process
from lab.toolchain.model import OfficialImage
from lab.toolchain.pull import pull
from tests.unit.toolchain.server import serving

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TINH_CACHE", str(tmp_path / "cache"))
    process.stopping.clear()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    path = tmp_path / "out"
    path.mkdir()
    return path


class Registry:
    """Fills a server with one image."""

    def __init__(self, server, *, architecture="amd64"):
        self.server, self.layer, self.config = server, b"layer", b"{}"
        manifest = {
            "schemaVersion": 2,
            "config": {"digest": digest(self.config), "size": 2},
            "layers": [{"digest": digest(self.layer), "size": 5}],
        }
        self.manifest = json.dumps(manifest).encode()
        other = {"digest": digest(b"other"), "platform": {"os": "linux", "architecture": "arm64"}}
        mine = {"digest": digest(self.manifest), "platform": {"os": "linux", "architecture": architecture}}
        self.index = json.dumps({"schemaVersion": 2, "manifests": [other, mine]}).encode()
        self.put("manifests/1.0", self.index, INDEX)
        self.put(f"manifests/{digest(self.manifest)}", self.manifest, MANIFEST)
        self.put(f"blobs/{digest(self.layer)}", self.layer)
        self.put(f"blobs/{digest(self.config)}", self.config)
        self.ref = f"{server.url.removeprefix('http://')}/org/app:1.0"

    def put(self, path: str, data: bytes, media: str = "application/octet-stream"):
        self.server.files[f"/v2/org/app/{path}"] = data
        self.server.headers[f"/v2/org/app/{path}"] = {"Content-Type": media}


@pytest.fixture
def registry():
    with serving() as server:
        yield Registry(server)


def get(registry, out, pinned=None):
    pull(OfficialImage(ref=registry.ref, digest=pinned), out, io.StringIO(), scheme="http")


def test_layout_of_the_right_platform(registry, out: Path):
    get(registry, out, digest(registry.index))
    (item,) = json.loads((out / "index.json").read_text())["manifests"]
    assert item["digest"] == digest(registry.manifest)
    assert item["annotations"]["org.opencontainers.image.ref.name"] == registry.ref
    for data in (registry.manifest, registry.layer, registry.config):
        assert (out / "blobs" / "sha256" / digest(data)[7:]).read_bytes() == data
    assert json.loads((out / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}


def test_another_digest_than_pinned_is_refused_with_both(registry, out: Path):
    with pytest.raises(IntegrityError) as caught:
        get(registry, out, digest(b"else"))
    assert digest(registry.index) in caught.value.what
    assert digest(b"else") in caught.value.what


def test_a_tag_that_moved_is_refused(registry, out: Path, tmp_path: Path):
    get(registry, out)
    registry.put("manifests/1.0", registry.index + b" ", INDEX)
    (tmp_path / "again").mkdir()
    with pytest.raises(IntegrityError, match="before, now it has"):
        get(registry, tmp_path / "again")


@pytest.mark.parametrize("what", ["layer", "manifest"])
def test_tampered_content_is_refused(registry, out: Path, what):
    kind = "manifests" if what == "manifest" else "blobs"
    media = MANIFEST if what == "manifest" else "application/octet-stream"
    registry.put(f"{kind}/{digest(getattr(registry, what))}", b"evil", media)
    with pytest.raises(IntegrityError, match=digest(b"evil")):
        get(registry, out)


def test_no_image_for_the_platform(out: Path):
    with serving() as server, pytest.raises(ToolError, match="no image for linux/amd64"):
        get(Registry(server, architecture="s390x"), out)


def test_an_anonymous_token_is_fetched(registry, out: Path):
    server = registry.server
    server.status["/v2/org/app/manifests/1.0"] = [401]
    challenge = f'Bearer realm="{server.url}/token",service="reg",scope="repository:org/app:pull"'
    server.headers["/v2/org/app/manifests/1.0"]["WWW-Authenticate"] = challenge
    server.files["/token?service=reg&scope=repository%3Aorg%2Fapp%3Apull"] = b'{"token": "t"}'
    get(registry, out)
    assert (out / "index.json").exists()


def test_a_missing_tag_is_named(registry, out: Path):
    del registry.server.files["/v2/org/app/manifests/1.0"]
    with pytest.raises(ToolError, match="404") as caught:
        get(registry, out)
    assert caught.value.where.endswith("/v2/org/app/manifests/1.0")
