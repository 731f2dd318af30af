"""Runs inside a machine whose network namespaces play hosts: probes flows between them, watches some, makes them.

Root, Python 3.11, nothing but the standard library: the text of this file is handed to the machine's own Python
(`python3 -c TEXT`). The request is one line of JSON on standard input, or the file that is the first argument; the
answer is one line of JSON on standard output. `mode` of the request says what to do:

`probe` (the default)::

    {"endpoints": {ID: {"netns": NAME or null, "device": NAME, "ipv4": ADDRESS, "ipv6": ADDRESS}},
     "services": {NAME: {"protocol": "tcp" | "udp" | "icmp", "ports": [...]}},
     "flows": [[source ID, target ID, service, "ipv4" | "ipv6"], ...], "wait": seconds, "rate": packets a second}
    -> {"passed": [index of flow, ...], "refused": [...], "unsent": [[index, error], ...], "seconds": ..., ...}

`watch`: datagrams at an interval until `seconds` have passed, SIGTERM, or a line `stop` on standard input::

    {"mode": "watch", "endpoints": ..., "services": ..., "flows": ..., "port": for the service "udp",
     "interval": seconds, "seconds": ...}
    -> {"ready": true}, and at the end
       {"started": Unix time, "seconds": ..., "stall": ..., "flows": [{"flow": ..., "sent": ..., "answered": ...,
        "longest": seconds, "outages": [[seconds since the start, seconds], ...]}, ...]}

`install` and `remove`: network namespaces with addresses, routes and filters; see `install`.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import hashlib
import heapq
import itertools
import json
import os
import resource
import secrets
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from array import array
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FAMILIES = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}
NAMESPACES = Path("/run/netns")  # where `ip netns` has them
LIBC = ctypes.CDLL(None, use_errno=True)  # os.setns comes with Python 3.12
CLONE_NEWNET = 0x40000000

ATTEMPTS = 2  # packets of a flow that gets no answer: one may be lost without anybody's intent
AGAIN = 0.5  # seconds until a datagram is sent again; TCP takes one second
IN_FLIGHT = 8000  # TCP connections that wait at one time
SPARE = 500  # descriptors that are left for what is accepted, namespaces and so on
EVENTS = 8192  # taken from the kernel at one time

SHORTEST = 0.05  # seconds without an answer that are an outage
GRACE = 0.5  # seconds in which a late answer still counts

#: Which probe of which run: a mark of the process, the flow's index, a number.
PAYLOAD = struct.Struct("!8sII")
MARK = secrets.token_bytes(8)
ICMP = struct.Struct("!BBHHH")  # RFC 792, RFC 4443: type, code, checksum, identifier, sequence number
ECHO = {"ipv4": (8, 0), "ipv6": (128, 129)}  # family -> type of (request, reply)
#: linux/icmp.h, linux/icmpv6.h; the socket module has none of them.
SOL_RAW, ICMP_FILTER, ICMPV6_FILTER = 255, 1, 1


@dataclass(frozen=True)
class End:
    """Hosts of one LAN, played by a device in a network namespace.

    Args:
        netns: name of the namespace; None: somebody else's machine, which is probed and not played.
        device: in the namespace; sockets are bound to it, so that they leave by this LAN's gateway.
        ipv4: address of the hosts, as the kernel writes it.
        ipv6: the same.
    """

    netns: str | None
    device: str
    ipv4: str
    ipv6: str

    def address(self, family: str) -> str:
        """Return the address in a family."""
        return self.ipv4 if family == "ipv4" else self.ipv6


def read_ends(request: dict[str, Any]) -> dict[str, End]:
    """Return the endpoints of a request."""
    return {
        name: End(
            item["netns"], item["device"], canonical("ipv4", item["ipv4"]), canonical("ipv6", item["ipv6"])
        )
        for name, item in request["endpoints"].items()
    }


def canonical(family: str, address: str) -> str:
    """Return an address as the kernel writes it."""
    return socket.inet_ntop(FAMILIES[family], socket.inet_pton(FAMILIES[family], address))


# --- network namespaces and sockets in them


@functools.cache
def namespace(name: str) -> int:
    """Return a descriptor of a network namespace, which stays open.

    Raises:
        FileNotFoundError: there is none.
    """
    return os.open(NAMESPACES / name, os.O_RDONLY | os.O_CLOEXEC)


def enter(name: str) -> None:
    """Move the thread to a network namespace; sockets that it had stay where they are.

    Raises:
        OSError: there is no such namespace, or we may not.
    """
    if LIBC.setns(namespace(name), CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}", name)


def open_socket(end: End, family: str, kind: int, protocol: int = 0) -> socket.socket:
    """Open a socket that does not block, in an endpoint's namespace and bound to its device.

    Raises:
        OSError: there is no such namespace or device.
        ValueError: the endpoint is somebody else's machine.
    """
    if end.netns is None:
        raise ValueError(f"{end.ipv6} has no network namespace: it can only be a target")
    enter(end.netns)
    made = socket.socket(FAMILIES[family], kind | socket.SOCK_NONBLOCK, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, end.device.encode())
    return made


def raw_socket(end: End, family: str, receive: int) -> socket.socket:
    """Open a raw ICMP socket that receives one type; an ICMP socket without privileges is often disabled."""
    protocol = socket.IPPROTO_ICMP if family == "ipv4" else socket.IPPROTO_ICMPV6
    made = open_socket(end, family, socket.SOCK_RAW, protocol)
    if family == "ipv4":  # the filters say what is blocked
        made.setsockopt(SOL_RAW, ICMP_FILTER, struct.pack("=I", ~(1 << receive) & 0xFFFFFFFF))
    else:
        words = [0xFFFFFFFF] * 8
        words[receive >> 5] &= ~(1 << (receive & 31))
        made.setsockopt(protocol, ICMPV6_FILTER, struct.pack("=8I", *words))
    made.bind((end.address(family), 0))
    return made


def received(made: socket.socket) -> Iterator[tuple[bytes, tuple[Any, ...]]]:
    """Yield the datagrams that wait, with where they are from."""
    while True:
        try:
            yield made.recvfrom(2048)
        except OSError:  # nothing waits; or an error was reported to the socket, and the loop comes again
            return


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def echo(family: str, kind: int, rest: bytes, identifier: int = 0, sequence: int = 0) -> bytes:
    """Return an ICMP echo message; in IPv6 the kernel fills in the checksum, which covers the addresses."""
    head = ICMP.pack(kind, 0, 0, identifier, sequence)
    if family == "ipv4":
        head = ICMP.pack(kind, 0, checksum(head + rest), identifier, sequence)
    return head + rest


def icmp_body(family: str, packet: bytes) -> bytes:
    """Return the ICMP message of what a raw socket received; in IPv4 the header comes with it."""
    return packet[(packet[0] & 15) * 4 :] if family == "ipv4" else packet


# --- one loop for everything


class Loop:
    """Sockets with handlers, and actions at a time; one thread."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._handlers: dict[int, Callable[[], None]] = {}
        self._timers: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers = itertools.count()

    def add(self, descriptor: int, mask: int, handler: Callable[[], None]) -> None:
        """Call a handler whenever a descriptor is ready."""
        self._handlers[descriptor] = handler
        self._poll.register(descriptor, mask)

    def remove(self, descriptor: int) -> None:
        """Forget a descriptor."""
        self._poll.unregister(descriptor)
        del self._handlers[descriptor]

    def after(self, seconds: float, action: Callable[..., None], *args: object) -> None:
        """Call an action once, some seconds from now."""
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._numbers), action, args))

    def run(self, done: Callable[[], bool]) -> None:
        """Run until it is done or no action is left."""
        while self._timers and not done():
            now = time.monotonic()
            for descriptor, _ in self._poll.poll(max(0.0, self._timers[0][0] - now), EVENTS):
                if handler := self._handlers.get(descriptor):
                    handler()
            # Only what was due before the sockets were looked at: what came in time is never given up.
            while self._timers and self._timers[0][0] <= now:
                _, _, action, args = heapq.heappop(self._timers)
                action(*args)


