"""A terminal device's rendered filter in the kernel, against the intent: every pair, TCP service and family.

Four network namespaces, nothing outside: the router, two hosts behind it, and the rest of the
province on one address each. A connection that is made passed the filter; one that is not was dropped.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

import pytest

from infra.network.policy import ANY, Endpoint
from infra.render.router import Renderer
from tests import parsers
from tests.unit.network.conftest import FULL

ROUTER, LOCAL = "c-99801", ("government", "voice-video")
FAR = [
    *(("99802", purpose) for purpose in ("government", "voice-video", "cameras")),
    *(("dc", purpose) for purpose in ("servers", "front-door", "dmz", "databases")),
]

#: Answers on every port and address; then, for each line of JSON, connects and prints what came of it.
AGENT = """
import asyncio, json, socket, sys

async def one(case):
    source, target, port = case
    try:
        await asyncio.wait_for(asyncio.open_connection(target, port, local_addr=(source, 0)), 4)
        return True
    except (OSError, asyncio.TimeoutError):
        return False

async def main():
    for port in map(int, sys.argv[1:]):
        for family in (socket.AF_INET, socket.AF_INET6):
            await asyncio.start_server(lambda r, w: w.close(), family=family, host=None, port=port)
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(await asyncio.gather(*map(one, json.loads(line)))), flush=True)

