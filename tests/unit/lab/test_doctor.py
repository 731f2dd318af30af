import dataclasses

import pytest

from infra.errors import HostError
from lab import doctor, up
from lab.doctor import Host, Level

GOOD = Host(
    root=True, podman=(4, 3, 1), runc=True, nofile=20_000, inotify=8192, memory_gib=16, disk_gib=100, built=True,
    ipv6=True, nftables=True, overlay=True, net_admin=True, cgroup="v2",
    devices={"bridge": True, "veth": True, "macvlan": True, "vlan": True, "vrf": True, "vxlan": True},
)  # fmt: skip

SABOTAGE = [
    ("root", {"root": False}),
    ("podman", {"podman": None}),
    ("podman", {"podman": (3, 4, 4)}),
    ("runc", {"runc": False}),
    ("network namespaces", {"net_admin": False}),
    ("IPv6", {"ipv6": False}),
    ("nftables", {"nftables": False}),
    ("overlay", {"overlay": False}),
    ("cgroups", {"cgroup": "none"}),
    ("open files", {"nofile": 1024}),
    ("memory", {"memory_gib": 3.9}),
    ("disk", {"disk_gib": 5.0}),
    ("disk", {"disk_gib": 20.0, "built": False}),
    ("kernel: bridge", {"devices": GOOD.devices | {"bridge": False}}),
    ("kernel: veth", {"devices": GOOD.devices | {"veth": False}}),
    ("kernel: macvlan", {"devices": GOOD.devices | {"macvlan": False}}),
]


def test_a_good_host_has_no_finding():
    assert {f.level for f in doctor.judge(GOOD)} == {Level.OK}


@pytest.mark.parametrize(("check", "change"), SABOTAGE)
def test_each_lack_is_found_alone_and_says_what_follows(check, change):
    bad = doctor.missing(doctor.judge(dataclasses.replace(GOOD, **change)))
    assert [f.check for f in bad] == [check]
    assert bad[0].follows
    assert bad[0].fix


def test_every_check_has_its_sabotage():
    checks = {f.check for f in doctor.judge(GOOD)} - {"inotify instances"}
    assert checks == {check for check, _ in SABOTAGE}


def test_too_few_inotify_instances_are_mended_and_not_refused(monkeypatch, tmp_path):
    findings = doctor.judge(dataclasses.replace(GOOD, inotify=128))
    assert doctor.missing(findings) == []
    written = {}
    monkeypatch.setattr(doctor.Path, "write_text", lambda self, text: written.update({str(self): text}))
    assert doctor.mend(findings)
    assert written == {"/proc/sys/fs/inotify/max_user_instances": "8192"}


def test_devices_that_the_lab_replaces_are_noted_with_the_consequence():
    notes = [f for f in doctor.judge(dataclasses.replace(GOOD, devices=GOOD.devices | {"vrf": False}))
             if f.level is Level.NOTE]  # fmt: skip
    assert [(f.check, "namespaces" in f.follows) for f in notes] == [("kernel: vrf", True)]


def test_the_lab_is_refused_before_anything_is_touched(monkeypatch):
    monkeypatch.setattr(doctor, "probe", lambda: dataclasses.replace(GOOD, memory_gib=1.0, runc=False))
    monkeypatch.setattr(up, "settle", lambda *_: pytest.fail("touched the host"))
    with pytest.raises(HostError) as error:
        up.up("lab")
    assert "memory: 1.0 GiB" in error.value.what
    assert "runc" in error.value.what
    assert "tinh sim up" in error.value.fix


def test_the_probe_leaves_no_namespace_behind():
    import subprocess

    doctor.probe()
    left = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=False).stdout
    assert "tinh-doctor" not in left
