import gzip
import hashlib
import io
import json
import os
import stat
import tarfile
import time
import zipfile
from pathlib import PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import HostError, ToolError
from lab.toolchain import oci
from lab.toolchain.model import ImageBuild, Tool


def image(**build):
    return Tool(
        name="image-thing",
        version="1.2",
        kind="image",
        why="test",
        stage="lab",
        build=ImageBuild(kind="image", ref="registry.example/thing:v1.2", **build),
    )


def compose(tool, needs, out):
    out.mkdir(parents=True)
    oci.build(tool, needs, out, io.StringIO())
    return out


def read(layout):
    """Return (index descriptor, manifest, config) and check every digest and size on the way."""

    def blob(descriptor):
        data = (layout / "blobs" / descriptor["digest"].replace(":", "/")).read_bytes()
        assert len(data) == descriptor["size"]
        assert f"sha256:{hashlib.sha256(data).hexdigest()}" == descriptor["digest"]
        return data

    assert json.loads((layout / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    (descriptor,) = json.loads((layout / "index.json").read_text())["manifests"]
    manifest = json.loads(blob(descriptor))
    for layer in manifest["layers"]:
        blob(layer)
    return descriptor, manifest, json.loads(blob(manifest["config"]))


def members(layout, number=-1):
    layer = read(layout)[1]["layers"][number]
    with tarfile.open(layout / "blobs" / layer["digest"].replace(":", "/"), "r:gz") as tar:
        return {
            member.name: (member, tar.extractfile(member).read() if member.isreg() else b"") for member in tar
        }


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TINH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def needs(tmp_path):
    folder = tmp_path / "tool"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "thing").write_bytes(b"\x7fELF program")
    (folder / "bin" / "thing").chmod(0o755)
    (folder / "conf").mkdir()
    (folder / "conf" / "b.conf").write_text("b")
    (folder / "conf" / "a.conf").write_text("a")
    (folder / "conf" / "link").symlink_to("a.conf")
    return {"tool": folder}


def test_the_layout_says_what_the_entry_says(tmp_path, needs):
    tool = image(
        files={"/bin/thing": "tool:bin/thing"},
        entrypoint=["/bin/thing"],
        cmd=["--help"],
        env={"B": "2", "A": "1"},
        user="65534:65534",
    )
    descriptor, manifest, config = read(compose(tool, needs, tmp_path / "out"))
    assert descriptor["annotations"]["org.opencontainers.image.ref.name"] == "registry.example/thing:v1.2"
    assert manifest["annotations"] == {
        "org.opencontainers.image.title": "image-thing",
        "org.opencontainers.image.version": "1.2",
        "org.opencontainers.image.ref.name": "registry.example/thing:v1.2",
    }
    assert config["config"] == {
        "User": "65534:65534",
        "Env": ["A=1", "B=2"],
        "Entrypoint": ["/bin/thing"],
        "Cmd": ["--help"],
        "WorkingDir": "/",
    }
    assert config["os"] == "linux"
    assert [layer["mediaType"] for layer in manifest["layers"]] == [oci.LAYER]


def test_diff_ids_are_digests_of_the_uncompressed_layers(tmp_path, needs):
    layout = compose(image(files={"/x": "text:hello"}), needs, tmp_path / "out")
    _, manifest, config = read(layout)
    data = gzip.decompress(
        (layout / "blobs" / manifest["layers"][0]["digest"].replace(":", "/")).read_bytes()
    )
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(data).hexdigest()}"]


