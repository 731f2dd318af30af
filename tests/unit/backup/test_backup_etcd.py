"""A snapshot of a real etcd is opened and counted; a damaged one is refused. Needs the toolchain's etcd."""

import os
import socket
import subprocess
import time

import pytest
from backup_cases import needs, program_of

from infra.backup.kinds import etcd
from infra.errors import IntegrityError

pytestmark = [pytest.mark.slow, needs("etcd")]


@pytest.fixture
def snapshot(tmp_path, monkeypatch):
    """A snapshot with two secrets and a pod in it."""
    monkeypatch.setattr(etcd, "program", tool)
    ports = [free() for _ in range(2)]
    endpoint, peer = (f"http://127.0.0.1:{port}" for port in ports)
    words = [
        tool("etcd"), "--data-dir", tmp_path / "live", "--log-level", "error", "--listen-client-urls", endpoint,
        "--advertise-client-urls", endpoint, "--listen-peer-urls", peer,
    ]  # fmt: skip
    process = subprocess.Popen([str(word) for word in words], env=os.environ)

    def ctl(*more):
        return subprocess.run(
            [tool("etcdctl"), "--endpoints", endpoint, *more], capture_output=True, check=False
        )

    try:
        end = time.monotonic() + 60
        while ctl("endpoint", "health").returncode:
            assert time.monotonic() < end
            time.sleep(0.2)
        for key in ("/registry/secrets/a/x", "/registry/secrets/a/y", "/registry/pods/a/z"):
            assert ctl("put", key, "v").returncode == 0
        assert ctl("snapshot", "save", str(tmp_path / etcd.SNAPSHOT)).returncode == 0
    finally:
        process.kill()
        process.wait()
    return tmp_path


def tool(name):
    return program_of("etcd", name)


def free():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_keys_are_counted_by_resource_and_nothing_is_left(snapshot):
    facts = etcd.count(snapshot)
    assert facts["keys"] == {"pods": 1, "secrets": 2} and facts["revision"] == 4 and facts["hash"]
    assert etcd.count(snapshot) == facts
    assert {file.name for file in snapshot.iterdir()} == {etcd.SNAPSHOT, "live"}


def test_a_damaged_snapshot_is_refused(snapshot):
    file = snapshot / etcd.SNAPSHOT
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)
    with pytest.raises(IntegrityError, match="etcd"):
        etcd.count(snapshot)
