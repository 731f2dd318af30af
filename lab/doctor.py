"""Checks the host before the lab touches anything: facts are probed at the edge, judged by a pure function."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from infra import paths

#: Kernel devices that the lab cannot do without, and what follows when one is missing.
NEEDED_DEVICES = {
    "bridge": "segments cannot be made",
    "veth": "machines cannot be connected",
    "macvlan": "the routers' virtual addresses (VRRP) and the clients of the outside cannot be made",
}
#: Devices that production may use and the lab replaces.
OPTIONAL_DEVICES = {
    "vlan": "the lab maps VLANs to separate interfaces",
    "vrf": "the lab maps routing domains to network namespaces",
    "vxlan": "no overlay between sites in the lab",
}
INOTIFY = 8192
NOFILE = 20_000
MEMORY_GIB = 6.0
#: GiB that a lab takes by itself, and with everything to be built before it.
DISK_GIB, DISK_COLD_GIB = 8.0, 25.0
PODMAN = (4, 3)


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    NOTE = "note"  # works, something differs from production
    FIXABLE = "fixable"  # the lab mends it itself
    MISSING = "missing"  # the lab cannot run


@dataclass(frozen=True)
class Finding:
    """One check of the host."""

    check: str
    level: Level
    found: str
    follows: str = ""
    fix: str = ""


@dataclass(frozen=True)
class Host:
    """Facts of the host, as probed."""

    root: bool
    podman: tuple[int, ...] | None
    runc: bool
    nofile: int
    inotify: int
    memory_gib: float
    disk_gib: float
    built: bool  # every tool and image is in the cache
    ipv6: bool
    nftables: bool
    overlay: bool
    net_admin: bool
    cgroup: str  # "v2", "v1", "none"
    devices: dict[str, bool] = field(hash=False)


def probe() -> Host:
    """Look at this machine. Creates and removes one network namespace; changes nothing else."""
    namespace = f"tinh-doctor-{os.getpid()}"
    made = _quiet("ip", "netns", "add", namespace)
    devices = {}
    try:
        for kind in [*NEEDED_DEVICES, *OPTIONAL_DEVICES]:
            devices[kind] = made and _device(namespace, kind)
        nft = made and _quiet("ip", "netns", "exec", namespace, "nft", "add", "table", "inet", "tinh_doctor")
    finally:
        if made:
            _quiet("ip", "netns", "del", namespace)
    memory = re.search(r"MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text())
    filesystems = Path("/proc/filesystems").read_text()
    return Host(
        root=os.geteuid() == 0,
        podman=_podman(),
        runc=shutil.which("runc") is not None,
        nofile=_nofile(),
        inotify=int(Path("/proc/sys/fs/inotify/max_user_instances").read_text()),
        memory_gib=int(memory.group(1)) / 2**20 if memory else 0.0,
        disk_gib=shutil.disk_usage(paths.cache()).free / 2**30,
        built=_built(),
        ipv6=Path("/proc/net/if_inet6").exists(),
        nftables=nft,
        overlay="overlay" in filesystems,
        net_admin=made,
        cgroup=_cgroup(),
        devices=devices,
    )


def judge(host: Host) -> list[Finding]:
    """Say for each fact whether the lab can run with it, what follows, and what to do. Pure."""
    disk = DISK_GIB if host.built else DISK_COLD_GIB
    found = [
        _need("root", host.root, "yes" if host.root else "no", "system containers need root", "run as root"),
        _need(
            "podman",
            host.podman is not None and host.podman >= PODMAN,
            ".".join(map(str, host.podman)) if host.podman else "not installed",
            "no machines",
            "run `make host`; podman 4.3 or newer is needed",
        ),
        _need("runc", host.runc, str(host.runc), "crun refuses hosts with hybrid cgroups", "run `make host`"),
        _need("network namespaces", host.net_admin, str(host.net_admin), "no segments", "CAP_NET_ADMIN is needed"),
        _need("IPv6", host.ipv6, str(host.ipv6), "both families or neither", "enable IPv6 in the kernel"),
        _need("nftables", host.nftables, str(host.nftables), "no policies, no services", "kernel with nf_tables"),
        _need("overlay", host.overlay, str(host.overlay), "no container images", "kernel with overlayfs"),
        _need(
            "cgroups",
            host.cgroup != "none",
            host.cgroup,
            "systemd and the kubelet cannot group processes",
            "mount cgroup v2 (or v1) with the memory, cpu and pids controllers",
        ),
        _need("open files", host.nofile >= NOFILE, str(host.nofile), "etcd and Envoy run out", f"ulimit -n {NOFILE}"),
        _need(
            "memory", host.memory_gib >= MEMORY_GIB, f"{host.memory_gib:.1f} GiB available",
            f"under {MEMORY_GIB:.0f} GiB platforms are killed", "free memory, or use the sim",
        ),
        _need(
            "disk", host.disk_gib >= disk, f"{host.disk_gib:.0f} GiB free",
            f"a lab{'' if host.built else ' with everything to be built'} needs up to {disk:.0f} GiB",
            "`tinh toolchain prune`, or set TINH_CACHE",
        ),
        Finding(
            "inotify instances",
            Level.OK if host.inotify >= INOTIFY else Level.FIXABLE,
            str(host.inotify),
            "" if host.inotify >= INOTIFY else "systemd and kubelets would fail to watch files",
            "" if host.inotify >= INOTIFY else f"`tinh lab up` sets fs.inotify.max_user_instances={INOTIFY}",
        ),
    ]  # fmt: skip
    for kind, follows in NEEDED_DEVICES.items():
        have = host.devices.get(kind, False)
        found.append(_need(f"kernel: {kind}", have, str(have), follows, f"kernel with the {kind} device"))
    for kind, follows in OPTIONAL_DEVICES.items():
        if not host.devices.get(kind, False):
            found.append(Finding(f"kernel: {kind}", Level.NOTE, "False", follows))
    return found


def missing(findings: list[Finding]) -> list[Finding]:
    """Return what keeps the lab from running."""
    return [f for f in findings if f.level is Level.MISSING]


def mend(findings: list[Finding]) -> list[str]:
    """Mend what the lab can mend itself; return what was done. The settings last until the next boot."""
    done = []
    if any(f.check == "inotify instances" and f.level is Level.FIXABLE for f in findings):
        Path("/proc/sys/fs/inotify/max_user_instances").write_text(str(INOTIFY))
        done.append(f"fs.inotify.max_user_instances = {INOTIFY}")
    return done


def _need(check: str, good: bool, found: str, follows: str, fix: str) -> Finding:
    if good:
        return Finding(check, Level.OK, found)
    return Finding(check, Level.MISSING, found, follows, fix)


def _built() -> bool:
    """Tell whether nothing is left to be built; unchecked, since only the need of disk follows."""
    from lab.toolchain.engine import engine

    found = engine()
    return all(found.folders(name) for name in found.catalogue.select("platforms"))


def _quiet(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False


def _device(namespace: str, kind: str) -> bool:
    more = {
        "macvlan": ("link", "lo", "mode", "bridge"),
        "vlan": ("link", "lo", "id", "7"),
        "vrf": ("table", "7"),
        "vxlan": ("id", "7", "dstport", "0"),
    }
    before = more.get(kind, ())
    link = before[:2] if before[:1] == ("link",) else ()
    rest = before[2:] if link else before
    if kind == "macvlan":  # not on loopback: put it on a bridge of its own
        _quiet("ip", "-n", namespace, "link", "add", "br-d", "type", "bridge")
        link = ("link", "br-d")
    return _quiet("ip", "-n", namespace, "link", "add", *link, "name", f"d-{kind}"[:15], "type", kind, *rest)


def _podman() -> tuple[int, ...] | None:
    try:
        text = subprocess.run(["podman", "--version"], capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return None
    match = re.search(r"(\d+)\.(\d+)\.(\d+)", text)
    return tuple(map(int, match.groups())) if match else None


def _nofile() -> int:
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def _cgroup() -> str:
    mounts = Path("/proc/mounts").read_text()
    if re.search(r"^\S+ /sys/fs/cgroup cgroup2 ", mounts, re.M):
        return "v2"
    controllers = {name for line in re.findall(r" cgroup ([^ ]*) ", mounts) for name in line.split(",")}
    return "v1" if {"memory", "cpu", "pids"} <= controllers else "none"
