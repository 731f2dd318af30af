"""Brings up what the lab has outside the data centre, and joins it by wires. Looks first, does what is missing."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from infra import paths
from infra.address.plan import recorded
from infra.errors import ToolError
from infra.model.site import Site
from infra.network.of_site import fabric_of
from lab import podman
from lab.outside.network import End, Nic, Outside, Wire, compile_outside

Tell = Callable[[str], None]
#: A network namespace, as `ip` and `nsenter` take it.
Place = str
#: Hosts take addresses and routes from the plan, pass nothing on, and answer in each LAN although they are in several.
HOST_SETTINGS = (
    "net.ipv6.conf.all.accept_ra=0",
    "net.ipv6.conf.default.accept_ra=0",
    "net.ipv6.conf.all.forwarding=0",
    "net.ipv4.ip_forward=0",
    "net.ipv4.conf.all.rp_filter=0",
    "net.ipv4.conf.default.rp_filter=0",
    # The LANs of a unit are in one namespace: what comes from one of them to another has a local source.
    "net.ipv4.conf.all.accept_local=1",
)
#: Units of a router that set up devices.
SETUP = ("tinh-vlan", "tinh-vrrp", "tinh-qos")


def outside_of(site: Site) -> Outside:
    """Return what a site of kind lab has outside the data centre, for all epochs of its province."""
    record, _ = recorded(site.name)
    return compile_outside(site, [fabric_of(site.name, epoch) for epoch in record.epochs])


def ensure(site: Site, tell: Tell = print) -> Outside:
    """Have the machines outside run, and every wire in place; quick when they are.

    Raises:
        ToolError: podman or `ip` failed.
        RefusedError: a container of such a name is not ours.
    """
    from lab.toolchain import artifact
    from lab.up import start_machines

    found = outside_of(site)
    done, before = paths.state(site.name).root / "outside", _key(found)
    if done.exists() and done.read_text() == before:
        return found
    start_machines(site, artifact("rootfs-machine"), tell, found.machines)
    wired = join(found)
    if wired:
        tell(f"wires: {wired} of {len(found.wires)} made")
    done.write_text(_key(found))
    return found


def join(found: Outside) -> int:
    """Make the wires and hosts that are missing; return how many wires were made."""
    pids = podman.pids(paths.instance())
    # A namespace belongs to the machine: made in its own view of the file system, it goes away with it.
    inside = Path("/proc", str(pids[found.hosts]), "root/run/netns")

    def place(end: End) -> Place:
        return f"{inside}/{end.netns}" if end.netns else _netns(pids[end.machine])

    _make_namespaces(found, pids[found.hosts], inside)
    wired = _make_wires(found.wires, place)
    _make_hosts(found, pids[found.hosts], inside)
    for machine in sorted({end.machine for wire in wired for end in (wire.a, wire.b) if not end.netns}):
        _set_up_again(pids[machine])
    return len(wired)


def _netns(pid: int) -> Place:
    return f"/proc/{pid}/ns/net"


def _make_namespaces(found: Outside, pid: int, inside: Path) -> None:
    for name in found.namespaces:
        if not _mounted(inside / name):
            (inside / name).unlink(missing_ok=True)  # what an interrupted run has left
            _run(["nsenter", "-t", str(pid), "-m", "-n", "-p", "ip", "netns", "add", name])
            _run(["nsenter", f"--net={inside / name}", "sysctl", "-q", *HOST_SETTINGS])


def _make_wires(wires: Iterable[Wire], place: Callable[[End], Place]) -> list[Wire]:
    """Make the wires of which an end is missing, and return them."""
    wires = list(wires)
    have = {where: _devices(where) for where in {place(end) for wire in wires for end in (wire.a, wire.b)}}
    missing = [w for w in wires if not all(end.device in have[place(end)] for end in (w.a, w.b))]
    ends = [(place(end), end.device) for wire in missing for end in (wire.a, wire.b)]
    for where, device in ends:  # the other end of a machine that was killed may be there for a while
        if device in have[where]:
            _run(["nsenter", f"--net={where}", "ip", "link", "delete", device], may_fail=True)
    _batch("/proc/self/ns/net", (_add(wire, place) for wire in missing))
    fresh = defaultdict[Place, list[str]](list)
    for where, device in ends:
        fresh[where].append(f"link set {device} up")
    for where, lines in fresh.items():
        _batch(where, lines)
    return missing


def _make_hosts(found: Outside, pid: int, inside: Path) -> None:
    """Give the units' hosts their devices, addresses and routes."""
    by_netns = defaultdict[str, list[Nic]](list)
    for nic in found.nics:
        by_netns[nic.netns].append(nic)
    for name, nics in by_netns.items():
        where = f"{inside}/{name}"
        devices = _devices(where)
        absent = [nic for nic in nics if nic.device not in devices]
        on_segments = (
            f"link add link {nic.segment} name {nic.device} netns {where} type macvlan mode bridge"
            for nic in absent
            if nic.segment
        )
        _batch(_netns(pid), on_segments)
        _batch(where, _host_lines(nics, {nic.device for nic in absent}))


