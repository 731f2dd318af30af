"""Playbooks by ansible-runner, which are to leave the process as they found it."""

import signal

from infra.ansible import play


def test_ctrl_c_still_works_after_a_playbook(tmp_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    hosts = {"all": {"hosts": {}}}
    play("site.yml", hosts, log=tmp_path / "log")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