def test_sources_of_files(tmp_path, needs):
    tool = image(
        files={
            "/usr/bin/thing": "tool:bin/thing",
            "/etc/conf": "tool:conf",
            "/etc/motd": "text:hello: world",
            "/run.sh": "text:#!/bin/sh\n",
            "/tmp": "dir:1777",
            "/data": "dir:",
            "/thing": "link:usr/bin/thing",
        },
        owner={"/etc": "1:1", "/etc/conf": "26:27"},
    )
    found = members(compose(tool, needs, tmp_path / "out"))
    assert found["usr/bin/thing"][1] == b"\x7fELF program"
    assert found["usr/bin/thing"][0].mode == 0o755
    assert found["etc/conf/a.conf"][0].mode == 0o644
    assert (found["etc/conf/link"][0].type, found["etc/conf/link"][0].linkname) == (tarfile.SYMTYPE, "a.conf")
    assert found["etc/motd"][1] == b"hello: world"
    assert found["run.sh"][0].mode == 0o755
    assert (found["tmp"][0].mode, found["data"][0].mode) == (0o1777, 0o755)
    assert found["thing"][0].linkname == "usr/bin/thing"
    assert (found["etc/motd"][0].uid, found["etc/motd"][0].gid) == (1, 1)
    assert (found["etc/conf/b.conf"][0].uid, found["etc/conf/b.conf"][0].gid) == (26, 27)
    assert (found["usr"][0].uid, found["usr"][0].type) == (0, tarfile.DIRTYPE)
    names = list(found)
    assert all(
        names.index(str(PurePosixPath(name).parent)) < names.index(name) for name in names if "/" in name
    )


def test_a_zip_loses_its_top_folder_and_keeps_programs_executable(tmp_path, needs):
    with zipfile.ZipFile(needs["tool"] / "app.zip", "w") as archive:
        program = zipfile.ZipInfo("app-1/bin/run.sh")
        program.external_attr = 0o100755 << 16
        archive.writestr(program, "#!/bin/sh\n")
        archive.writestr("app-1/lib/a.jar", "jar")
    found = members(compose(image(unzip={"/opt/app": "tool:app.zip"}), needs, tmp_path / "out"))
    assert found["opt/app/bin/run.sh"][0].mode == 0o755
    assert found["opt/app/lib/a.jar"][1] == b"jar"
    assert not any("app-1" in name for name in found)


def test_a_capability_is_written_as_the_kernel_reads_it(tmp_path, needs):
    tool = image(files={"/thing": "tool:bin/thing"}, capabilities={"/thing": "cap_net_bind_service"})
    found = members(compose(tool, needs, tmp_path / "out"))
    attribute = found["thing"][0].pax_headers["SCHILY.xattr.security.capability"].encode()
    assert attribute == bytes.fromhex("0100000200040000000000000000000000000000")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"/x": "tool:bin/other"}, "has no such file"),
        ({"/x": "unknown:bin/thing"}, "not among its needs"),
        ({"/x": "nothing"}, "not among its needs"),
    ],
)
def test_a_missing_source_is_named(tmp_path, needs, files, message):
    with pytest.raises(ToolError, match=message):
        compose(image(files=files), needs, tmp_path / "out")


@settings(max_examples=25)
@given(
    st.dictionaries(
        st.from_regex(r"(/[a-z]{1,3}){1,4}\.txt", fullmatch=True),
        st.text(st.characters(codec="utf-8")),
        max_size=6,
    ),
    st.randoms(),
)
def test_same_inputs_give_the_same_digest_in_any_order(tmp_path_factory, files, random):
    entries = list(files.items())
    digests = set()
    for _ in range(2):
        out = tmp_path_factory.mktemp("layout")
        spec = ImageBuild(
            kind="image", ref="r.example/x:1", files={path: f"text:{text}" for path, text in entries}
        )
        digests.add(oci.write_files(out, oci.plan("x", spec, {}, None), {}, {}).digest)
        random.shuffle(entries)
    assert len(digests) == 1


def test_times_and_owners_of_the_machine_do_not_matter(tmp_path, needs):
    tool = image(files={"/conf": "tool:conf", "/thing": "tool:bin/thing"})
    first = read(compose(tool, needs, tmp_path / "a"))[0]["digest"]
    for file in needs["tool"].rglob("*"):
        os.utime(file, (time.time() + 9, time.time() + 9), follow_symlinks=False)
    (needs["tool"] / "bin" / "thing").chmod(0o555)
    assert read(compose(tool, needs, tmp_path / "b"))[0]["digest"] == first
    (needs["tool"] / "conf" / "a.conf").write_text("other")
    assert read(compose(tool, needs, tmp_path / "c"))[0]["digest"] != first


