"""The only caller of podman. Objects that the lab did not create are never touched."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

from infra.errors import HostError, RefusedError, ToolError
from lab.topology import Container, Network

# crun refuses hosts with hybrid cgroups; runc runs everywhere.
RUNTIME = ("--runtime", "runc")


def run(*args: str, check: bool = True, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run podman and return the result.

    Raises:
        HostError: podman is not installed.
        ToolError: podman failed; its last words are in the message.
    """
    if not shutil.which("podman"):
        raise HostError("podman is not installed", fix="run `make host` (installs the OS packages)")
    result = subprocess.run(
        ["podman", *RUNTIME, *args], capture_output=True, text=True, timeout=timeout, check=False
    )
    if check and result.returncode != 0:
        raise ToolError(
            f"podman {args[0]} failed: {result.stderr.strip().splitlines()[-1:] or result.returncode}",
            where=f"podman {' '.join(args[:3])} ...",
            fix="look at the message; `tinh lab doctor` checks the host",
        )
    return result


def inspect(kind: str, name: str) -> dict[str, Any] | None:
    """Return podman's description of an object, or None when it does not exist."""
    result = run(kind, "inspect", name, check=False)
    return json.loads(result.stdout)[0] if result.returncode == 0 else None


def _labels(kind: str, data: dict[str, Any]) -> dict[str, str]:
    if kind == "container":
        return data["Config"].get("Labels") or {}
    return data.get("labels") or data.get("Labels") or {}


def own(kind: str, name: str, want: dict[str, str]) -> dict[str, Any] | None:
    """Return an object of ours, or None when there is none.

    Raises:
        RefusedError: an object of that name exists and is not ours (no labels, or another checkout's).
    """
    data = inspect(kind, name)
    if data is None:
        return None
    have = _labels(kind, data)
    wrong = {k: have.get(k) for k in want if have.get(k) != want[k]}
    if wrong:
        raise RefusedError(
            f"{kind} {name} exists and was not made by this lab ({wrong or 'no labels'})",
            where=f"podman {kind} {name}",
            fix="choose another name: export TINH_INSTANCE=<name>, or remove the object by hand",
        )
    return data


def listing(kind: str, instance: str) -> list[str]:
    """Return the names of all objects of one kind that carry the instance's label."""
    what = {"container": ["ps", "-a"], "network": ["network", "ls"], "volume": ["volume", "ls"]}[kind]
    result = run(*what, "--filter", f"label=tinh.instance={instance}", "--format", "json")
    items = json.loads(result.stdout or "[]")
    names = [i.get("Name") or i.get("name") or (i.get("Names") or [""])[0] for i in items]
    return sorted(names)


def pids(instance: str) -> dict[str, int]:
    """Return machine -> process id of its first process, for the instance's containers that run."""
    found = run("ps", "--filter", f"label=tinh.instance={instance}", "--format", "json")
    return {item["Labels"]["tinh.machine"]: item["Pid"] for item in json.loads(found.stdout or "[]")}


def prefixes_in_use() -> list[IPv4Network | IPv6Network]:
    """Return every prefix that podman manages or the host routes."""
    found = []
    for item in json.loads(run("network", "ls", "--format", "json").stdout or "[]"):
        found += [ip_network(subnet["subnet"], strict=False) for subnet in item.get("subnets") or []]
    for family in ("-4", "-6"):
        routes = subprocess.run(
            ["ip", "-j", family, "route", "show"], capture_output=True, text=True, check=False
        )
        for route in json.loads(routes.stdout or "[]"):
            dst = route.get("dst", "default")
            if dst not in ("default", "::/0") and not dst.startswith(("fe80", "ff00")):
                found.append(ip_network(dst, strict=False))
    return found


def create_network(network: Network, labels: dict[str, str]) -> bool:
    """Create a network when it is missing; return whether it was created.

    The network is internal: no way out of the machine, no masquerading, no address for the host
    (see `join_host`).
    """
    if own("network", network.name, labels):
        return False
    args = ["network", "create", "--internal", "--disable-dns", "--ipv6"]
    for text in network.prefix.pair():
        args += ["--subnet", text]
    for key, value in labels.items():
        args += ["--label", f"{key}={value}"]
    run(*args, network.name)
    return True


def join_host(network: Network) -> None:
    """Give the host the first address of a network: it is the lab's management station.

    Podman gives the host no address on internal networks, and makes the bridge with the first container.
    """
    data = inspect("network", network.name) or {}
    bridge = data.get("network_interface", "")
    for text, family, more in ((network.prefix.ipv6, "-6", ["nodad"]), (network.prefix.ipv4, "-4", [])):
        address = f"{text[1]}/{text.prefixlen}"
        command = ["ip", family, "address", "replace", address, "dev", bridge, *more]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise ToolError(
                f"the host could not take {address}: {result.stderr.strip()}",
                where=f"bridge {bridge} of network {network.name}",
                fix="`tinh lab status`; `tinh lab down` and `up` make the networks anew",
            )


