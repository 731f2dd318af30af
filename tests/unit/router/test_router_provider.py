"""The provider with routers in memory: what each verb of Pulumi does to a router and to its record."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from pulumi.provider.experimental import provider as sdk
from pulumi.provider.experimental.property_value import PropertyValue
from pulumi.provider.experimental.provider import PropertyDiffKind as Kind
from pulumi.runtime.rpc import UNKNOWN

from infra.errors import ToolError
from infra.providers.router.files import normal_frr
from infra.providers.router.inputs import plain
from infra.providers.router.provider import RouterProvider, UnhealthyError
from tests.unit.router.fleet import DAY0_FILTER, Fleet, Router

URN = "urn:pulumi:network.lab::tinh::tinh:network:RouterConfig::core1"
FRR = "hostname core1\nrouter bgp 65001\n"
NFT = "flush ruleset\ntable inet filter {\n}\n"


def values(**more):
    def value(item):
        if isinstance(item, PropertyValue):
            return item
        if isinstance(item, dict):
            return PropertyValue({name: value(inner) for name, inner in item.items()})
        return PropertyValue(float(item) if isinstance(item, int) and not isinstance(item, bool) else item)

    return {name: value(item) for name, item in more.items()}


def inputs(**more):
    return values(
        **{"host": "core1", "files": {"frr.conf": FRR, "nftables.conf": NFT}, "confirmSeconds": 30} | more
    )


class Stand:
    """One router, its resource, and Pulumi's verbs."""

    def __init__(self):
        self.router = Router()
        self.fleet = Fleet(core1=self.router)
        self.sites = []
        self.provider = RouterProvider(self._routers)
        self.state = {}

    def _routers(self, site):
        self.sites.append(site)
        return self.fleet

    def check(self, **more):
        answer = asyncio.run(self.provider.check(sdk.CheckRequest(URN, {}, inputs(**more), b"")))
        assert all(failure.property == "" for failure in answer.failures)
        return dict(failure.reason.split(" ", 1) for failure in answer.failures)

    def create(self, *, preview=False, **more):
        request = sdk.CreateRequest(URN, inputs(**more), 0, preview)
        answer = asyncio.run(self.provider.create(request))
        if not preview:
            self.state = answer.properties
        return answer

    def diff(self, **more):
        answer = asyncio.run(
            self.provider.diff(sdk.DiffRequest(URN, "core1", self.state, inputs(**more), []))
        )
        assert answer.changes == bool(answer.detailed_diff)
        return {path: found.kind for path, found in answer.detailed_diff.items()}

    def update(self, *, preview=False, **more):
        request = sdk.UpdateRequest(URN, "core1", self.state, inputs(**more), 0, [], preview)
        answer = asyncio.run(self.provider.update(request))
        if not preview:
            self.state = answer.properties
        return answer

    def refresh(self):
        given = {name: self.state[name] for name in ("host", "files", "confirmSeconds")}
        answer = asyncio.run(self.provider.read(sdk.ReadRequest(URN, "core1", self.state, given)))
        self.state = answer.properties
        return answer

    def delete(self):
        asyncio.run(self.provider.delete(sdk.DeleteRequest(URN, "core1", self.state, 0)))


@pytest.fixture
def stand():
    return Stand()


@pytest.fixture
def made(stand):
    stand.create()
    return stand


@pytest.mark.parametrize(
    ("given", "path", "reason"),
    [
        ({"host": ""}, "host", "is missing"),
        ({"host": "core 1; reboot"}, "host", "neither a name nor an address"),
        ({"files": {}}, "files", "is empty"),
        ({"files": "text"}, "files", "is empty"),
        ({"files": {"frr.conf": ""}}, 'files["frr.conf"]', "is empty"),
        ({"files": {"frr.conf": " \n"}}, 'files["frr.conf"]', "is empty"),
        ({"files": {"frr.conf": 7}}, 'files["frr.conf"]', "is empty"),
        ({"files": {"frr.conf": "hostname a"}}, 'files["frr.conf"]', "line break"),
        (
            {"files": {"passwd": "x\n"}},
            'files["passwd"]',
            "is unknown; known: sysctl.conf, tinh-vlan.service",
        ),
        ({"files": {"nftables.conf": "table inet a {\n}\n"}}, 'files["nftables.conf"]', "flush ruleset"),
        ({"confirmSeconds": 0}, "confirmSeconds", "0 is not a whole number from 10 to 600"),
        ({"confirmSeconds": -5}, "confirmSeconds", "-5 is not"),
        ({"confirmSeconds": 601}, "confirmSeconds", "601 is not"),
        ({"confirmSeconds": PropertyValue(10.5)}, "confirmSeconds", "10.5 is not"),
        ({"confirmSeconds": True}, "confirmSeconds", "True is not"),
        ({"confirmSeconds": "30"}, "confirmSeconds", "'30' is not"),
        ({"colour": "red"}, "colour", "is unknown"),
    ],
)
def test_bad_input_is_refused_with_its_path(stand, given, path, reason):
    found = stand.check(**given)
    assert list(found) == [path]
    assert reason in found[path]


