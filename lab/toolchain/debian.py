"""Debian root file systems (kind `debian`), made by mmdebstrap from the machine's own Debian sources.

The artifact holds `rootfs.tar` (numeric owners, extended attributes such as file capabilities kept) and
`packages.txt` (`name=version` of each installed package, sorted).
"""

from __future__ import annotations

import re
import shlex
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from infra import paths
from infra.errors import HostError, ToolError
from lab.toolchain.model import DebianBuild, Tool
from lab.toolchain.process import run

SOURCES = Path("/etc/apt")

EPOCH = 1794700800
"""Upper bound of file times, 2026-11-15 UTC in seconds. Not older than the packages: Python compares the time
of a source with the one inside its .pyc and would compile again at every start."""

UNREPRODUCIBLE = (
    # made at installation, different each time, or naming the machine that built
    "/etc/apt/apt.conf.d/99mmdebstrap",
    "/etc/apt/sources.list",
    "/etc/apt/sources.list.d/*",
    "/etc/group-",
    "/etc/gshadow-",
    "/etc/hostname",
    "/etc/passwd-",
    "/etc/resolv.conf",
    "/etc/shadow-",
    "/etc/subgid-",
    "/etc/subuid-",
    "/var/cache/debconf/*-old",
    "/var/lib/dpkg/*-old",
    "/var/lib/systemd/catalog/database",
    "/var/log/*.log",
    "/var/log/apt/*",
)


def build(tool: Tool, needs: Mapping[str, Path], out: Path, log: TextIO) -> None:
    """Make the root file system of a tool.

    Args:
        tool: an entry whose build is a `DebianBuild`.
        needs: not used; every builder has this argument.
        out: folder of the artifact.
        log: progress of apt and dpkg.

    Raises:
        HostError: when mmdebstrap is missing or the machine has no Debian sources of the suite.
        ToolError: when mmdebstrap fails, with the end of its output.
    """
    spec = tool.build
    assert isinstance(spec, DebianBuild)  # noqa: S101 - the engine dispatches by kind
    debs = paths.cache() / "apt" / "archives"
    scratch = paths.cache() / "tmp"
    for folder in (debs, scratch):
        folder.mkdir(parents=True, exist_ok=True)
    target = out / "rootfs.tar"
    with tempfile.TemporaryDirectory(dir=scratch, prefix=f"{tool.name}-") as temporary:
        work = Path(temporary)
        work.chmod(0o755)  # apt's sandbox user reads below it
        sources, options = work / "debian.sources", work / "apt.conf"
        sources.write_text(machine_sources(spec.suite), "utf-8")
        options.touch(mode=0o600)  # a proxy may carry a password
        options.write_text(machine_options(), "utf-8")
        run(
            command(spec, sources, options, debs, target),
            log=log,
            env={"SOURCE_DATE_EPOCH": str(EPOCH), "TMPDIR": temporary},
        )
    (out / "packages.txt").write_text("".join(f"{line}\n" for line in packages(target)), "utf-8")


def command(spec: DebianBuild, sources: Path, options: Path, debs: Path, target: Path) -> list[str]:
    """Return the mmdebstrap command of a root file system.

    Args:
        spec: packages, hooks and paths to drop.
        sources: deb822 file with the archives to use.
        options: apt configuration to reach them.
        debs: folder where .deb files are kept between builds.
        target: the tar to write.
    """
    inside = "/var/cache/apt/archives"
    # quoted except for the wildcard, which the hook's shell expands below the root
    removals = ['"$1"' + shlex.quote(path).replace("*", "'*'") for path in (*UNREPRODUCIBLE, *spec.drop)]
    # extract mode never comes to the customize step
    hook = "--extract-hook" if spec.variant == "extract" else "--customize-hook"
    return [
        "mmdebstrap",
        f"--variant={spec.variant}",
        f"--aptopt={options}",
        '--aptopt=Acquire::Languages "none"',
        '--aptopt=APT::Install-Recommends "false"',
        "--skip=essential/unlink",
        f'--setup-hook=mkdir -p "$1"{inside}',
        f"--setup-hook=sync-in {shlex.quote(str(debs))} {inside}",
        *([f"--include={','.join(spec.packages)}"] if spec.packages else []),
        f"{hook}=sync-out {inside} {shlex.quote(str(debs))}",
        *(f"{hook}={line}" for line in spec.hooks),
        f"{hook}=rm -rf -- {' '.join(removals)}",
        spec.suite,
        str(target),
        str(sources),
    ]


