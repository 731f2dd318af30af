"""Probes: what is asked and what it means; the agent against real filters between two network namespaces."""

import ast
import os
import shutil
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.address.plan import plan_at
from infra.errors import ToolError
from infra.model.province import load_record
from infra.model.zone import Service
from infra.network.fabric import Fabric
from infra.network.mapping import Mapping
from lab.outside import agent, probe
from lab.outside.probe import Flow, Place, Watch, check, matrix_flows, probe_request, watch_request

COMMAND = (sys.executable,)
SERVICES = {
    "https": Service(protocol="tcp", ports=(443, 8443)),
    "ssh": Service(protocol="tcp", ports=(22,)),
    "dns": Service(protocol="udp", ports=(53,)),
    "ntp": Service(protocol="udp", ports=(123,)),
    "ping": Service(protocol="icmp"),
}
DROPPED = ("https", "dns")
FILTER = """table inet test { chain input { type filter hook input priority filter; policy accept;
tcp dport 443 drop
udp dport 53 drop
}
}
"""


def namespaces_work() -> bool:
    """Whether this machine lets us make network namespaces and filters in them."""
    if os.geteuid() or not (shutil.which("ip") and shutil.which("nft")):
        return False
    key = f"tinh-t{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", key], capture_output=True, check=False).returncode:
        return False
    words = ["ip", "netns", "exec", key, "nft", "list", "ruleset"]
    works = subprocess.run(words, capture_output=True, check=False).returncode == 0
    subprocess.run(["ip", "netns", "delete", key], check=True)
    return works


needs = pytest.mark.skipif(not namespaces_work(), reason="needs root, network namespaces and nft")


@pytest.fixture
def policy(state: Path):
    return Fabric(plan_at(load_record("lab")), Mapping.LAB).policy


def test_every_pair_service_and_family_is_a_flow_as_the_policy_has_it(policy):
    flows = matrix_flows(policy, policy.endpoints)
    count = Counter("allowed" if flow.allowed else "forbidden" for flow in flows)
    assert dict(count) == policy.count()
    assert len({(*flow.data(),) for flow in flows}) == len(flows)
    assert Flow("99801 government", "dc servers", "https", "ipv6", True) in flows
    assert Flow("99801 government", "99802 government", "https", "ipv4", False) in flows
    assert Flow("99801 voice-video", "99802 voice-video", "rtsp", "ipv4", True) in flows


def test_sources_targets_and_services_can_be_chosen(policy):
    one, two = policy.by_purpose["government"][:2]
    flows = matrix_flows(policy, [one], [one, two], ["dns"])
    assert [flow.data() for flow in flows] == [
        [probe.lan_name(one), probe.lan_name(two), "dns", family] for family in ("ipv6", "ipv4")
    ]


def test_what_is_wrong_is_said_in_a_line():
    flows = [
        Flow("1 government", "dc databases", "postgresql", "ipv6", False),
        Flow("1 government", "dc servers", "https", "ipv4", True),
        Flow("1 government", "dc servers", "dns", "ipv4", True),
        Flow("1 government", "2 government", "https", "ipv4", False),
        Flow("1 government", "2 voice-video", "https", "ipv4", False),
    ]
    assert probe.wrong(flows, [0, 2], {4: "ENETUNREACH"}) == [
        "1 government -> dc databases postgresql ipv6: passed, must not",
        "1 government -> dc servers https ipv4: did not pass, must",
        "1 government -> 2 voice-video https ipv4: not sent, ENETUNREACH",
    ]


def test_what_should_pass_is_tried_again_and_what_should_not_is_not():
    flows = [Flow("a", "b", service, "ipv4", service != "ssh") for service in ("https", "dns", "ssh")]
    asked = []

    def ask(some):
        asked.append([flow.service for flow in some])
        passed = [0, 2] if len(asked) == 1 else [0]
        return {"passed": passed, "refused": [], "unsent": [], "seconds": 1.0}

    outcome = check(flows, ask)
    assert asked == [["https", "dns", "ssh"], ["dns"]]
    assert outcome.wrong == ("a -> b ssh ipv4: passed, must not",)
    assert (outcome.allowed, outcome.forbidden, outcome.again) == (2, 1, 1)