@pytest.fixture
def base(tmp_path):
    folder = tmp_path / "rootfs"
    folder.mkdir()
    with tarfile.open(folder / "rootfs.tar", "w") as tar:
        for name in ("./", "./usr/", "./usr/bin/", "./tmp/"):
            info = tarfile.TarInfo(name.rstrip("/") or ".")
            info.type, info.mode = tarfile.DIRTYPE, 0o1777 if "tmp" in name else 0o755
            tar.addfile(info)
        link = tarfile.TarInfo("./bin")
        link.type, link.linkname = tarfile.SYMTYPE, "usr/bin"
        tar.addfile(link)
    return folder


def test_images_on_one_base_share_its_blob(tmp_path, needs, base):
    needs["rootfs"] = base
    one = compose(image(base="rootfs", files={"/a": "text:a"}), needs, tmp_path / "one")
    two = compose(image(base="rootfs", files={"/b": "text:b"}), needs, tmp_path / "two")
    layers = [read(layout)[1]["layers"][0] for layout in (one, two)]
    assert layers[0] == layers[1]
    blobs = [layout / "blobs" / layers[0]["digest"].replace(":", "/") for layout in (one, two)]
    assert blobs[0].samefile(blobs[1])


def test_folders_of_the_base_keep_their_modes(tmp_path, needs, base):
    needs["rootfs"] = base
    layout = compose(
        image(base="rootfs", files={"/tmp/x/y": "text:y", "/usr/bin/z": "text:z"}), needs, tmp_path / "o"
    )
    assert list(members(layout)) == ["tmp/x", "tmp/x/y", "usr/bin/z"]


def test_a_path_through_a_link_of_the_base_is_refused(tmp_path, needs, base):
    needs["rootfs"] = base
    with pytest.raises(ToolError, match=r"through the link /bin -> usr/bin"):
        compose(image(base="rootfs", files={"/bin/x": "text:x"}), needs, tmp_path / "out")


def test_a_damaged_cache_entry_is_made_again(tmp_path, needs, base):
    needs["rootfs"] = base
    tool = image(base="rootfs")
    compose(tool, needs, tmp_path / "one")
    next((tmp_path / "cache" / "layers").glob("*.json")).unlink()
    read(compose(tool, needs, tmp_path / "two"))


def test_run_needs_root(tmp_path, needs, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(HostError, match="only root"):
        compose(image(files={"/x": "text:x"}, run=["true"]), needs, tmp_path / "out")


def test_changes_are_a_layer_of_their_own(tmp_path, monkeypatch):
    """What `run` did: a changed, a new, a rewritten and a removed member, and a removed folder."""
    root, blobs = tmp_path / "root", tmp_path / "blobs"
    blobs.mkdir()
    for path in ("etc/changed", "etc/same", "etc/removed", "opt/gone/x", "tmp/scratch"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("before")
    before = oci.snapshot(root)
    (root / "etc/changed").write_text("after!")
    (root / "etc/same").unlink()
    (root / "etc/same").write_text("before")
    (root / "etc/removed").unlink()
    (root / "opt/gone/x").unlink()
    (root / "opt/gone").rmdir()
    (root / "srv").mkdir()
    (root / "srv/new").write_text("new")
    (root / "srv/new").chmod(0o4755)
    (root / "srv/link").symlink_to("new")
    (root / "tmp/more").write_text("not part of an image")
    blob = oci._write_layer(blobs, oci._changes(root, before, oci.snapshot(root), {"/srv": "7:8"}))
    with tarfile.open(blobs / blob.digest.removeprefix("sha256:"), "r:gz") as tar:
        found = {member.name: member for member in tar}
        assert tar.extractfile("etc/changed").read() == b"after!"
    assert sorted(found) == [
        "etc/.wh.removed",
        "etc/changed",
        "opt/.wh.gone",
        "srv",
        "srv/link",
        "srv/new",
    ]
    assert (found["srv/new"].uid, found["srv/new"].gid) == (7, 8)
    assert stat.S_IMODE(found["srv/new"].mode) == 0o4755
    assert {member.mtime for member in found.values()} == {oci.EPOCH}
    assert {member.uname for member in found.values()} == {""}


def test_an_unknown_architecture_is_refused(monkeypatch):
    monkeypatch.setattr(oci.platform, "machine", lambda: "s390x")
    with pytest.raises(HostError, match="s390x"):
        oci.architecture()
