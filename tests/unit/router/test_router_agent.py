"""The agent as it runs on a router, with stand-ins for FRR, nft and systemd."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time

import pytest

from infra import paths
from infra.providers.router.files import FILES
from infra.providers.router.transport import AGENT
from tests.unit.router import daemons

PROGRAM = paths.PLAYBOOKS / AGENT
FRR = "hostname core1\n"
NFT = "flush ruleset\ntable inet filter {\n}\n"


class Machine:
    """A router below a folder."""

    def __init__(self, root):
        self.root, self.environment = root, daemons.install(root)

    def agent(self, verb, **request):
        text = base64.b64encode(json.dumps(request).encode()).decode()
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM.read_text(), verb],
            input=text + "\n", env=self.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode in (0, 1), done.stderr
        assert "Traceback" not in done.stderr
        return json.loads(done.stdout) if done.returncode == 0 else done.stderr.strip()

    def apply(self, force=(), seconds=30, **texts):
        """Apply; names are given with underscores for dots."""
        texts = {name.replace("_", "."): text for name, text in texts.items()}
        files = {name: FILES[name].wire() for name in texts}
        return self.agent(
            "apply", files=files, texts=texts, force=list(force), seconds=seconds, agent=PROGRAM.read_text()
        )

    def change(self, **texts):
        """Apply and confirm."""
        answer = self.apply(**texts)
        assert self.agent("confirm", token=answer["token"]) == {}

    def show(self, *names):
        return self.agent("show", files={name: FILES[name].wire() for name in names})

    def text(self, path):
        file = self.root / path
        return file.read_text() if file.exists() else None

    def calls(self, start=""):
        return [line for line in (self.text("calls") or "").splitlines() if line.startswith(start)]

    @property
    def waiting(self):
        return (self.root / "var/lib/tinh/router/pending.json").exists()


@pytest.fixture
def machine(tmp_path):
    machine = Machine(tmp_path)
    yield machine
    if (tmp_path / "timer").exists():
        subprocess.run(
            ["systemctl", "stop", "tinh-router-rollback.timer"], env=machine.environment, check=False
        )


def test_a_change_is_validated_loaded_and_kept_once_confirmed(machine):
    answer = machine.apply(frr_conf=FRR, nftables_conf=NFT)
    assert answer["files"] == {"frr.conf": FRR, "nftables.conf": NFT}
    assert answer["running"] == {"frr.conf": FRR, "nftables.conf": NFT}
    assert machine.waiting
    assert (machine.root / "etc/frr/frr.conf").stat().st_mode & 0o777 == 0o640
    order = [call.split()[0] for call in machine.calls() if not call.startswith("systemctl")]
    assert order[:3] == ["vtysh", "nft", "systemd-run"], "the timer is armed after validation, before loading"
    assert machine.agent("confirm", token=answer["token"]) == {}
    assert not machine.waiting
    assert not list(machine.root.glob("etc/**/*.tinh-*"))


def test_nothing_to_do_touches_nothing(machine):
    machine.change(frr_conf=FRR)
    before = len(machine.calls())
    answer = machine.apply(frr_conf=FRR)
    assert answer["token"] == ""
    assert machine.calls()[before:] == ["vtysh -c show running-config"]


def test_only_what_differs_is_loaded(machine):
    machine.change(frr_conf=FRR, nftables_conf=NFT)
    before = len(machine.calls())
    machine.change(frr_conf=FRR + "!\n", nftables_conf=NFT)
    assert not [call for call in machine.calls()[before:] if call.startswith(("nft -f", "nft -c"))]


def test_daemons_and_their_configuration_are_loaded_by_one_reload(machine):
    machine.change(daemons="bgpd=yes\n", frr_conf=FRR)
    assert len(machine.calls("systemctl reload-or-restart frr")) == 1


@pytest.mark.parametrize("name", ["frr_conf", "nftables_conf"])
def test_an_invalid_text_changes_nothing_at_all(machine, name):
    texts = {"frr_conf": FRR, "nftables_conf": NFT} | {name: "good\nbad line\n"}
    message = machine.apply(**texts)
    assert "is not valid, nothing was changed" in message
    assert "2:bad line" in message
    assert machine.text("etc/frr/frr.conf") == "! day 0\n"
    assert machine.text("etc/nftables.conf") is None
    assert not machine.waiting
    assert not machine.calls("systemd-run")
    assert not list(machine.root.glob("etc/**/*.tinh-*"))


def test_what_is_not_installed_is_named(machine):
    (machine.root / "etc/chrony").mkdir()
    assert "chronyd is not installed" in machine.apply(chrony_conf="pool a\n")
    assert "there is no folder" in machine.apply(rsyslog_conf="*.* /dev/null\n")


def test_a_change_that_cannot_be_loaded_is_undone_at_once(machine):
    machine.change(frr_conf=FRR, nftables_conf=NFT)
    message = machine.apply(frr_conf=FRR + "! more\n", nftables_conf=NFT + "# unloadable\n")
    assert "cannot load" in message
    assert "the router is back at what it had before" in message
    assert machine.text("etc/frr/frr.conf") == machine.text("run/frr") == FRR
    assert machine.text("etc/nftables.conf") == machine.text("run/nft") == NFT
    assert not machine.waiting
    assert not (machine.root / "timer").exists() or machine.calls()[-2].endswith("rollback.timer")


def test_what_nobody_confirms_undoes_itself(machine):
    answer = machine.apply(frr_conf=FRR, nftables_conf=NFT, seconds=1)
    assert machine.text("run/frr") == FRR
    deadline = time.monotonic() + 20
    while machine.waiting and time.monotonic() < deadline:
        time.sleep(0.1)
    assert "came too late" in machine.agent("confirm", token=answer["token"])
    assert machine.text("etc/frr/frr.conf") == machine.text("run/frr") == "! day 0\n"
    assert machine.text("etc/nftables.conf") is None
    assert machine.text("run/nft") == ""


def test_confirming_with_another_token_keeps_nothing(machine):
    machine.apply(frr_conf=FRR)
    assert "came too late" in machine.agent("confirm", token="another")
    assert machine.waiting


def test_one_change_at_a_time(machine):
    machine.apply(frr_conf=FRR)
    message = machine.apply(frr_conf=FRR + "! other\n")
    assert "another change waits for its confirmation" in message
    assert machine.text("etc/frr/frr.conf") == FRR


def test_a_router_that_went_down_unconfirmed_starts_with_what_it_had_before(machine):
    machine.apply(frr_conf=FRR)
    assert any(
        call.endswith("tinh-router-rollback-boot.service") for call in machine.calls("systemctl enable")
    )
    assert "agent.py boot" in machine.text("etc/systemd/system/tinh-router-rollback-boot.service")
    before = len(machine.calls())
    machine.agent("boot")
    assert machine.text("etc/frr/frr.conf") == "! day 0\n"
    assert machine.calls()[before:] == [], "nothing is loaded before the daemons start"
    assert not machine.waiting


def test_day_0_comes_back_and_is_remembered_from_the_first_takeover_only(machine):
    machine.change(frr_conf=FRR, nftables_conf=NFT)
    machine.change(frr_conf=FRR + "! second\n", nftables_conf=NFT)
    machine.change(frr_conf=None, nftables_conf=None)
    assert machine.text("etc/frr/frr.conf") == machine.text("run/frr") == "! day 0\n"
    assert machine.text("etc/nftables.conf") is None
    assert machine.text("run/nft") == ""
    (machine.root / "etc/frr/frr.conf").write_text("! new day 0\n")
    machine.change(frr_conf=FRR)
    machine.change(frr_conf=None)
    assert machine.text("etc/frr/frr.conf") == "! new day 0\n"


def test_giving_back_what_was_never_taken_over_does_nothing(machine):
    assert machine.apply(frr_conf=None, dnsmasq_conf=None)["token"] == ""
    assert machine.text("etc/frr/frr.conf") == "! day 0\n"


def test_giving_back_is_undone_too_when_nobody_confirms_it(machine):
    machine.change(frr_conf=FRR)
    machine.apply(frr_conf=None)
    machine.agent("rollback")
    assert machine.text("etc/frr/frr.conf") == FRR
    machine.change(frr_conf=None)
    assert machine.text("etc/frr/frr.conf") == "! day 0\n"


def test_hand_edits_show_and_force_loads_again(machine):
    machine.change(frr_conf=FRR, nftables_conf=NFT)
    (machine.root / "run/nft").write_text(NFT + "# by hand\n")
    (machine.root / "run/stopped").touch()
    seen = machine.show("frr.conf", "nftables.conf")
    assert seen["files"] == {"frr.conf": FRR, "nftables.conf": NFT}
    assert seen["running"]["nftables.conf"] == NFT + "# by hand\n"
    assert seen["running"]["frr.conf"] == "not running: failed to connect to any daemons\n"
    answer = machine.apply(force=["frr.conf", "nftables.conf"], frr_conf=FRR, nftables_conf=NFT)
    assert answer["running"] == {"frr.conf": FRR, "nftables.conf": NFT}
    assert answer["token"]


def test_what_undoes_a_change_is_for_root_only(machine):
    machine.change(frr_conf=FRR)
    home = machine.root / "var/lib/tinh/router"
    assert home.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in home.iterdir()} == {0o600}


def test_what_is_no_text_is_put_back_as_it_was(machine):
    file = machine.root / "etc/frr/frr.conf"
    file.write_bytes(b"! \xff\r\n")
    machine.apply(frr_conf=FRR)
    machine.agent("rollback")
    assert file.read_bytes() == b"! \xff\r\n"