def test_good_input_and_what_a_preview_cannot_know_are_accepted(stand):
    assert stand.check() == {}
    assert stand.check(host="2001:db8::1") == {}
    assert stand.check(host=UNKNOWN, files={"frr.conf": UNKNOWN}, confirmSeconds=UNKNOWN) == {}
    assert stand.check(files=UNKNOWN) == {}
    assert stand.sites == []


def test_the_confirm_time_has_a_default(stand):
    given = inputs()
    del given["confirmSeconds"]
    answer = asyncio.run(stand.provider.check(sdk.CheckRequest(URN, {}, given, b"")))
    assert plain(answer.inputs["confirmSeconds"]) == 60
    assert not answer.failures


def test_create_takes_over_and_records_what_runs(stand):
    answer = stand.create()
    assert stand.sites == ["lab"]
    assert answer.resource_id == "core1"
    assert stand.router.files == {"frr.conf": FRR, "nftables.conf": NFT}
    assert plain(stand.state["running"])["frr.conf"] == normal_frr("running " + FRR)
    assert plain(stand.state["drift"]) == {}
    assert len(plain(stand.state["digests"])["frr.conf"]) == 64
    assert stand.diff() == {}


def test_preview_touches_no_router(stand):
    stand.create(preview=True)
    assert stand.fleet.calls == []
    stand.create()
    before = list(stand.fleet.calls)
    stand.update(preview=True, files={"frr.conf": FRR + "!\n"})
    stand.diff(files={"frr.conf": FRR + "!\n"})
    assert stand.fleet.calls == before


def test_diff_names_each_file(made):
    changed = {"frr.conf": FRR + "! more\n", "dnsmasq.conf": "port=0\n"}
    assert made.diff(files=changed, confirmSeconds=40) == {
        "confirmSeconds": Kind.UPDATE,
        'files["frr.conf"]': Kind.UPDATE,
        'files["dnsmasq.conf"]': Kind.ADD,
        'files["nftables.conf"]': Kind.DELETE,
    }
    assert made.diff(host="core2") == {"host": Kind.UPDATE_REPLACE}


def test_a_file_that_becomes_secret_is_a_change_and_stays_secret(made):
    secret = {"frr.conf": PropertyValue(FRR, True), "nftables.conf": NFT}
    assert made.diff(files=secret) == {'files["frr.conf"]': Kind.UPDATE}
    made.update(files=secret)
    made.router.running["frr.conf"] = "password 1\n"
    made.refresh()
    for key in ("files", "running", "drift"):
        assert made.state[key].value["frr.conf"].is_secret
    assert not made.state["files"].value["nftables.conf"].is_secret
    assert made.diff(files=secret) == {'drift["frr.conf"]': Kind.DELETE}


def test_update_loads_only_what_differs(made):
    made.router.loads = 0
    made.update(files={"frr.conf": FRR + "! more\n", "nftables.conf": NFT})
    assert made.router.loads == 1
    assert made.router.files["frr.conf"].endswith("! more\n")


def test_a_file_that_is_left_out_is_given_back(made):
    made.update(files={"frr.conf": FRR})
    assert made.router.files["nftables.conf"] == DAY0_FILTER
    assert set(plain(made.state["files"])) == {"frr.conf"}


@pytest.mark.parametrize("text", ["bad\n", "cut\n"])
def test_what_is_not_valid_or_cuts_management_off_leaves_router_and_record_alone(made, text):
    before = dict(made.state)
    with pytest.raises(ToolError, match=r"nothing was changed|undoes itself within 30 s"):
        made.update(files={"frr.conf": text, "nftables.conf": NFT})
    assert made.router.files["frr.conf"] == FRR
    assert made.state == before


def test_create_that_fails_records_nothing(stand):
    with pytest.raises(ToolError):
        stand.create(files={"frr.conf": "bad\n"})
    assert stand.state == {}
    assert stand.router.files["frr.conf"] == "! day 0\n"


