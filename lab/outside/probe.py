"""Which flows should pass, which ones did: requests to `lab/outside/agent.py` and what its answers mean.

Everything is pure but `run` and `Watch`, which start the agent in a machine.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from infra.errors import ToolError
from infra.model.zone import Service
from infra.network.policy import Endpoint, Policy

FAMILIES = ("ipv6", "ipv4")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the hosts of a LAN are.

    Args:
        netns: network namespace that plays them; None: a real machine, which can only be a target.
        device: in the namespace.
        ipv4: address.
        ipv6: address.
    """

    netns: str | None
    device: str
    ipv4: str
    ipv6: str


@dataclass(frozen=True, slots=True)
class Flow:
    """A flow that is probed.

    Args:
        source: name of a LAN (`lan_name`).
        target: the same.
        service: of the zone plan.
        family: `ipv4` or `ipv6`.
        allowed: whether the policy lets it pass.
    """

    source: str
    target: str
    service: str
    family: str
    allowed: bool

    def __str__(self) -> str:
        """Return it as people read it."""
        return f"{self.source} -> {self.target} {self.service} {self.family}"

    def data(self) -> list[str]:
        """Return it as the agent takes it."""
        return [self.source, self.target, self.service, self.family]


@dataclass(frozen=True)
class Outcome:
    """What came of probes.

    Args:
        wrong: one line for each flow that is not as the policy has it.
        allowed: flows that should pass.
        forbidden: flows that should not.
        again: flows that passed only when they were tried a second time.
        seconds: what the first round took.
    """

    wrong: tuple[str, ...]
    allowed: int
    forbidden: int
    again: int
    seconds: float


def lan_name(endpoint: Endpoint) -> str:
    """Return the name of a LAN: `99801 government`."""
    return f"{endpoint.unit} {endpoint.purpose}"


def matrix_flows(
    policy: Policy,
    sources: Iterable[Endpoint],
    targets: Iterable[Endpoint] | None = None,
    services: Collection[str] | None = None,
) -> list[Flow]:
    """Return every flow from LANs to other LANs, with what the policy says of it.

    Args:
        policy: of the province.
        sources: from which LANs.
        targets: to which; none: to the same ones.
        services: by which services; none: by all of the zone plan.
    """
    sources = tuple(sources)
    targets = sources if targets is None else tuple(targets)
    names = tuple(policy.network.zoning.services) if services is None else tuple(services)
    return [
        Flow(lan_name(source), lan_name(target), service, family, allowed)
        for source in sources
        for target in targets
        if source != target
        for service in names
        for allowed in [policy.allowed(source, target, service)]
        for family in FAMILIES
    ]


def probe_request(
    flows: Sequence[Flow],
    places: Mapping[str, Place],
    services: Mapping[str, Service],
    *,
    wait: float = 2.0,
    rate: float = 150,
) -> dict[str, Any]:
    """Return the request that probes flows.

    Args:
        flows: what is probed.
        places: name of a LAN -> where its hosts are.
        services: of the zone plan.
        wait: seconds until a flow without an answer has not passed.
        rate: packets a second of one source address, below what routers let one source begin.
    """
    ends = dict.fromkeys(end for flow in flows for end in (flow.source, flow.target))
    return {
        "mode": "probe",
        "endpoints": {end: asdict(places[end]) for end in ends},
        "services": {
            each: {"protocol": services[each].protocol, "ports": services[each].ports}
            for each in dict.fromkeys(flow.service for flow in flows)
        },
        "flows": [flow.data() for flow in flows],
        "wait": wait,
        "rate": rate,
    }


def watch_request(
    flows: Sequence[tuple[str, str, str, str]],
    places: Mapping[str, Place],
    seconds: float,
    *,
    interval: float = 0.01,
    port: int = 9,
    services: Mapping[str, Service] | None = None,
) -> dict[str, Any]:
    """Return the request that watches flows.

    Args:
        flows: (source, target, service, family); the service is `udp` or one of `services`.
        places: name of a LAN -> where its hosts are.
        seconds: after which it ends by itself.
        interval: seconds between two datagrams of a flow.
        port: of the service `udp`.
        services: of the zone plan.
    """
    ends = dict.fromkeys(end for flow in flows for end in flow[:2])
    return {
        "mode": "watch",
        "endpoints": {end: asdict(places[end]) for end in ends},
        "services": {
            each: {"protocol": item.protocol, "ports": item.ports} for each, item in (services or {}).items()
        },
        "flows": [list(flow) for flow in flows],
        "interval": interval,
        "seconds": seconds,
        "port": port,
    }


def wrong(flows: Sequence[Flow], passed: Collection[int], unsent: Mapping[int, str]) -> list[str]:
    """Return one line for each flow that is not as the policy has it.

    Args:
        flows: what was probed.
        passed: indices of those that got an answer.
        unsent: index -> error of those that did not leave their source: nothing is known of them.
    """
    seen = set(passed)
    lines = []
    for index, flow in enumerate(flows):
        if index in unsent:
            lines.append(f"{flow}: not sent, {unsent[index]}")
        elif flow.allowed and index not in seen:
            lines.append(f"{flow}: did not pass, must")
        elif not flow.allowed and index in seen:
            lines.append(f"{flow}: passed, must not")
    return lines