asyncio.run(main())
"""

needs = pytest.mark.skipif(
    not (os.geteuid() == 0 and shutil.which("ip") and parsers.available("nftables.conf")),
    reason="needs network namespaces and nft",
)


class Namespace:
    """A network namespace with an agent in it."""

    def __init__(self, name: str) -> None:
        self.name = name
        run("ip", "netns", "add", name)
        self.ip("link", "set", "lo", "up")

    def ip(self, *words: str) -> None:
        run("ip", "-n", self.name, *words)

    def address(self, device: str, address: IPv4Address | IPv6Address, length: int) -> None:
        # for the filter only source and target count, so nobody needs to look for duplicates
        self.ip(
            "address",
            "add",
            f"{address}/{length}",
            "dev",
            device,
            *(["nodad"] if address.version == 6 else []),
        )
        self.ip("link", "set", device, "up")

    def start(self, ports: list[int]) -> None:
        words = ["ip", "netns", "exec", self.name, sys.executable, "-c", AGENT, *map(str, ports)]
        self.agent = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.agent.stdout.readline() == "ready\n"

    def connect(self, cases: list[tuple[str, str, int]]) -> list[bool]:
        """Return which of (source, target, port) are reached; all at once."""
        self.agent.stdin.write(json.dumps(cases) + "\n")
        self.agent.stdin.flush()
        return json.loads(self.agent.stdout.readline())

    def end(self) -> None:
        if hasattr(self, "agent"):
            self.agent.kill()
            self.agent.communicate()
        run("ip", "netns", "delete", self.name)


def run(*words: str) -> None:
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    assert result.returncode == 0, (words, result.stderr)


def host(lan: Endpoint, number: int = 9) -> tuple[IPv6Address, IPv4Address]:
    return lan.prefix.ipv6[number], lan.prefix.ipv4[number]


@pytest.fixture
def world(
    routers, tmp_path
) -> Iterator[tuple[dict[str, Namespace], dict[tuple[str, str], Endpoint], list[int]]]:
    """The router with its rendered filter, a host on each of two LANs, and `far` with everything else."""
    device, policy = routers.by_name[ROUTER], routers.policy
    lans = {(e.unit, e.purpose): e for e in policy.endpoints}
    services = routers.network.zoning.services.values()
    ports = sorted({port for s in services if s.protocol == "tcp" for port in s.ports} | {5060})
    spaces: dict[str, Namespace] = {}
    try:
        for name in ("router", "far", *LOCAL):
            spaces[name] = Namespace(f"tinh-{os.getpid()}-{name}")
        router, far = spaces["router"], spaces["far"]
        sysctl = ("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv4.conf.all.rp_filter=0")
        run("ip", "netns", "exec", router.name, "sysctl", "-qw", *sysctl)
        link = device.links[0]
        for interface in (link, *(lan for lan in device.lans if lan.purpose in LOCAL)):
            other = far if interface is link else spaces[interface.purpose]
            router.ip("link", "add", interface.name, "type", "veth", "peer", "name", "e", "netns", other.name)
            router.address(interface.name, interface.address.ipv6, interface.ipv6_length)
            router.address(interface.name, interface.address.ipv4, interface.ipv4_length)
            if interface is link:
                near, own = device.neighbours[0].address, (interface.address.ipv6, interface.address.ipv4)
                ends, peers = (near.ipv6, near.ipv4), own
            else:
                ends, peers = (
                    host(lans["99801", interface.purpose]),
                    (interface.address.ipv6, interface.address.ipv4),
                )
            for end, length in zip(ends, (interface.ipv6_length, interface.ipv4_length), strict=True):
                other.address("e", end, length)
            for peer in peers:
                other.ip(f"-{peer.version}", "route", "add", "default", "via", str(peer), "dev", "e")
        for key in FAR:
            for end in host(lans[key]):
                far.address("lo", end, end.max_prefixlen)
        for stranger in (IPv6Address("2001:db8::1"), IPv4Address("192.0.2.1")):
            far.address("lo", stranger, stranger.max_prefixlen)
        for end in (device.neighbours[0].address.ipv6, device.neighbours[0].address.ipv4):
            router.ip(f"-{end.version}", "route", "add", "default", "via", str(end), "dev", link.name)
        file = tmp_path / "nftables.conf"
        file.write_text(Renderer(routers, FULL).device_files(device)["nftables.conf"])
        for _ in range(2):  # it can be loaded again
            run("ip", "netns", "exec", router.name, "nft", "-f", str(file))
        for name, space in spaces.items():
            space.start([22, 179, 53] if name == "router" else ports)
        yield spaces, lans, ports
    finally:
        for space in spaces.values():
            space.end()


@needs
def test_what_passes_is_what_the_policy_says(routers, world):
    spaces, lans, ports = world
    services = routers.network.zoning.services
    names = {port: name for name, s in services.items() if s.protocol == "tcp" for port in s.ports}

    def intended(source: Endpoint, target: Endpoint, port: int) -> bool:
        found = routers.policy.services(source, target)
        return ANY in found or names.get(port) in found

    tried = {"allowed": 0, "forbidden": 0}
    for purpose in LOCAL:
        near = lans["99801", purpose]
        for outward in (True, False):
            cases, expected = [], []
            for key in FAR:
                a, b = (near, lans[key]) if outward else (lans[key], near)
                for source, target in zip(host(a), host(b), strict=True):
                    for port in ports:
                        cases.append((str(source), str(target), port))
                        expected.append(intended(a, b, port))
            agent = spaces[purpose if outward else "far"]
            found = agent.connect(cases)
            # a busy machine may be slower than the agent waits; what must not pass has no such excuse
            slow = [i for i, want in enumerate(expected) if want and not found[i]]
            for i, made in zip(slow, agent.connect([cases[i] for i in slow]), strict=True):
                found[i] = made
            wrong = [
                (case, got) for case, got, want in zip(cases, found, expected, strict=True) if got != want
            ]
            assert not wrong
            tried["allowed"] += sum(expected)
            tried["forbidden"] += len(expected) - sum(expected)
    assert tried["allowed"] > 20
    assert tried["forbidden"] > 100


@needs
def test_foreign_sources_and_the_router_itself(routers, world):
    spaces, lans, _ = world
    device = routers.by_name[ROUTER]
    government, video = lans["99801", "government"], lans["99801", "voice-video"]
    other, neighbour = lans["99802", "voice-video"], device.neighbours[0].address
    # a host that takes an address of another LAN, with which it would be let through
    for end in host(video, 10):
        spaces["government"].address("lo", end, end.max_prefixlen)
    for case in zip(map(str, host(video, 10)), map(str, host(other)), strict=True):
        assert spaces["government"].connect([(*case, 443)]) == [False]
    lan = next(lan for lan in device.lans if lan.purpose == "government")
    link = device.links[0]
    for family in ("ipv6", "ipv4"):
        index = 0 if family == "ipv6" else 1
        inside, outside = str(getattr(lan.address, family)), str(getattr(link.address, family))
        mine = str(host(government)[index])
        assert spaces["government"].connect([(mine, inside, p) for p in (22, 179, 53)]) == [
            False,
            False,
            True,
        ]
        stranger = ("2001:db8::1", "192.0.2.1")[index]
        cases = [
            (stranger, str(host(video)[index]), 443),  # not registered
            (str(host(lans["dc", "servers"])[index]), outside, 22),  # no management
            (str(getattr(neighbour, family)), outside, 179),
            (str(host(other)[index]), outside, 179),
        ]
        assert spaces["far"].connect(cases) == [False, False, True, False]