# --- targets


def serve(loop: Loop, end: End, family: str, protocol: str, port: int) -> socket.socket:
    """Answer at an endpoint: accept connections and end them, or send datagrams back."""
    if protocol == "icmp":
        made = raw_socket(end, family, ECHO[family][0])
    else:
        made = open_socket(end, family, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((end.address(family), port))
    if protocol == "tcp":
        made.listen(4096)
    act = {"tcp": _accept, "udp": _reflect, "icmp": _reply}[protocol]
    loop.add(made.fileno(), select.EPOLLIN, functools.partial(act, made))
    return made


def serve_targets(
    loop: Loop, ends: dict[str, End], services: dict[str, Any], flows: Iterable[Sequence[str]]
) -> list[socket.socket]:
    """Answer wherever the flows go, on every port of their services."""
    wanted = {(target, service, family) for _, target, service, family in flows if ends[target].netns}
    places = {
        (target, family, services[name]["protocol"], port)
        for target, name, family in wanted
        for port in services[name]["ports"] or [0]
    }
    return [
        serve(loop, ends[target], family, protocol, port)
        for target, family, protocol, port in sorted(places)
        # IPv6 answers by the device where the request came in; IPv4 does not, so the kernel's reply may go astray
        if (protocol, family) != ("icmp", "ipv6")
    ]


def _accept(made: socket.socket) -> None:
    while True:
        try:
            made.accept()[0].close()
        except OSError:  # nobody waits; or the other side has ended it already, and the loop comes again
            return


def _reflect(made: socket.socket) -> None:
    for data, where in received(made):
        send(made, data, where)


def _reply(made: socket.socket) -> None:
    for packet, where in received(made):
        message = icmp_body("ipv4", packet)
        _, _, _, identifier, sequence = ICMP.unpack_from(message)
        send(made, echo("ipv4", ECHO["ipv4"][1], message[ICMP.size :], identifier, sequence), where)


def send(made: socket.socket, data: bytes, where: tuple[Any, ...]) -> str:
    """Send a datagram; return the name of an error, or nothing."""
    try:
        made.sendto(data, where)
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return ""


# --- probing


class Datagrams:
    """Sends numbered UDP datagrams and ICMP echo requests, and tells which were answered.

    One socket for all flows of a source and family.

    Args:
        loop: it runs in.
        answered: called with flow, number and the address that answered.
    """

    def __init__(self, loop: Loop, answered: Callable[[int, int, str], None]) -> None:
        self.loop, self.answered = loop, answered
        self._sockets: dict[tuple[End, str, str], socket.socket] = {}

    def send(
        self, source: End, target: End, family: str, service: tuple[str, int], flow: int, number: int
    ) -> str:
        """Send one; return the name of an error, or nothing."""
        protocol, port = service
        key = source, family, protocol
        if key not in self._sockets:
            self._sockets[key] = self._open(*key)
        data = PAYLOAD.pack(MARK, flow, number)
        if protocol == "icmp":
            data = echo(family, ECHO[family][0], data, os.getpid() & 0xFFFF, number & 0xFFFF)
        return send(self._sockets[key], data, (target.address(family), port))

    def _open(self, source: End, family: str, protocol: str) -> socket.socket:
        if protocol == "icmp":
            made = raw_socket(source, family, ECHO[family][1])
        else:
            made = open_socket(source, family, socket.SOCK_DGRAM)
            made.bind((source.address(family), 0))
        self.loop.add(made.fileno(), select.EPOLLIN, functools.partial(self._read, made, family, protocol))
        return made

    def _read(self, made: socket.socket, family: str, protocol: str) -> None:
        for packet, where in received(made):
            data = icmp_body(family, packet)[ICMP.size :] if protocol == "icmp" else packet
            if len(data) == PAYLOAD.size:
                mark, flow, number = PAYLOAD.unpack(data)
                if mark == MARK:
                    self.answered(flow, number, where[0])


class Probe:
    """Sends every flow of a request once and finds out which get an answer.

    Flows of one source address leave at a pace (routers limit new connections per source); many sources are probed
    side by side, since what is forbidden ends by waiting.
    """

    def __init__(self, request: dict[str, Any]) -> None:
        self.ends, self.services = read_ends(request), request["services"]
        self.flows: list[list[str]] = request["flows"]
        self.wait = float(request.get("wait", 2.0))
        self.gap = ATTEMPTS / float(request.get("rate", 150))
        self.loop = Loop()
        self.datagrams = Datagrams(self.loop, self._answered)
        self.connections: dict[int, socket.socket] = {}
        self.open = set(range(len(self.flows)))
        self.passed: list[int] = []
        self.refused: list[int] = []
        self.unsent: list[tuple[int, str]] = []

    def run(self) -> dict[str, Any]:
        """Return the answer to the request."""
        began = time.monotonic()
        targets = serve_targets(self.loop, self.ends, self.services, self.flows)
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.most = min(IN_FLIGHT, limit - len(targets) - 5 * len(self.ends) - SPARE)
        if self.most < 1:
            raise OSError(errno.EMFILE, f"{len(targets)} targets are too many for {limit} descriptors")
        lanes: dict[tuple[str, str], deque[int]] = defaultdict(deque)
        for index, (source, _, _, family) in enumerate(self.flows):
            lanes[source, family].append(index)
        for number, lane in enumerate(lanes.values()):
            self.loop.after(self.gap * number / len(lanes), self._next, lane)
        self.loop.run(lambda: not self.open)
        return {
            "passed": sorted(self.passed), "refused": sorted(self.refused), "unsent": sorted(self.unsent),
            "flows": len(self.flows), "targets": len(targets), "seconds": round(time.monotonic() - began, 3),
        }  # fmt: skip

    def _next(self, lane: deque[int]) -> None:
        """Start a source's next flow."""
        tcp = self._service(lane[0])[0] == "tcp"
        if not (tcp and len(self.connections) >= self.most):
            (self._connect if tcp else self._ask)(lane.popleft())
        if lane:
            self.loop.after(self.gap, self._next, lane)

    def _service(self, index: int) -> tuple[str, int]:
        service = self.services[self.flows[index][2]]
        return service["protocol"], (service["ports"] or [0])[0]

    def _places(self, index: int) -> tuple[End, End, str]:
        source, target, _, family = self.flows[index]
        return self.ends[source], self.ends[target], family

    def _end(self, index: int, found: list[int] | None = None) -> None:
        """End a flow; what it is found to be counts once."""
        if index in self.open:
            self.open.remove(index)
            if found is not None:
                found.append(index)

    def _fail(self, index: int, error: str) -> None:
        """End a flow that did not leave the source: nothing is known of it."""
        if index in self.open:
            self.unsent.append((index, error))
        self._end(index)

    def _connect(self, index: int) -> None:
        source, target, family = self._places(index)
        made = open_socket(source, family, socket.SOCK_STREAM)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, ATTEMPTS - 1)
        made.bind((source.address(family), 0))
        error = made.connect_ex((target.address(family), self._service(index)[1]))
        if error not in (0, errno.EINPROGRESS):
            made.close()
            self._fail(index, errno.errorcode.get(error, str(error)))
            return
        self.connections[index] = made
        self.loop.add(made.fileno(), select.EPOLLOUT, functools.partial(self._connected, index))
        self.loop.after(self.wait, self._close, index)

    def _connected(self, index: int) -> None:
        error = self.connections[index].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        # Filters drop; who refuses was reached.
        self._close(index, {0: self.passed, errno.ECONNREFUSED: self.refused}.get(error))

    def _close(self, index: int, found: list[int] | None = None) -> None:
        if made := self.connections.pop(index, None):
            self._end(index, found)
            self.loop.remove(made.fileno())
            # Ended by a reset: nothing of it stays, here or in the routers' memory.
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            made.close()

    def _ask(self, index: int, number: int = 0) -> None:
        if index not in self.open:
            return
        if error := self.datagrams.send(*self._places(index), self._service(index), index, number):
            self._fail(index, error)
        elif number + 1 < ATTEMPTS:
            self.loop.after(AGAIN, self._ask, index, number + 1)
        if not number:
            self.loop.after(self.wait, self._end, index)

    def _answered(self, index: int, _: int, where: str) -> None:
        if where == self.ends[self.flows[index][1]].address(self.flows[index][3]):
            self._end(index, self.passed)