def test_a_request_names_only_what_its_flows_need():
    places = {key: Place(key, "eth", "192.0.2.1", "2001:db8::1") for key in "abc"}
    request = probe_request([Flow("a", "b", "dns", "ipv4", True)], places, SERVICES)
    assert set(request["endpoints"]) == {"a", "b"}
    assert request["services"] == {"dns": {"protocol": "udp", "ports": (53,)}}
    assert request["flows"] == [["a", "b", "dns", "ipv4"]]


def test_the_agent_needs_the_standard_library_only_and_fits_an_argument():
    tree = ast.parse(probe.agent())
    found = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    found |= {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    assert {module.split(".")[0] for module in found} <= sys.stdlib_module_names
    assert len(probe.agent().encode()) < 128 * 1024  # MAX_ARG_STRLEN (linux/binfmts.h)


@pytest.mark.parametrize(
    ("answered", "expected"),
    [
        ([1, 1, 1, 1, 1], []),
        ([1, 0, 0, 1, 1], [(0.0, 2.0)]),
        ([0, 0, 1, 1, 1], [(0.0, 2.0)]),
        ([1, 1, 1, 0, 0], [(2.0, 2.0)]),
        ([1, 0, 1, 0, 1], [(0.0, 1.0), (2.0, 1.0)]),
        ([0, 0, 0, 0, 0], [(0.0, 4.0)]),
        ([], []),
    ],
)
def test_outages_are_what_lies_between_answers(answered, expected):
    assert list(agent.outages([0.0, 1.0, 2.0, 3.0, 4.0][: len(answered)], answered, 1.0)) == expected


def test_a_late_sender_is_no_outage():
    assert list(agent.outages([0.0, 1.0, 9.0], [1, 1, 1], 1.0)) == []


def test_icmp_messages_have_the_checksum_of_their_content():
    message = agent.echo("ipv4", 8, b"tinh!!", 7, 1)
    assert agent.checksum(message) == 0
    assert struct.unpack_from("!BBHHH", message)[0::3] == (8, 7)
    assert agent.icmp_body("ipv4", b"\x46" + bytes(23) + message) == message


# --- in namespaces


def ip(*words: str) -> None:
    result = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert result.returncode == 0, (words, result.stderr)


@pytest.fixture
def places() -> Iterator[dict[str, Place]]:
    """Two namespaces joined by a veth pair; the target's filter drops some services."""
    keys = {role: f"tinh-t{os.getpid()}-{role}" for role in ("source", "target")}
    found = {
        "source": Place(keys["source"], "lan", "192.0.2.1", "2001:db8::1"),
        "target": Place(keys["target"], "lan", "192.0.2.2", "2001:db8::2"),
        "machine": Place(None, "", "192.0.2.2", "2001:db8::2"),
        "nowhere": Place(None, "", "198.51.100.1", "2001:db8:1::1"),
    }
    try:
        for key in keys.values():
            ip("netns", "add", key)
            # an address stays when the device goes down, as on a real router
            words = [
                "sysctl",
                "-qw",
                "net.ipv6.conf.all.keep_addr_on_down=1",
                "net.ipv6.conf.default.accept_dad=0",
            ]
            subprocess.run(["ip", "netns", "exec", key, *words], check=True)
        ip(
            "-n",
            keys["source"],
            "link",
            "add",
            "lan",
            "type",
            "veth",
            "peer",
            "name",
            "lan",
            "netns",
            keys["target"],
        )
        for role, key in keys.items():
            ip("-n", key, "link", "set", "lan", "up")
            ip("-n", key, "address", "add", f"{found[role].ipv4}/24", "dev", "lan")
            ip("-n", key, "address", "add", f"{found[role].ipv6}/64", "dev", "lan", "nodad")
        subprocess.run(
            ["ip", "netns", "exec", keys["target"], "nft", "-f", "-"], input=FILTER, text=True, check=True
        )
        yield found
    finally:
        for key in keys.values():
            subprocess.run(["ip", "netns", "delete", key], capture_output=True, check=False)


def flows_to(target: str, services=tuple(SERVICES)) -> list[Flow]:
    return [
        Flow("source", target, service, family, service not in DROPPED)
        for service in services
        for family in ("ipv6", "ipv4")
    ]


@needs
def test_the_agent_tells_what_passes_from_what_is_dropped(places):
    outcome = probe.probe(COMMAND, flows_to("target"), places, SERVICES, wait=1.2)
    assert outcome.wrong == ()
    assert (outcome.allowed, outcome.forbidden) == (6, 4)
    assert 1.2 <= outcome.seconds < 10


@needs
def test_a_filter_that_is_wrong_is_noticed(places):
    flows = [Flow(f.source, f.target, f.service, f.family, not f.allowed) for f in flows_to("target")]
    outcome = probe.probe(COMMAND, flows, places, SERVICES, wait=1.2)
    assert len(outcome.wrong) == len(flows)
    assert "source -> target ssh ipv6: passed, must not" in outcome.wrong
    assert "source -> target dns ipv4: did not pass, must" in outcome.wrong


@needs
def test_who_refuses_was_reached_and_what_was_not_sent_is_told(places):
    flows = [*flows_to("machine", ["ssh"]), *flows_to("nowhere", ["ssh", "ntp", "ping"])]
    answer = probe.run(COMMAND, probe_request(flows, places, SERVICES, wait=1.0))
    assert answer["refused"] == [0, 1]
    assert answer["passed"] == []
    # in IPv4 the kernel takes what it has no route to for a neighbour of the device that a socket is bound to
    assert answer["unsent"] == [[index, "ENETUNREACH"] for index in (2, 4, 6)]


@needs
def test_a_source_keeps_to_its_pace(places):
    flows = flows_to("target", ["ntp"]) * 20
    answer = probe.run(COMMAND, probe_request(flows, places, SERVICES, rate=40))
    assert len(answer["passed"]) == 40
    # 20 flows of each family, two packets each, 40 packets a second
    assert 0.9 < answer["seconds"] < 5


@needs
def test_more_connections_than_descriptors_are_probed_in_turn(places):
    flows = flows_to("target", ["https"]) * 150 + flows_to("target", ["ssh"])
    limited = ["/bin/sh", "-c", 'ulimit -n 600; exec "$@"', "sh", *COMMAND]
    answer = probe.run(limited, probe_request(flows, places, SERVICES, wait=0.2, rate=10_000))
    assert answer["passed"] == [300, 301]


@needs
def test_watching_sees_a_link_that_goes_down(places):
    flows = [("source", "target", "udp", family) for family in ("ipv6", "ipv4")]
    with Watch(COMMAND, watch_request(flows, places, 60)) as watch:
        time.sleep(0.5)
        ip("-n", places["source"].netns, "link", "set", "lan", "down")
        time.sleep(0.3)
        ip("-n", places["source"].netns, "link", "set", "lan", "up")
        time.sleep(1.5)
        report = watch.stop()
    assert 2 < report["seconds"] < 20
    for flow in report["flows"]:
        assert flow["sent"] > flow["answered"] > 0
        assert len(flow["outages"]) == 1
        at, length = flow["outages"][0]
        assert 0.2 < at < 3
        assert 0.25 < length == flow["longest"] < 2


@needs
def test_watching_ends_by_itself_and_by_a_signal(places):
    flows = [("source", "target", "ntp", "ipv4"), ("source", "target", "dns", "ipv4")]
    report = probe.run(COMMAND, watch_request(flows, places, 0.5, services=SERVICES))
    through, dropped = report["flows"]
    assert through["answered"] == through["sent"] > 10
    assert through["outages"] == []
    assert dropped["answered"] == 0
    assert dropped["longest"] > 0.4
    watch = Watch(COMMAND, watch_request(flows, places, 60, services=SERVICES))
    watch._process.terminate()
    assert watch.stop()["seconds"] < 30


@needs
def test_a_failure_is_said_with_the_last_words(places):
    bad = places | {"source": Place("tinh-not-there", "lan", "192.0.2.1", "2001:db8::1")}
    with pytest.raises(ToolError, match="tinh-not-there"):
        probe.run(COMMAND, probe_request(flows_to("target"), bad, SERVICES))
    with pytest.raises(ToolError, match="No such device"):
        Watch(COMMAND, watch_request([("source", "target", "udp", "ipv4")], places | {
            "target": Place(places["target"].netns, "wan", "192.0.2.2", "2001:db8::2")}, 1))  # fmt: skip
    with pytest.raises(ToolError, match="FileNotFoundError"):
        probe.run(["tinh-no-such-tool"], {})