def test_refresh_without_hand_edits_sees_nothing(made):
    before = dict(made.state)
    made.refresh()
    assert made.state == before
    assert made.diff() == {}


def test_a_hand_edit_of_a_file_is_seen_and_repaired(made):
    made.router.files["frr.conf"] = FRR + " neighbor 10.9.9.9 remote-as 1\n"
    answer = made.refresh()
    assert plain(answer.inputs["files"])["frr.conf"].endswith("remote-as 1\n")
    assert made.diff() == {'files["frr.conf"]': Kind.UPDATE}
    made.update()
    assert made.router.files["frr.conf"] == FRR
    assert made.diff() == {}


def test_a_file_that_was_removed_by_hand_comes_back(made):
    del made.router.files["nftables.conf"]
    made.refresh()
    assert made.diff() == {'files["nftables.conf"]': Kind.ADD}
    made.update()
    assert made.router.files["nftables.conf"] == NFT


@pytest.mark.parametrize("name", ["frr.conf", "nftables.conf"])
def test_a_hand_edit_at_run_time_is_seen_line_by_line_and_repaired(made, name):
    right = made.router.running[name]
    made.router.running[name] = right + " by hand\n"
    made.refresh()
    drift = plain(made.state["drift"])
    assert list(drift) == [name]
    assert "+ by hand" in drift[name]
    assert made.diff() == {f'drift["{name}"]': Kind.DELETE}
    made.refresh()
    assert plain(made.state["drift"]) == drift
    made.update()
    assert made.router.running[name] == right
    assert made.diff() == {}


def test_drift_that_goes_by_itself_is_no_change_any_more(made):
    right = made.router.running["frr.conf"]
    made.router.running["frr.conf"] = "not running: frr is stopped\n"
    made.refresh()
    assert made.diff()
    made.router.running["frr.conf"] = right
    made.refresh()
    assert made.diff() == {}


def test_an_unreachable_router_keeps_its_record(made):
    made.router.reachable = False
    before = dict(made.state)
    with pytest.raises(UnhealthyError, match="core1 does not answer") as caught:
        made.refresh()
    assert caught.value.read.resource_id == "core1"
    assert caught.value.read.properties == before
    with pytest.raises(ToolError, match="does not answer"):
        made.update(files={"frr.conf": FRR + "!\n"})


def test_delete_gives_back_day_0_and_is_undone_when_it_cuts_management_off(made):
    made.router.day0["frr.conf"] = "cut\n"
    with pytest.raises(ToolError, match="undoes itself"):
        made.delete()
    assert made.router.files["frr.conf"] == FRR
    made.router.day0["frr.conf"] = "! day 0\n"
    made.delete()
    assert made.router.files == {"frr.conf": "! day 0\n", "nftables.conf": DAY0_FILTER}


def test_import_reads_the_known_files_that_are_there(stand):
    stand.router.running = {"frr.conf": "running\n"}
    answer = asyncio.run(stand.provider.read(sdk.ReadRequest(URN, "core1", {}, {})))
    assert answer.resource_id == "core1"
    assert plain(answer.inputs["host"]) == "core1"
    assert plain(answer.inputs["files"]) == {"frr.conf": "! day 0\n", "nftables.conf": DAY0_FILTER}
    assert plain(answer.properties["drift"]) == {}
    stand.state = answer.properties
    assert stand.diff(files={"frr.conf": "! day 0\n", "nftables.conf": DAY0_FILTER}, confirmSeconds=60) == {}
    stand.fleet.routers.clear()
    with pytest.raises(ToolError, match="does not answer"):
        asyncio.run(stand.provider.read(sdk.ReadRequest(URN, "core1", {}, {})))


def test_routers_are_worked_on_side_by_side():
    class Slow(Fleet):
        def apply(self, host, texts, *, force, seconds):
            barrier.wait(5)
            return super().apply(host, texts, force=force, seconds=seconds)

    barrier = threading.Barrier(16)
    fleet = Slow(**{f"r{n}": Router() for n in range(16)})
    provider = RouterProvider(lambda site: fleet)

    async def all_at_once():
        requests = [sdk.CreateRequest(URN, inputs(host=host), 0, False) for host in fleet.routers]
        return await asyncio.gather(*(provider.create(request) for request in requests))

    assert len(asyncio.run(all_at_once())) == 16


def test_the_installed_plugin_starts_and_says_its_port():
    plugin = Path(sys.executable).parent / "pulumi-resource-tinh"
    with subprocess.Popen([plugin, "127.0.0.1:1"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) > 0
        process.terminate()
    assert subprocess.run([plugin], capture_output=True, check=False).returncode == 1