# --- watching


class Watch:
    """Sends a datagram of every flow at an interval, until it is told to stop."""

    def __init__(self, request: dict[str, Any]) -> None:
        port = int(request.get("port", 9))
        self.services = {"udp": {"protocol": "udp", "ports": [port]}} | request.get("services", {})
        self.ends = read_ends(request)
        self.flows: list[list[str]] = request["flows"]
        self.interval, self.seconds = float(request.get("interval", 0.01)), float(request["seconds"])
        self.loop = Loop()
        self.datagrams = Datagrams(self.loop, self._answered)
        self.times = array("d")  # when each number was sent, the same for all flows
        self.answers = [bytearray() for _ in self.flows]
        self.stopping = self.ended = False

    def run(self) -> dict[str, Any]:
        """Return the answer to the request; SIGTERM or a line on standard input ends it early."""
        for name in {service for _, _, service, _ in self.flows}:
            if self.services[name]["protocol"] == "tcp":
                raise ValueError(f"service {name!r} is TCP; only datagrams are watched")
        self.targets = serve_targets(self.loop, self.ends, self.services, self.flows)
        signal.signal(signal.SIGTERM, self._stop)
        with suppress(OSError):  # a file or nothing: nobody says anything
            self.loop.add(0, select.EPOLLIN, self._told)
        self.started, self.begin = time.time(), time.monotonic()
        print(json.dumps({"ready": True}), flush=True)
        self._tick(self.begin)
        self.loop.run(lambda: self.ended)
        times = [t - self.begin for t in self.times]
        return {
            "started": self.started,
            "seconds": round(time.monotonic() - self.begin, 3),
            "stall": round(max((b - a for a, b in itertools.pairwise(times)), default=0.0), 4),
            "flows": [
                self._report(flow, times, got) for flow, got in zip(self.flows, self.answers, strict=True)
            ],
        }

    def _report(self, flow: list[str], times: list[float], got: bytearray) -> dict[str, Any]:
        found = [(round(at, 3), round(length, 3)) for at, length in outages(times, got, self.interval)]
        return {
            "flow": flow, "sent": len(times), "answered": sum(got),
            "longest": max((length for _, length in found), default=0.0),
            "outages": [each for each in found if each[1] > SHORTEST],
        }  # fmt: skip

    def _tick(self, due: float) -> None:
        if self.stopping or time.monotonic() - self.begin >= self.seconds:
            self.loop.after(GRACE, self._finish)
            return
        number = len(self.times)
        self.times.append(time.monotonic())
        for index, (source, target, name, family) in enumerate(self.flows):
            self.answers[index].append(0)
            service = self.services[name]
            place = service["protocol"], (service["ports"] or [0])[0]
            self.datagrams.send(self.ends[source], self.ends[target], family, place, index, number)
        now = time.monotonic()
        due = max(due + self.interval, now)  # what a busy machine missed is not made up for
        self.loop.after(due - now, self._tick, due)

    def _answered(self, index: int, number: int, _: str) -> None:
        self.answers[index][number] = 1

    def _stop(self, *_: object) -> None:
        self.stopping = True

    def _told(self) -> None:
        said = os.read(0, 4096)
        self.stopping |= b"stop" in said
        if not said:
            self.loop.remove(0)

    def _finish(self) -> None:
        self.ended = True