def start_container(container: Container, image: str, mounts: list[tuple[Path, str]]) -> str:
    """Create or start a system container; return `created`, `started` or `running`.

    Args:
        container: its specification.
        image: image reference.
        mounts: (host path, path inside), read-only.

    Raises:
        RefusedError: a container of that name is not ours or was made from another specification.
    """
    owner = {k: v for k, v in container.labels.items() if k != "tinh.spec"}
    data = own("container", container.name, owner)
    if data:
        if _labels("container", data).get("tinh.spec") != container.labels["tinh.spec"]:
            raise RefusedError(
                f"{container.name} was made from another specification (image, addresses or volumes changed)",
                where=f"podman container {container.name}",
                fix="`tinh lab reset` makes the lab anew; what is in it will be lost",
            )
        if data["State"]["Running"]:
            return "running"
        run("start", container.name)
        return "started"
    args = [
        "run", "--detach", "--name", container.name, "--hostname", container.machine.name,
        # systemd, kubelet and FRR need the kernel's interfaces; the container stands for a machine, not a boundary
        "--privileged", "--cgroupns=private", "--pids-limit=0",
        # podman's own systemd mode binds the host's systemd hierarchy on cgroup v1, so that all machines would
        # share one tree of units and stop each other's; with a private namespace systemd needs only its tmpfs
        "--systemd=false", "--env", "container=podman", "--tmpfs", "/run/lock",
        # without CAP_SYS_RESOURCE a unit that asks for more than the container has fails to start
        "--ulimit", "nofile=20000:20000", "--ulimit", "nproc=8192:8192",
        "--tmpfs", "/tmp", "--tmpfs", "/run",  # noqa: S108 - inside the machine
        "--no-hosts", "--dns=none", "--stop-signal", "SIGRTMIN+3",
        "--stop-timeout", "20",
    ]  # fmt: skip
    for network, interface, ipv6, ipv4 in container.networks:
        args += ["--network", f"{network}:interface_name={interface},ip={ipv4},ip6={ipv6}"]
    for volume, path in container.volumes:
        args += ["--volume", f"{volume}:{path}"]
    for source, path in mounts:
        args += ["--volume", f"{source}:{path}:ro"]
    for key, value in container.labels.items():
        args += ["--label", f"{key}={value}"]
    for volume, _ in container.volumes:
        if not inspect("volume", volume):
            run("volume", "create", *(x for k, v in owner.items() for x in ("--label", f"{k}={v}")), volume)
    run(*args, image, "/sbin/init")
    return "created"


def remove_all(instance: str) -> dict[str, int]:
    """Remove every container, volume and network that carries the instance's label; return counts."""
    gone = {"containers": 0, "volumes": 0, "networks": 0}
    found = listing("container", instance)
    if found:
        run("rm", "--force", "--time", "5", *found)
        gone["containers"] = len(found)
    for kind in ("volume", "network"):
        for name in listing(kind, instance):
            run(kind, "rm", "--force", name)
            gone[f"{kind}s"] += 1
    return gone


def leftover_rules(listing: str) -> list[list[str]]:
    """Return the iptables arguments that remove what netavark leaves behind, from an `iptables -S` listing. Pure.

    Jumps first, then the chains are emptied, then removed: a chain in use cannot be removed.
    """
    jumps, flush, remove = [], [], []
    for line in listing.splitlines():
        words = shlex.split(line)
        if words[0] == "-N" and words[1].startswith("NETAVARK"):
            flush.append(["-F", words[1]])
            remove.append(["-X", words[1]])
        elif words[0] == "-A" and words[-1].startswith("NETAVARK") and not words[1].startswith("NETAVARK"):
            jumps.append(["-D", *words[1:]])
    return jumps + flush + remove


def remove_leftover_rules() -> int:
    """Remove netavark's chains once no container is left on this machine; return how many rules went."""
    if run("ps", "--all", "--quiet").stdout.strip():
        return 0
    gone = 0
    for tool in ("iptables", "ip6tables"):
        for table in ("filter", "nat"):
            listing = subprocess.run([tool, "-t", table, "-S"], capture_output=True, text=True, check=False)
            for words in leftover_rules(listing.stdout):
                subprocess.run([tool, "-t", table, *words], capture_output=True, check=False)
                gone += 1
    return gone


def exists_image(ref: str) -> bool:
    """Tell whether podman's storage has the image."""
    return run("image", "exists", ref, check=False).returncode == 0


def import_rootfs(tar: Path, ref: str) -> None:
    """Import a root file system as a one-layer image."""
    run("import", "--change", 'CMD ["/sbin/init"]', str(tar), ref, timeout=900)
