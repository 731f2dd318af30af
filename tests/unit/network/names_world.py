"""The lab's province in namespaces, with the daemons of a core router on their rendered files: Knot, Unbound, TAYGA."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from infra import dnssec
from infra.address.plan import plan_at
from infra.model.network import Network
from infra.model.province import Record, load_record
from infra.model.site import load_site
from infra.network.names import translated
from infra.network.of_site import authority_of, fabric_at, options_of
from infra.render.router import Renderer
from infra.render.zones import ZoneFile, render_knot, site_zones
from lab.outside import probe
from lab.outside.province import Province
from stacks.zones import resolvers
from tests.unit.lab.test_probe import namespaces_work

PROGRAMS = ("knotd", "keymgr", "unbound", "tayga", "dnsmasq", "dig", "delv")
COMMAND = (sys.executable,)
#: A unit whose hosts have no IPv4, and what they find at a name without IPv6.
ONLY6, OLD = "99801", "old"


def available() -> bool:
    """Return whether this machine has the daemons, and lets us make namespaces and devices."""
    return namespaces_work() and all(map(shutil.which, PROGRAMS)) and Path("/dev/net/tun").exists()


class World:
    """The province, and what runs in it.

    Args:
        folder: for files; the state of the site is below it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.site = folder, load_site("lab")
        self.keys = dnssec.keys("lab")
        record = load_record("lab")
        # Besides the lab's services, pings of servers: translation of ICMP is proved with them.
        data = record.network.model_dump(by_alias=True)
        data["zoning"]["services"]["ping"] = {"protocol": "icmp"}
        data["zoning"]["rules"] += (
            {"from": "internal", "to": "internal_servers", "service": "ping", "reason": "a test"},
        )
        record = Record(record.folder, record.facts, record.register, Network.model_validate(data))
        self.plan = plan_at(record)
        self.fabric = fabric_at(self.plan)
        authority = authority_of(self.site, self.fabric.network, self.keys)
        self.files = Renderer(self.fabric, options_of(self.site, authority)).all_files()
        self.tag = f"n{os.getpid() % 10000}-"
        self.province = Province(
            self.fabric,
            lambda device: self.files[device.name]["nftables.conf"],
            unit_lans=("government", "voice-video"),
            centre_lans=("servers", "internet", "dmz", "databases"),
            prefix=self.tag,
        )
        names = self.site.names
        assert names and names.nat64
        self.nat64, self.resolver = names.nat64.ipv6, names.resolver.address
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def place(self, name: str) -> str:
        """Return the namespace of a router or of a unit's hosts (`h-<unit>`)."""
        return f"{self.tag}{name}"

    def mapped(self, address: IPv4Address | str) -> str:
        """Return the IPv6 address that stands for an IPv4 address."""
        return str(translated(IPv4Network(str(address)), self.nat64).network_address)

    def run(self, place: str, *words: str, check: bool = True) -> str:
        """Run a command in a namespace and return what it says."""
        full = ["ip", "netns", "exec", self.place(place), *words]
        done = subprocess.run(full, capture_output=True, text=True, timeout=60, check=False)
        assert not check or done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def start(self, name: str, place: str, *words: str) -> None:
        """Start a daemon; one of the same name is ended first."""
        self.stop(name)
        log = (self.folder / f"{name}.log").open("wb")
        full = ["ip", "netns", "exec", self.place(place), *words]
        self.processes[name] = subprocess.Popen(full, stdout=log, stderr=subprocess.STDOUT)

    def stop(self, name: str) -> None:
        if process := self.processes.pop(name, None):
            process.terminate()
            process.wait(20)

    def up(self) -> None:
        probe.run(COMMAND, self.province.request(str(self.folder / "province.json")))
        self.run(f"h-{ONLY6}", "ip", "-4", "address", "flush", "dev", "government")
        for address, length in zip(self.site.front_door.dns.pair(), (64, 24), strict=True):
            quick = ["nodad"] if length == 64 else []
            self.run("h-dc", "ip", "address", "add", f"{address}/{length}", "dev", "servers", *quick)
        self.name_server(self.keys[0])
        self.core()
        router = f"c-{ONLY6}"
        file = self.folder / "dnsmasq.conf"
        file.write_text(self.files[router]["dnsmasq.conf"])
        self.start("dnsmasq", router, "dnsmasq", "-k", "-C", str(file), "--user=root",
                   f"--pid-file={self.folder}/dnsmasq.pid", f"--dhcp-leasefile={self.folder}/leases")  # fmt: skip
        self.wait_for("the resolver", lambda: self.dig("dc", "ns1.lab.tinh.test", "A"))

    def down(self) -> None:
        for name in list(self.processes):
            self.stop(name)
        probe.run(COMMAND, {"mode": "remove", "state": str(self.folder / "province.json")})

    def zones(self) -> list[ZoneFile]:
        """Return the zones as they are published, with one name more that has IPv4 only."""
        found = site_zones(self.site, ["id"], self.plan, lambda zone: dnssec.anchors([zone], self.keys))
        server = self.province.places["dc servers"].ipv4
        return [replace(found[0], text=f"{found[0].text}{OLD} IN A {server}\n"), *found[1:]]

    def name_server(self, key: dnssec.Key) -> None:
        """Start the name server with its rendered configuration and one key."""
        self.stop("knotd")
        folder = self.folder / "knot"
        shutil.rmtree(folder, ignore_errors=True)
        for name in ("run", "data", "zones"):
            (folder / name).mkdir(parents=True)
        zones = self.zones()
        for zone in zones:
            (folder / "zones" / f"{zone.name}.zone").write_text(zone.text)
        text = render_knot(zones, resolvers(self.site), 53, str(folder / "zones"))
        own = ", ".join(f'"{address}@53"' for address in self.site.front_door.dns.pair())
        text = re.sub(r"listen: .*", f"listen: [{own}]", text)  # other addresses are the probes'
        for path, own in (("/run/knot", "run"), ("/var/lib/knot", "data")):
            text = text.replace(path, str(folder / own))
        (folder / "knot.conf").write_text(text)
        for zone in zones:
            words = f"import-pem {key.file} algorithm=13 size=256 ksk=yes zsk=yes"
            self.run("h-dc", "keymgr", "-c", str(folder / "knot.conf"), zone.name, *words.split())
        self.start("knotd", "h-dc", "knotd", "-c", str(folder / "knot.conf"))
        where = f"@{self.site.front_door.dns.ipv6}"
        self.wait_for(
            "the name server",
            lambda: "RRSIG" in self.run("h-dc", "dig", where, "lab.tinh.test", "SOA", "+dnssec", check=False),
        )

    def core(self) -> None:
        """Do in the first core router what its units say."""
        files = self.files["core-dc-1"]
        unbound, tayga = self.folder / "unbound.conf", self.folder / "tayga.conf"
        unbound.write_text(
            files["unbound.conf"].replace('username: "unbound"', 'username: ""\n    directory: "/"')
        )
        tayga.write_text(files["tayga.conf"])
        moved = {"/etc/unbound/tinh.conf": str(unbound), "/etc/tayga-tinh.conf": str(tayga)}
        moved |= {f"/usr/sbin/{name}": name for name in ("unbound", "tayga")}
        moved |= {"/sbin/ip": "ip"}
        for name in ("tinh-nat64", "tinh-resolver"):
            for key, command in re.findall(
                r"^(ExecStart(?:Pre|Post)?)=-?(.*)$", files[f"{name}.service"], re.MULTILINE
            ):
                words = [moved.get(word, word) for word in command.split()]
                if key == "ExecStart":
                    self.start(name, "core-dc-1", *words)
                else:
                    self.run("core-dc-1", *words)

    def core_again(self) -> None:
        """Restart the resolver and the forwarder with empty caches."""
        for name in ("tinh-resolver", "dnsmasq"):
            words = self.processes[name].args
            self.stop(name)
            log = (self.folder / f"{name}.log").open("ab")
            self.processes[name] = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT)
        self.wait_for("the resolver", lambda: "status:" in self.dig(ONLY6, "ipv4only.arpa", "A"))

    def dig(self, unit: str, name: str, kind: str, *more: str) -> str:
        """Ask as a unit's host does: its router, or at the data centre the resolver itself."""
        device, where = "government", str(self.resolver.ipv6)
        if unit != "dc":
            where = next(
                str(lan.gateway.ipv6) for lan in self.fabric.by_name[f"c-{unit}"].lans if lan.name == device
            )
        words = [f"@{where}", name, kind, "+tries=2", "+time=2", *more]
        return self.run(f"h-{unit}", "dig", *words, check=False)

    @staticmethod
    def wait_for(what: str, is_there) -> None:
        deadline = time.monotonic() + 40
        while not (found := is_there()) or (isinstance(found, str) and "NOERROR" not in found):
            assert time.monotonic() < deadline, f"{what}: {found}"
            time.sleep(0.3)
