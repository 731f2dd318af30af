"""The lab's network from outside: commands on its routers and hosts, watched flows, and what may happen to it.

Shared by the acceptance tests, which judge, and by the bench, which measures.
"""

import contextlib
import json
import subprocess
import time

from infra import paths
from infra.network.of_site import fabric_of, host_name
from lab import podman, topology
from lab import up as lab_up
from lab.outside import probe
from lab.outside.network import netns
from lab.outside.up import outside_of

SETTLE = 60  # seconds until sessions are back after a change
WATCHED = 53  # port of the one UDP service that offices may use at the data centre
#: What is watched while a line or a core router is lost: pairs of (unit, purpose).
DISTRICT = [(("998", "government"), ("dc", "servers"))]
COMMUNE = [(("99801", "government"), ("dc", "servers"))]


class Net:
    """The lab's network with its probes."""

    def __init__(self, site):
        self.site = site
        self.fabric = fabric_of(site.name)
        self.outside = outside_of(site)
        self.nics = {(nic.netns, nic.device): nic for nic in self.outside.nics}
        self.python = ["podman", "exec", "-i", self.container(self.outside.hosts), "python3"]

    @staticmethod
    def container(machine):
        return topology.prefix(paths.instance()) + machine

    def nic(self, unit, purpose):
        return self.nics[netns(unit), purpose]

    def place(self, unit, purpose):
        nic = self.nic(unit, purpose)
        return probe.Place(nic.netns, nic.device, str(nic.address.ipv4), str(nic.address.ipv6))

    def inside(self, unit, command):
        """Run a command where a unit's hosts are."""
        full = [*self.python[:-1], "ip", "netns", "exec", netns(unit), "sh", "-c", command]
        return subprocess.run(full, capture_output=True, text=True, timeout=60, check=False)

    def on(self, machine, command):
        """Run a command on a router's own system, past its filter and whatever it routes."""
        full = ["podman", "exec", self.container(machine), "sh", "-c", command]
        done = subprocess.run(full, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{machine}: {command}: {done.stdout}{done.stderr}"
        return done.stdout

    def routers(self):
        return [(device, host_name(device, self.site)) for device in self.fabric.devices]

    def device(self, host):
        return next(device for device, name in self.routers() if name == host)

    def watch(self, flows, seconds=600):
        """Return a running watch of pairs of (unit, purpose), in both families."""
        ends = {end for pair in flows for end in pair}
        places = {" ".join(end): self.place(*end) for end in ends}
        wanted = [(" ".join(a), " ".join(b), "udp", family) for a, b in flows for family in probe.FAMILIES]
        return probe.Watch(self.python, probe.watch_request(wanted, places, seconds, port=WATCHED))

    def settle(self):
        """Wait until every session of every router is up."""
        deadline = time.monotonic() + SETTLE
        while True:
            down = [f"{d.name}: {line}" for d, host in self.routers() for line in self.sessions_down(d, host)]
            if not down:
                return
            assert time.monotonic() < deadline, down
            time.sleep(0.5)

    def ends(self):
        """Return the LANs of units with a router."""
        return [e for e in self.fabric.policy.endpoints if (netns(e.unit), e.purpose) in self.nics]

    def flows(self, services=None):
        """Return all flows between the LANs by some services, or all, with what the policy says of them."""
        return probe.matrix_flows(self.fabric.policy, self.ends(), services=services)

    def probed(self, flows):
        """Probe flows between the LANs."""
        places = {probe.lan_name(each): self.place(each.unit, each.purpose) for each in self.ends()}
        return probe.probe(self.python, flows, places, self.fabric.network.zoning.services)

    def sessions_down(self, device, host):
        peers = {}
        for family in json.loads(self.on(host, "vtysh -c 'show bgp summary json'") or "{}").values():
            peers |= {name: peer["state"] for name, peer in family.get("peers", {}).items()}
        wanted = {str(a) for n in device.neighbours for a in (n.address.ipv4, n.address.ipv6)}
        return [f"{name} {peers.get(name)}" for name in wanted if peers.get(name) != "Established"]

    def plane_end(self, family):
        """Return (machine, device) of the plane's end of the line that the district's packets take."""
        target = getattr(self.nic("dc", "servers").address, family)
        line = json.loads(self.on("d-998", f"ip -j route get {target}"))[0]["dev"]
        mine = next(i for i in self.device("d-998").links if i.name == line)
        plane = self.fabric.by_name[mine.far]
        return plane.name, next(i.name for i in plane.links if (i.far, i.purpose) == ("d-998", mine.purpose))

    @contextlib.contextmanager
    def line_down(self, machine, device):
        """Have a line's end down."""
        try:
            self.on(machine, f"ip link set {device} down")
            yield
        finally:
            self.on(machine, f"ip link set {device} up")

    @contextlib.contextmanager
    def line_silent(self, machine, device):
        """Have nothing pass a line that looks well from both ends."""
        chains = {"prerouting": "iifname", "output": "oifname", "forward": "oifname"}
        drop = "".join(
            f"add chain inet outage {hook} {{ type filter hook {hook} priority -400; }}\n"
            f"add rule inet outage {hook} {key} {device} drop\n"
            for hook, key in chains.items()
        )
        try:
            self.on(machine, f"nft -f - <<'E'\nadd table inet outage\n{drop}E")
            yield
        finally:
            self.on(machine, "nft delete table inet outage")

    @contextlib.contextmanager
    def machine_lost(self, machine):
        """Have a machine killed; it comes back with its lines."""
        try:
            podman.run("kill", self.container(machine))
            yield
        finally:
            podman.run("start", self.container(machine))
            lab_up.ensure_outside(self.site, print)


def seen(title, watch):
    """End a watch, say what it saw, and return the flows, each with its outages in seconds."""
    flows = watch.stop()["flows"]
    for each in flows:
        print(
            f"{title}: {' '.join(each['flow'])}: {each['answered']}/{each['sent']}, outages {each['outages']} s"
        )
    return flows


def longest(title, watch):
    """End a watch, say what it saw, and return the longest outage in seconds."""
    flows = seen(title, watch)
    assert all(each["answered"] > each["sent"] / 2 for each in flows), flows
    return max(each["longest"] for each in flows)
