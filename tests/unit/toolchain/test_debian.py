import io
import shlex
import subprocess
import tarfile

import pytest

from infra.errors import HostError, ToolError
from lab.toolchain import debian
from lab.toolchain.model import DebianBuild

DEBIAN = """\
Types: deb deb-src
# a comment between fields
URIs: http://deb.example/debian
Suites: bookworm
 bookworm-updates bookworm-backports
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://deb.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""


@pytest.fixture
def apt(tmp_path):
    (tmp_path / "sources.list.d").mkdir()
    return tmp_path


def stanzas(text):
    return [debian._fields(stanza) for stanza in text.split("\n\n")]


def test_only_debians_own_archives_of_the_suite_are_kept(apt):
    (apt / "sources.list.d" / "debian.sources").write_text(DEBIAN)
    (apt / "sources.list.d" / "other.sources").write_text(
        "Types: deb\nURIs: https://third.example/debian\nSuites: bookworm\nComponents: stable\n\n"
        "Types: deb\nURIs: https://node.example\nSuites: nodistro\nComponents: main\n\n"
        "Types: deb\nURIs: https://fork.example/debian\nSuites: bookworm\nComponents: main\n"
        "Signed-By: /usr/share/keyrings/fork.gpg\n"
    )
    kept = stanzas(debian.machine_sources("bookworm", apt))
    assert [s["URIs"] for s in kept] == ["http://deb.example/debian", "http://deb.example/debian-security"]
    assert kept[0]["Suites"] == "bookworm bookworm-updates"
    assert {s["Components"] for s in kept} == {"main"}
    assert {s["Types"] for s in kept} == {"deb"}
    assert all(s["Signed-By"].endswith("debian-archive-keyring.gpg") for s in kept)


def test_another_suite_comes_from_where_the_machines_own_release_does(apt):
    (apt / "sources.list.d" / "debian.sources").write_text(DEBIAN)
    (kept,) = stanzas(debian.machine_sources("trixie", apt))
    assert (kept["URIs"], kept["Suites"]) == ("http://deb.example/debian", "trixie")


def test_one_line_entries_are_read(apt):
    (apt / "sources.list").write_text(
        "# deb http://off.example/debian bookworm main\n"
        "deb-src http://src.example/debian bookworm main\n"
        "deb [arch=amd64 signed-by=/k/debian-archive.gpg] http://1.example/debian bookworm main contrib # x\n"
        "deb http://two.example/debian-security bookworm-security main\n"
    )
    kept = stanzas(debian.machine_sources("bookworm", apt))
    assert [s["URIs"] for s in kept] == ["http://1.example/debian", "http://two.example/debian-security"]
    assert kept[0]["Signed-By"] == "/k/debian-archive.gpg"
    assert "Signed-By" not in kept[1]


@pytest.mark.parametrize(
    "text",
    [
        "",
        DEBIAN.replace("bookworm", "trixie"),
        DEBIAN.replace("Types: deb\n", "Types: deb\nEnabled: no\n").replace(
            "Types: deb deb-src", "Types: deb-src"
        ),
        DEBIAN.partition("\n\n")[2],  # security updates alone are no system
    ],
)
def test_a_machine_without_the_suite_is_told(apt, text):
    (apt / "sources.list.d" / "debian.sources").write_text(text)
    with pytest.raises(HostError, match="no apt source for Debian bookworm") as caught:
        debian.machine_sources("bookworm", apt)
    assert caught.value.fix


def test_options_for_reaching_archives_are_kept_and_others_not():
    dump = [
        'Acquire "";',
        'Acquire::http "";',
        'Acquire::http::Proxy "http://cache.example:3142";',
        'Acquire::https::Verify-Peer "true";',
        'Acquire::Check-Valid-Until "false";',
        'Acquire::Languages:: "en";',
        'Acquire::IndexTargets::deb::DEP-11-icons::ShortDescription "x";',
    ]
    assert list(debian._reaching(dump)) == dump[2:5]


def command(spec, tmp_path):
    return debian.command(spec, tmp_path / "s", tmp_path / "o", tmp_path / "debs", tmp_path / "rootfs.tar")


def test_hooks_run_before_what_is_dropped(tmp_path):
    argv = command(
        DebianBuild(kind="debian", packages=["a", "b"], hooks=["one", "two"], drop=["/usr/share/doc/*"]),
        tmp_path,
    )
    hooks = [word for word in argv if word.startswith("--customize-hook=")]
    assert hooks[1:3] == ["--customize-hook=one", "--customize-hook=two"]
    assert hooks[-1].startswith("--customize-hook=rm -rf -- ")
    assert "--include=a,b" in argv
    assert argv[-3:] == ["bookworm", str(tmp_path / "rootfs.tar"), str(tmp_path / "s")]


def test_paths_to_drop_are_quoted_and_wildcards_work(tmp_path):
    root = tmp_path / "root"
    for path in ("usr/share/doc/a/x", "usr/share/doc/b/y", "odd name/z", "kept/odd"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    argv = command(DebianBuild(kind="debian", packages=[], drop=["/usr/share/doc/*", "/odd name"]), tmp_path)
    script = argv[-4].removeprefix("--customize-hook=")
    subprocess.run(["sh", "-ec", script, "exec", str(root)], check=True)
    assert sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()) == [
        "kept/odd"
    ]
    assert (root / "usr/share/doc").is_dir()
    assert shlex.split(script)[:3] == ["rm", "-rf", "--"]


def test_extract_mode_uses_the_hooks_it_comes_to(tmp_path):
    argv = command(DebianBuild(kind="debian", variant="extract", packages=["a"], hooks=["one"]), tmp_path)
    assert "--variant=extract" in argv
    assert "--extract-hook=one" in argv
    assert not any(word.startswith("--customize-hook") for word in argv)


def rootfs(file, members):
    with tarfile.open(file, "w") as tar:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return file


def test_installed_packages_are_listed_sorted(tmp_path):
    status = (
        "Package: zlib1g\nStatus: install ok installed\nVersion: 1:1.2.13\nDescription: a\n b\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n"
        "Package: apt\nStatus: install ok installed\nVersion: 2.6.1\n"
    )
    file = rootfs(tmp_path / "rootfs.tar", {"./var/lib/dpkg/status": status})
    assert debian.packages(file) == ["apt=2.6.1", "zlib1g=1:1.2.13"]


def test_a_tar_that_is_no_debian_system_is_refused(tmp_path):
    with pytest.raises(ToolError, match="no package database"):
        debian.packages(rootfs(tmp_path / "rootfs.tar", {"./etc/hostname": "x"}))