def _set_up_again(pid: int) -> None:
    """Run a router's units that set devices up once more: they ran before its wires were there."""
    units = " ".join(SETUP)
    again = f"for u in {units}; do systemctl -q is-enabled $u 2>/dev/null && systemctl restart $u; done; true"
    _run(["nsenter", "-t", str(pid), "-a", "sh", "-c", again])


def _mounted(file: Path) -> bool:
    """Tell whether a file is a network namespace, which lies on a file system of its own."""
    return file.exists() and file.stat().st_dev != file.parent.stat().st_dev


def _host_lines(nics: Iterable[Nic], absent: set[str]) -> Iterable[str]:
    """Yield `ip` commands for a unit's hosts: each LAN has a default route; a probe chooses one by its device."""
    yield "link set lo up"
    for metric, nic in enumerate(nics, 1):
        if nic.ports and nic.device in absent:
            yield f"link add {nic.device} type bridge"
        for port in nic.ports:
            yield f"link set {port} master {nic.device} up"
        yield f"link set {nic.device} up"
        yield f"addr replace {nic.address.ipv6}/{nic.lengths[0]} dev {nic.device} nodad"
        yield f"addr replace {nic.address.ipv4}/{nic.lengths[1]} dev {nic.device}"
        yield f"route replace ::/0 via {nic.gateway.ipv6} dev {nic.device} metric {metric}"
        yield f"route replace 0.0.0.0/0 via {nic.gateway.ipv4} dev {nic.device} metric {metric}"


def _add(wire: Wire, place: Callable[[End], Place]) -> str:
    a, b = wire.a, wire.b
    return f"link add name {a.device} netns {place(a)} type veth peer name {b.device} netns {place(b)}"


def _key(found: Outside) -> str:
    """Return a hash of what should be and of the machines that run: a restarted one has lost its wires."""
    running = podman.pids(paths.instance())
    want: Mapping[str, object] = {"found": repr(found), "running": sorted(running.items())}
    return hashlib.sha256(json.dumps(want).encode()).hexdigest()


def _devices(where: Place) -> set[str]:
    listing = _run(["nsenter", f"--net={where}", "ip", "-j", "link", "show"])
    return {link["ifname"] for link in json.loads(listing or "[]") if "ifname" in link}


def _batch(where: Place, lines: Iterable[str]) -> None:
    text = "".join(f"{line}\n" for line in lines)
    if text:
        _run(["nsenter", f"--net={where}", "ip", "-batch", "-"], text)


def _run(command: list[str], stdin: str = "", *, may_fail: bool = False) -> str:
    result = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120, check=False)
    if result.returncode and not may_fail:
        raise ToolError(
            f"{' '.join(command)} failed: {result.stderr.strip()[-300:]}",
            where="lab/outside",
            fix="`tinh lab reset` makes the lab anew; what is in it will be lost",
        )
    return result.stdout