def outages(
    times: Sequence[float], answered: Sequence[int], interval: float
) -> Iterator[tuple[float, float]]:
    """Yield (start, length) of every time without an answer, in seconds.

    It lasts from one answered number to the next one that was answered, less the interval at which they are sent; at
    the beginning and the end from the first number and to the last one. Where none in between was lost, the sender was
    late.

    Args:
        times: when each number was sent.
        answered: whether each was answered.
        interval: seconds between two numbers.
    """
    last = -1
    for number, got in enumerate(answered):
        if got:
            if number - last > 1:
                start = times[max(last, 0)]
                yield start, max(0.0, times[number] - start - (interval if last >= 0 else 0.0))
            last = number
    if last < len(times) - 1:
        start = times[max(last, 0)]
        yield start, times[-1] - start


# --- making network namespaces


def install(request: dict[str, Any]) -> dict[str, Any]:
    """Make network namespaces, unless they are there as requested; what an earlier request made is removed first.

    ::

        {"mode": "install", "state": FILE, "links": [line of `ip -batch`, ...],
         "namespaces": {NAME: {"sysctl": {KEY: VALUE}, "ip": [line of `ip -batch`, ...], "nft": TEXT}}}
        -> {"changed": whether, "namespaces": how many, "seconds": ...}

    Args:
        request: `state` remembers what was made; namespaces that it does not name are never touched.

    Raises:
        RuntimeError: a tool failed.
    """
    began = time.monotonic()
    spaces, state = request["namespaces"], Path(request["state"])
    digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
    changed = recorded(state).get("hash") != digest or not all((NAMESPACES / n).exists() for n in spaces)
    if changed:
        remove(request)
        state.write_text(json.dumps({"namespaces": sorted(spaces)}))
        batch(f"netns add {name}" for name in spaces)
        # Before there are devices: they start with what is the default then.
        everywhere(spaces, lambda space: sysctl(space["sysctl"]))
        batch(request["links"])
        everywhere(spaces, fill)
        state.write_text(json.dumps({"namespaces": sorted(spaces), "hash": digest}))
    return {"changed": changed, "namespaces": len(spaces), "seconds": round(time.monotonic() - began, 3)}


