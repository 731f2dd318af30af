"""Official releases from a server on loopback: right, tampered, truncated, resumed, cut off."""

import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest

from infra.errors import IntegrityError, ToolError
from lab.toolchain import fetch as module
from lab.toolchain import process
from lab.toolchain.fetch import fetch, published, unpack
from lab.toolchain.model import Tool
from lab.toolchain.store import Store
from tests.unit.toolchain.catalogues import local
from tests.unit.toolchain.server import serving

NAME = "tool-1.0.tgz"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def archive(**members: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, text in members.items():
            item = tarfile.TarInfo(name.replace("__", "/"))
            item.size, item.mode = len(text), 0o755
            tar.addfile(item, io.BytesIO(text.encode()))
    return stream.getvalue()


RIGHT = archive(tool__tool="program " * 1000, tool__LICENSE="text")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TINH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "PAUSE", 0)
    process.stopping.clear()


@pytest.fixture
def server():
    with serving() as running:
        running.files = {f"/{NAME}": RIGHT, f"/{NAME}.sha256": sha256(RIGHT).encode()}
        yield running


@pytest.fixture
def out(tmp_path: Path) -> Path:
    path = tmp_path / "out"
    path.mkdir()
    return path


def tool(server, **download) -> Tool:
    item = {
        "url": f"{server.url}/tool-{{version}}.tgz",
        "checksum_url": f"{server.url}/tool-{{version}}.tgz.sha256",
        "unpack": {"tool/tool": "bin/tool"},
    } | download
    return Tool.model_validate(local("tool", official={"downloads": [item]}))


def get(server, out, **download):
    return fetch(tool(server, **download), out, io.StringIO())


def downloads(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in Store(tmp_path / "cache").downloads.iterdir())


def test_right_archive(server, out: Path):
    (evidence,) = get(server, out, signature_url="https://example.test/{version}.sig")
    assert (out / "bin" / "tool").read_text().startswith("program")
    assert (out / "bin" / "tool").stat().st_mode & 0o111
    assert not (out / "tool").exists()
    assert evidence.sha256 == sha256(RIGHT)
    assert evidence.checksum == f"publisher's {server.url}/{NAME}.sha256"
    assert evidence.signature == "not verified (https://example.test/1.0.sig)"


def test_plain_file(server, out: Path):
    (evidence,) = get(server, out, unpack={}, to="bin/tool")
    assert (out / "bin" / "tool").read_bytes() == RIGHT
    assert evidence.signature == "none published"


def test_tampered_archive_is_refused_with_both_hashes_and_not_kept(server, out: Path, tmp_path: Path):
    bad = archive(tool__tool="evil")
    server.files[f"/{NAME}"] = bad
    with pytest.raises(IntegrityError) as caught:
        get(server, out)
    assert sha256(bad) in caught.value.what
    assert sha256(RIGHT) in caught.value.what
    assert list(out.iterdir()) == []
    assert downloads(tmp_path) == []


def test_truncated_archive_is_refused(server, out: Path):
    server.files[f"/{NAME}"] = RIGHT[:-20]
    with pytest.raises(IntegrityError, match=sha256(RIGHT[:-20])):
        get(server, out)


def test_pinned_hash_wins_over_the_published_one(server, out: Path):
    server.files[f"/{NAME}.sha256"] = b"0" * 64
    (evidence,) = get(server, out, sha256=sha256(RIGHT))
    assert evidence.checksum == "pinned hash"
    with pytest.raises(IntegrityError, match="pinned hash"):
        get(server, out, sha256="1" * 64)


def test_a_cut_connection_is_resumed_where_it_broke(server, out: Path):
    server.die_after = {f"/{NAME}": [100, 50]}
    get(server, out)
    ranges = [wanted for path, wanted in server.asked if path == f"/{NAME}"]
    assert ranges == [None, "bytes=100-", "bytes=150-"]
    assert (out / "bin" / "tool").exists()


def test_a_server_without_ranges_sends_all_again(server, out: Path):
    server.ranges = False
    server.die_after = {f"/{NAME}": [100]}
    get(server, out)
    assert (out / "bin" / "tool").exists()


def test_the_next_run_resumes_what_a_dead_one_left(server, out: Path, tmp_path: Path):
    server.die_after = {f"/{NAME}": [10] * module.ATTEMPTS}
    with pytest.raises(ToolError, match="no download after 6 attempts") as caught:
        get(server, out)
    assert "goes on where it stopped" in caught.value.fix
    (part,) = downloads(tmp_path)
    assert part.endswith(".part")
    get(server, out)
    assert server.asked[-1] == (f"/{NAME}", "bytes=60-")