def check(flows: Sequence[Flow], ask: Callable[[Sequence[Flow]], dict[str, Any]]) -> Outcome:
    """Probe flows and compare them with the policy.

    A busy machine may be slower than the agent waits, so what should pass is tried a second time; what must not pass
    has no such excuse.

    Args:
        flows: what is probed.
        ask: probes flows and returns the agent's answer.
    """
    answer = ask(flows)
    passed = {*answer["passed"], *answer["refused"]}
    unsent = dict(answer["unsent"])
    slow = [i for i, flow in enumerate(flows) if flow.allowed and i not in passed and i not in unsent]
    found: set[int] = set()
    if slow:
        second = ask([flows[index] for index in slow])
        found = {slow[index] for index in (*second["passed"], *second["refused"])}
    allowed = sum(flow.allowed for flow in flows)
    lines = tuple(wrong(flows, passed | found, unsent))
    return Outcome(lines, allowed, len(flows) - allowed, len(found), answer["seconds"])


@cache
def agent() -> str:
    """Return the agent's text."""
    return Path(__file__).with_name("agent.py").read_text("utf-8")


def words(command: Sequence[str]) -> list[str]:
    """Return the command line that starts the agent; the request goes to its standard input."""
    return [*command, "-I", "-c", agent()]


def run(command: Sequence[str], request: dict[str, Any], *, timeout: float = 600) -> dict[str, Any]:
    """Have the agent do something and return its answer.

    Args:
        command: what starts Python 3.11 as root in the machine and passes standard input on:
            `["podman", "exec", "-i", NAME, "python3"]`.
        request: see the agent.
        timeout: seconds.

    Raises:
        ToolError: the agent or what starts it failed, or it took too long.
    """
    try:
        result = subprocess.run(
            words(command), input=json.dumps(request) + "\n", capture_output=True, text=True,
            timeout=timeout, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _failed(command, type(error).__name__) from None
    if result.returncode:
        raise _failed(command, _last(result.stderr))
    return _answer(command, result.stdout, result.stderr)


def probe(
    command: Sequence[str],
    flows: Sequence[Flow],
    places: Mapping[str, Place],
    services: Mapping[str, Service],
    *,
    wait: float = 2.0,
    rate: float = 150,
) -> Outcome:
    """Probe flows in a machine and compare them with the policy; see `run`, `probe_request` and `check`.

    Raises:
        ToolError: the agent failed.
    """
    return check(
        flows, lambda some: run(command, probe_request(some, places, services, wait=wait, rate=rate))
    )


class Watch:
    """Watches flows while the caller does something.

    ::

        with Watch(command, watch_request(...)) as watch:
            ...
            report = watch.stop()

    Args:
        command: see `run`.
        request: see `watch_request`.

    Raises:
        ToolError: the agent failed.
    """

    def __init__(self, command: Sequence[str], request: dict[str, Any]) -> None:
        self.command = command
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(words(command), stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        self._tell(json.dumps(request))
        assert self._process.stdout  # noqa: S101 - for the type checker: it is a pipe
        if "ready" not in self._process.stdout.readline():
            raise _failed(command, _last(self._end()[1]))

    def stop(self) -> dict[str, Any]:
        """End it and return the agent's answer; some of the last packets may still come in meanwhile.

        Raises:
            ToolError: the agent failed.
        """
        self._tell("stop")
        out, err = self._end()
        if self._process.returncode:
            raise _failed(self.command, _last(err))
        return _answer(self.command, out, err)

    def __enter__(self) -> Self:
        """Return it; it watches already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it, whatever happened."""
        if self._process.poll() is None:
            self._tell("stop")
            self._end()

    def _tell(self, line: str) -> None:
        assert self._process.stdin  # noqa: S101 - for the type checker: it is a pipe
        with suppress(BrokenPipeError):  # it has ended; why is said elsewhere
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()

    def _end(self) -> tuple[str, str]:
        """Wait for the end and return what it wrote."""
        process = self._process
        assert process.stdout and process.stderr and process.stdin  # noqa: S101 - for the type checker
        found = process.stdout.read(), process.stderr.read()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            stream.close()
        return found


def _answer(command: Sequence[str], out: str, err: str) -> dict[str, Any]:
    """Return the last line of what the agent wrote."""
    try:
        return json.loads(out.strip().splitlines()[-1])
    except (IndexError, ValueError):
        raise _failed(command, _last(err) or "no answer") from None


def _last(text: str) -> str:
    return " ".join(text.strip().splitlines()[-1:])


def _failed(command: Sequence[str], why: str) -> ToolError:
    return ToolError(
        f"the probe agent failed: {why or 'no message'}",
        where=f"{' '.join(command)} -c (lab/outside/agent.py)",
        fix="look at the message; `tinh lab status` shows which machines run",
    )