def remove(request: dict[str, Any]) -> dict[str, Any]:
    """Remove the namespaces that `install` made.

    Args:
        request: `{"mode": "remove", "state": FILE}`.
    """
    state = Path(request["state"])
    there = [name for name in recorded(state).get("namespaces", []) if (NAMESPACES / name).exists()]
    batch(f"netns delete {name}" for name in there)
    state.unlink(missing_ok=True)
    return {"namespaces": len(there)}


def recorded(state: Path) -> dict[str, Any]:
    """Return what `install` remembers; nothing when it has made nothing."""
    return json.loads(state.read_text()) if state.exists() else {}


def everywhere(spaces: dict[str, dict[str, Any]], act: Callable[[dict[str, Any]], None]) -> None:
    """Act in every namespace, as many at a time as there are processors; threads are in different namespaces."""

    def one(item: tuple[str, dict[str, Any]]) -> None:
        enter(item[0])
        act(item[1])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(one, spaces.items()))


def sysctl(values: dict[str, int]) -> None:
    """Set the kernel's parameters of the namespace that the thread is in."""
    for key, value in values.items():
        Path("/proc/sys", *key.split(".")).write_text(f"{value}\n")


def fill(space: dict[str, Any]) -> None:
    """Give the namespace that the thread is in its addresses, routes and filter."""
    batch(space["ip"])
    if space["nft"]:
        tool(["nft", "-f", "-"], space["nft"])


def batch(lines: Iterable[str]) -> None:
    """Have `ip` do something line by line, in one process."""
    tool(["ip", "-batch", "-"], "".join(f"{line}\n" for line in lines))


def tool(words: list[str], text: str) -> None:
    """Run a tool that reads a text.

    Raises:
        RuntimeError: it failed; its last words are in the message.
    """
    result = subprocess.run(words, input=text, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{' '.join(words)}: {' '.join(result.stderr.strip().splitlines()[-2:])}")


# --- request and answer


def read_line(descriptor: int) -> bytes:
    """Return the first line; what follows stays unread as far as it came later."""
    parts = []
    while part := os.read(descriptor, 1 << 20):
        parts.append(part)
        if b"\n" in part:
            break
    return b"".join(parts)


def main() -> None:
    """Read a request, do it, print the answer."""
    text = Path(sys.argv[1]).read_bytes() if len(sys.argv) > 1 else read_line(0)
    request = json.loads(text)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    modes: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        "probe": lambda r: Probe(r).run(),
        "watch": lambda r: Watch(r).run(),
        "install": install,
        "remove": remove,
    }
    print(json.dumps(modes[request.get("mode", "probe")](request)), flush=True)


if __name__ == "__main__":
    main()