def test_a_part_that_does_not_fit_is_thrown_away(server, out: Path, tmp_path: Path):
    server.die_after = {f"/{NAME}": [10] * module.ATTEMPTS}
    with pytest.raises(ToolError):
        get(server, out)
    (part,) = Store(tmp_path / "cache").downloads.iterdir()
    part.write_bytes(b"x" * (len(RIGHT) + 5))
    get(server, out)
    assert (out / "bin" / "tool").exists()


def test_a_complete_part_is_not_fetched_again(server, out: Path, tmp_path: Path):
    get(server, out)
    (file,) = Store(tmp_path / "cache").downloads.iterdir()
    file.rename(f"{file}.part")  # as after a kill between the last byte and the rename
    server.asked.clear()
    get(server, out)
    assert server.asked[1:] == [(f"/{NAME}", f"bytes={len(RIGHT)}-")]
    assert downloads(tmp_path) == [file.name]


def test_a_busy_server_is_asked_again_and_a_refusal_is_not(server, out: Path):
    server.status = {f"/{NAME}": [503, 429]}
    get(server, out)
    server.asked.clear()
    with pytest.raises(ToolError, match="404") as caught:
        get(server, out, url=f"{server.url}/none-{{version}}.tgz", sha256=sha256(RIGHT))
    assert caught.value.where == f"{server.url}/none-1.0.tgz"
    assert len(server.asked) == 1


def test_a_verified_download_is_fetched_once(server, out: Path):
    get(server, out)
    get(server, out)
    assert [path for path, _ in server.asked].count(f"/{NAME}") == 1


def test_a_release_that_changes_with_its_checksum_is_refused(server, out: Path, tmp_path: Path):
    get(server, out)
    (file,) = Store(tmp_path / "cache").downloads.iterdir()
    file.unlink()
    new = archive(tool__tool="republished")
    server.files = {f"/{NAME}": new, f"/{NAME}.sha256": sha256(new).encode()}
    with pytest.raises(IntegrityError, match="before, now it has") as caught:
        get(server, out)
    assert sha256(RIGHT) in caught.value.what
    assert sha256(new) in caught.value.what
    assert json.loads((tmp_path / "cache" / "seen.json").read_text()) == {
        f"{server.url}/{NAME}": sha256(RIGHT)
    }


@pytest.mark.parametrize(
    "text",
    [
        "{hash}",
        "{hash}\n",
        "{HASH}\n",
        "{other}  other.tgz\n{hash}  tool-1.0.tgz\n",
        "{hash} *tool-1.0.tgz\n",
        "{other}  x/tool-1.0.tgz.asc\n{hash}  ./release/tool-1.0.tgz\n",
        "SHA256 (tool-1.0.tgz) = {hash}\nSHA256 (tool-1.0.zip) = {other}\n",
        "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{hash}  tool-1.0.tgz\n-----BEGIN PGP",
    ],
)
def test_published_checksum_formats(text):
    good = sha256(b"good")
    filled = text.format(hash=good, HASH=good.upper(), other=sha256(b"other"))
    assert published(filled, NAME, "here") == good


@pytest.mark.parametrize(
    "text",
    ["", "<html>not found</html>", f"{'a' * 64}  other.tgz\n", f"{'a' * 64}\n{'b' * 64}\n", f"{'a' * 63}"],
)
def test_a_checksum_file_without_the_file_is_refused(text):
    with pytest.raises(IntegrityError, match=r"no sha256 of tool-1\.0\.tgz"):
        published(text, NAME, "here")


def test_unpack_zip_folder_and_dot_names(tmp_path: Path, out: Path):
    file = tmp_path / "a.zip"
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr("top/one/a", "1")
        zipped.writestr("top/b", "2")
        zipped.writestr("else/c", "3")
    unpack(file, {"top/": "share/"}, out)
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()) == [
        "share/b",
        "share/one/a",
    ]
    tar = tmp_path / "a.tgz"
    tar.write_bytes(archive(**{".__bridge": "x"}))
    unpack(tar, {"bridge": "bin/bridge"}, out)
    assert (out / "bin" / "bridge").read_text() == "x"


def test_unpack_refuses_missing_members_escapes_and_no_archive(tmp_path: Path, out: Path):
    file = tmp_path / "a.tgz"
    file.write_bytes(archive(tool="x", **{"top__..__..__..__evil": "x"}))
    with pytest.raises(ToolError, match="not in the archive: gone"):
        unpack(file, {"tool": "tool", "gone": "gone"}, out)
    with pytest.raises(ToolError, match="would leave the artifact's folder"):
        unpack(file, {"top/": "share/"}, out)
    assert not (tmp_path / "evil").exists()
    file.write_bytes(b"no archive at all")
    with pytest.raises(ToolError, match="not a readable tar or zip"):
        unpack(file, {"tool": "tool"}, out)
