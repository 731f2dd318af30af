"""The configuration files that a router may be given: where each lies, what checks it and what loads it.

Sources: vtysh(1), frrinit.sh(8) of FRR 8.4 (`reload` keeps sessions: it applies the difference with
frr-reload.py, and starts and stops only the daemons that `daemons` switches), nft(8), and the manual page of each
further daemon. Commands have {} for the file's path.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Words = tuple[str, ...]
#: Without a reload of systemd for each unit: a third of a second of CPU each, and the units are known already.
ENABLE: Words = ("systemctl", "enable", "-q", "--no-reload")


@dataclass(frozen=True, kw_only=True)
class RouterFile:
    """One file.

    Args:
        path: where it lies on the router.
        load: commands after it was replaced, in order.
        unload: commands after it was removed, on a router that had none before it was taken over.
        check: parses a text without using it; none where the daemon has no such command.
        show: prints what runs, where that can differ from the file.
        normal: takes out of that what changes by itself.
        needs: what the text must contain, as a regular expression, and why.
        owner: user and group of a new file; one that is there keeps its own.
        mode: permissions of a new file, octal.
    """

    path: str
    load: tuple[Words, ...]
    unload: tuple[Words, ...]
    check: Words = ()
    show: Words = ()
    normal: Callable[[str], str] = str
    needs: tuple[str, str] = ("", "")
    owner: str = "root"
    mode: str = "0644"

    def wire(self) -> dict[str, Any]:
        """Return what the agent on the router has to know (playbooks/roles/router_config/files/agent.py)."""
        return {
            "path": self.path,
            "owner": self.owner,
            "mode": self.mode,
            "check": self.check,
            "load": self.load,
            "unload": self.unload,
            "show": self.show,
        }


def normal_frr(text: str) -> str:
    """Return FRR's running configuration without its frame and its empty comments, in an order of its own.

    FRR prints the same configuration in another order after a reload than after a start. Where order matters, its
    lines have a number (`seq`, a route map's `permit 10`), so nothing is lost: lines are sorted within their blocks,
    and blocks among each other.
    """
    frame = re.compile(
        r"(Building configuration\.\.\.|Current configuration:|frr version .*|end| *exit(-\S+)?|[! ]*)"
    )
    paths: list[list[str]] = []
    path: list[str] = []  # a line and the lines above it that it belongs to, by indentation
    for line in map(str.rstrip, text.splitlines()):
        if not frame.fullmatch(line):
            path = [*(above for above in path if _depth(above) < _depth(line)), line]
            paths.append(path)
    return "".join(f"{path[-1]}\n" for path in sorted(paths))


def _depth(line: str) -> int:
    """Return the number of spaces that a line starts with."""
    return len(line) - len(line.lstrip(" "))


def normal_nft(text: str) -> str:
    """Return a ruleset without the elements of sets that packets fill (`flags dynamic`, `size`, timeouts)."""

    def emptied(block: re.Match[str]) -> str:
        if not re.search(r"^\s*flags .*\b(dynamic|timeout)\b", block[0], re.MULTILINE):
            return block[0]
        return re.sub(r"^\s*elements = \{[^}]*\}\n", "", block[0], flags=re.MULTILINE)

    return re.sub(r"^\t(set|map|meter) \S+ \{\n(.*\n)*?\t\}\n", emptied, text, flags=re.MULTILINE)


def _service(
    unit: str, *, check: Words = (), path: str, mode: str = "0644", alone: bool = True
) -> RouterFile:
    """Return the file of a daemon that reads it when it starts.

    No reload: at SIGHUP dnsmasq and rsyslogd do not read it again (dnsmasq(8), NOTES; rsyslogd(8), SIGNALS).

    Args:
        unit: the daemon's unit.
        check: see `RouterFile`.
        path: see `RouterFile`.
        mode: see `RouterFile`.
        alone: the daemon does not run without this file.
    """
    start = ((*ENABLE, unit), ("systemctl", "restart", unit))
    return RouterFile(
        path=path,
        check=check,
        load=start,
        unload=(("systemctl", "disable", "-q", "--now", unit),) if alone else start,
        mode=mode,
    )


def _unit(name: str) -> RouterFile:
    """Return a unit that runs commands once and can be run again; what is wrong shows when it is loaded."""
    again = ("systemctl", "daemon-reload")
    return RouterFile(
        path=f"/etc/systemd/system/{name}",
        load=(again, (*ENABLE, name), ("systemctl", "reload-or-restart", name)),
        unload=(("systemctl", "disable", "-q", "--now", name), again),
    )


def _part(unit: str, *, path: str, check: Words = ()) -> RouterFile:
    """Return a file of a unit that is a `RouterFile` too, comes before it, and goes together with it."""
    again = ("systemctl", "reload-or-restart", unit)
    return RouterFile(path=path, check=check, load=(again,), unload=(("systemctl", "daemon-reload"),))


_FRR: tuple[Words, ...] = (
    (*ENABLE, "frr"),
    ("systemctl", "reload-or-restart", "frr"),
)
#: By name, in the order in which they are loaded: the filter last, so that what it opens is there.
FILES: dict[str, RouterFile] = {
    "sysctl.conf": RouterFile(
        path="/etc/sysctl.d/95-tinh-router.conf",
        load=(("sysctl", "-q", "-p", "{}"),),
        unload=(("sysctl", "-q", "--system"),),
    ),
    "tinh-vlan.service": _unit("tinh-vlan.service"),
    "tinh-vrrp.service": _unit("tinh-vrrp.service"),
    "daemons": RouterFile(path="/etc/frr/daemons", load=_FRR, unload=_FRR, owner="frr", mode="0640"),
    "frr.conf": RouterFile(
        path="/etc/frr/frr.conf",
        check=("vtysh", "-C", "-f", "{}"),
        load=_FRR,
        unload=_FRR,
        show=("vtysh", "-c", "show running-config"),
        normal=normal_frr,
        owner="frr",
        mode="0640",
    ),
    "dnsmasq.conf": _service("dnsmasq", check=("dnsmasq", "--test", "-C", "{}"), path="/etc/dnsmasq.conf"),
    "chrony.conf": _service("chrony", check=("chronyd", "-p", "-f", "{}"), path="/etc/chrony/chrony.conf"),
    "rsyslog.conf": _service(
        "rsyslog", check=("rsyslogd", "-N1", "-f", "{}"), path="/etc/rsyslog.d/tinh.conf", alone=False
    ),
    "snmpd.conf": _service("snmpd", path="/etc/snmp/snmpd.conf", mode="0600"),
    "tinh-resolver.service": _unit("tinh-resolver.service"),
    "unbound.conf": _part(
        "tinh-resolver.service", path="/etc/unbound/tinh.conf", check=("unbound-checkconf", "{}")
    ),
    "tinh-nat64.service": _unit("tinh-nat64.service"),
    "tayga.conf": _part("tinh-nat64.service", path="/etc/tayga-tinh.conf"),
    "tinh-qos.service": _unit("tinh-qos.service"),
    "nftables.conf": RouterFile(
        path="/etc/nftables.conf",
        check=("nft", "-c", "-f", "{}"),
        load=((*ENABLE, "nftables"), ("nft", "-f", "{}")),
        unload=(("nft", "flush", "ruleset"),),
        show=("nft", "-s", "list", "ruleset"),
        normal=normal_nft,
        needs=(
            r"^\s*flush ruleset\b",
            "`flush ruleset`: without it, rules pile up each time the file is loaded",
        ),
        mode="0755",
    ),
}


def digest(text: str) -> str:
    """Return a text's SHA-256 in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def text_diff(before: str, after: str) -> list[str]:
    """Return the lines that differ, with two lines around each change; none when nothing does."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=2, lineterm="")
    return list(lines)[2:]  # without the names of two files
