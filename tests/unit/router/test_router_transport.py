"""The way to a router by ansible-runner: the real playbook, role and agent, on a stand-in on this machine."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from infra.ansible import Failure, PlayError
from infra.errors import ToolError
from infra.providers.router.transport import AnsibleRouters, UnreachableError
from tests.unit.router import daemons

FRR = "hostname {{ core1 }} {% raw\n! 'quoted\" Quảng Bình\n"
NFT = "flush ruleset\ntable inet filter {\n}\n"


@pytest.fixture
def routers(tmp_path, monkeypatch):
    environment = daemons.install(tmp_path / "router")
    for name in ("TINH_ROOT", "PATH"):
        monkeypatch.setenv(name, environment[name])
    return AnsibleRouters(
        ssh=tmp_path / "config", log=tmp_path / "log", variables={"ansible_connection": "local"}
    )


@pytest.mark.slow
def test_apply_confirm_and_read(routers, tmp_path):
    # From a thread, as the provider does: nothing is forked there, and no signal handler set.
    with ThreadPoolExecutor(1) as pool:
        texts = {"frr.conf": FRR, "nftables.conf": NFT}
        seen = pool.submit(routers.apply, "core1", texts, force=[], seconds=30).result()
        assert seen.files == texts
        assert seen.running["frr.conf"] == FRR
        assert not (tmp_path / "router/var/lib/tinh/router/pending.json").exists()
        assert (tmp_path / "router/etc/frr/frr.conf").read_text() == FRR

        assert pool.submit(routers.read, "core1", ["frr.conf", "dnsmasq.conf"]).result().files == {
            "frr.conf": FRR,
            "dnsmasq.conf": None,
        }
        failed = pool.submit(routers.apply, "core1", {"frr.conf": "bad\n"}, force=[], seconds=30)
        with pytest.raises(
            ToolError, match=r"router core1: frr.conf is not valid, nothing was changed:\n1:bad"
        ):
            failed.result()
    assert "Quảng" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("task", "message", "unreachable", "seconds", "error", "words"),
    [
        ("show", "ssh: connect to host a port 22: timed out", True, 0, UnreachableError, "does not answer"),
        ("show", "Timeout, server not responding", True, 0, UnreachableError, "was left alone"),
        ("apply", "ssh: connect to host a port 22: No route", True, 30, UnreachableError, "was left alone"),
        ("apply", "Timeout, server not responding", True, 30, ToolError, "undoes itself within 30 s"),
        ("confirm", "ssh: connect to host a port 22: timed out", True, 30, ToolError, "undoes itself within 30 s"),
        ("confirm", "the confirmation came too late", False, 30, ToolError, "came too late"),
        ("apply", "nothing was changed", False, 30, ToolError, "router core1: nothing was changed"),
    ],
)  # fmt: skip
def test_a_failure_says_what_it_means_for_the_router(
    routers, monkeypatch, task, message, unreachable, seconds, error, words
):
    def play(*_, **__):
        raise PlayError(
            "all", [Failure("core1", f"router_config : {task}", message, unreachable)], where="", fix=""
        )

    monkeypatch.setattr("infra.ansible.play", play)
    with pytest.raises(ToolError, match=words) as caught:
        if seconds:
            routers.apply("core1", {"frr.conf": FRR}, force=[], seconds=seconds)
        else:
            routers.read("core1", ["frr.conf"])
    assert type(caught.value) is error


def test_a_run_without_a_named_failure_is_an_error_too(routers, monkeypatch):
    def play(*_, **__):
        raise PlayError("ansible ended with failed", [], where="playbooks", fix="look")

    monkeypatch.setattr("infra.ansible.play", play)
    with pytest.raises(ToolError, match="router core1: ansible ended with failed"):
        routers.read("core1", ["frr.conf"])