def machine_sources(suite: str, root: Path = SOURCES) -> str:
    """Return those of the machine's apt sources that are Debian's own archives of a suite, in deb822 format.

    Third-party archives are left out: they are not needed, and one that does not answer would fail the build. A suite
    that the machine does not use itself is looked for where its own release comes from.

    Args:
        suite: for example `bookworm`; its `-updates` and `-security` archives belong to it.
        root: apt's configuration folder.

    Raises:
        HostError: when none is found.
    """
    archives = _archives(root, (suite, f"{suite}-updates", f"{suite}-security"))
    if not any(suite in archive["Suites"].split() for archive in archives):
        own = DebianBuild.model_fields["suite"].default
        archives = [archive | {"Suites": suite} for archive in _archives(root, (own,))]
    if not archives:
        raise HostError(
            f"this machine has no apt source for Debian {suite}",
            where=str(root),
            fix=f"add Debian's archive of {suite} (main) to the apt sources",
        )
    return "\n".join("".join(f"{name}: {value}\n" for name, value in archive.items()) for archive in archives)


def _archives(root: Path, wanted: Sequence[str]) -> list[dict[str, str]]:
    """Return Debian's own archives of some suites as deb822 fields."""
    archives = []
    for entry in _entries(root):
        suites = [name for name in entry["Suites"].split() if name in wanted]
        key = entry.get("Signed-By", "")
        if (
            "deb" in entry["Types"].split()
            and suites
            and "main" in entry["Components"].split()
            and ("debian-archive" in key or not key)
        ):
            kept = {"Types": "deb", "URIs": entry["URIs"], "Suites": " ".join(suites), "Components": "main"}
            archives.append(kept | {"Signed-By": key} if key else kept)
    return archives


def _entries(root: Path) -> Iterator[dict[str, str]]:
    """Yield the enabled entries of both formats of apt's sources as deb822 fields."""
    for file in sorted([root / "sources.list", *(root / "sources.list.d").glob("*.list")]):
        if file.exists():
            yield from filter(None, map(_one_line, file.read_text("utf-8").splitlines()))
    for file in sorted((root / "sources.list.d").glob("*.sources")):
        for stanza in re.split(r"\n\s*\n", file.read_text("utf-8")):
            fields = _fields(stanza)
            complete = {"Types", "URIs", "Suites", "Components"} <= fields.keys()
            if complete and fields.get("Enabled", "yes").lower() not in ("no", "false", "0"):
                yield fields


def _fields(stanza: str) -> dict[str, str]:
    """Parse one deb822 stanza; continuation lines join their field, comments are left out."""
    fields: dict[str, str] = {}
    name = ""
    for line in stanza.splitlines():
        if line.startswith("#"):
            continue
        if line[:1].isspace():
            fields[name] = f"{fields[name]} {line.strip()}" if name else ""
        elif ":" in line:
            name, _, value = line.partition(":")
            fields[name] = value.strip()
    return fields


def _one_line(line: str) -> dict[str, str] | None:
    """Parse `deb [options] URI suite components...`; None for anything else."""
    match = re.match(
        r"\s*deb\s+(?:\[(?P<options>[^]]*)]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<rest>[^#]+)", line
    )
    if not match:
        return None
    options = dict(option.split("=", 1) for option in (match["options"] or "").split() if "=" in option)
    entry = {
        "Types": "deb",
        "URIs": match["uri"],
        "Suites": match["suite"],
        "Components": match["rest"].strip(),
    }
    if "signed-by" in options:
        entry["Signed-By"] = options["signed-by"]
    return entry


def machine_options() -> str:
    """Return the machine's apt settings that say how archives are reached: proxies, TLS, dates.

    Raises:
        HostError: when apt is missing.
    """
    try:
        dump = subprocess.run(
            ["apt-config", "dump", "Acquire"], capture_output=True, text=True, check=True
        ).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        raise HostError(
            "`apt-config` does not work on this machine",
            where="PATH",
            fix="root file systems are made on Debian or Ubuntu; elsewhere use the official images",
        ) from None
    return "".join(f"{line}\n" for line in _reaching(dump.splitlines()))


def _reaching(dump: Iterable[str]) -> Iterator[str]:
    """Choose the lines of `apt-config dump` that matter for reaching archives; empty ones name a group."""
    pattern = re.compile(r'Acquire::(https?|Check-[A-Za-z-]+|ForceIPv[46]|Retries)\b.* ".+";$')
    return (line for line in dump if pattern.match(line))


def packages(rootfs: Path) -> list[str]:
    """Return the installed packages of a root file system's tar as sorted `name=version`.

    Raises:
        ToolError: when the tar has no dpkg database.
    """
    try:
        with tarfile.open(rootfs) as tar:
            database = tar.extractfile("./var/lib/dpkg/status")
            assert database is not None  # noqa: S101 - a regular file
            text = database.read().decode("utf-8")
    except (KeyError, tarfile.TarError) as error:
        raise ToolError(
            f"the root file system has no package database: {error}", where=str(rootfs), fix="build it again"
        ) from None
    stanzas = map(_fields, text.split("\n\n"))
    return sorted(
        f"{s['Package']}={s['Version']}" for s in stanzas if s.get("Status") == "install ok installed"
    )
