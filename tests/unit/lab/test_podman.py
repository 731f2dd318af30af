import json
import subprocess

import pytest

from infra.errors import RefusedError
from lab import podman

OURS = {"tinh.instance": "main", "tinh.site": "lab", "tinh.checkout": "/a"}


def _answer(monkeypatch, labels):
    data = [{"Config": {"Labels": labels}, "State": {"Running": True}}]
    result = subprocess.CompletedProcess([], 0 if labels is not None else 1, json.dumps(data), "")
    monkeypatch.setattr(podman, "run", lambda *_, **__: result)


def test_our_own_object_is_returned(monkeypatch):
    _answer(monkeypatch, OURS)
    assert podman.own("container", "tinh-main-cp1", OURS)


def test_a_missing_object_is_nothing(monkeypatch):
    _answer(monkeypatch, None)
    assert podman.own("container", "tinh-main-cp1", OURS) is None


@pytest.mark.parametrize("labels", [{}, OURS | {"tinh.checkout": "/b"}, OURS | {"tinh.instance": "ci"}])
def test_an_object_that_the_lab_did_not_make_is_refused(monkeypatch, labels):
    _answer(monkeypatch, labels)
    with pytest.raises(RefusedError) as error:
        podman.own("container", "tinh-main-cp1", OURS)
    assert "TINH_INSTANCE" in error.value.fix


LISTING = """-P FORWARD ACCEPT
-N NETAVARK_FORWARD
-N MINE
-A FORWARD -m comment --comment "netavark firewall plugin rules" -j NETAVARK_FORWARD
-A NETAVARK_FORWARD -j ACCEPT
-A FORWARD -j MINE
"""


def test_netavarks_chains_are_removed_jumps_first_and_nobody_elses():
    assert podman.leftover_rules(LISTING) == [
        [
            "-D",
            "FORWARD",
            "-m",
            "comment",
            "--comment",
            "netavark firewall plugin rules",
            "-j",
            "NETAVARK_FORWARD",
        ],
        ["-F", "NETAVARK_FORWARD"],
        ["-X", "NETAVARK_FORWARD"],
    ]


def test_an_empty_listing_asks_for_nothing():
    assert podman.leftover_rules("-P INPUT ACCEPT\n") == []
