"""Where etcd is asked for a snapshot: what its own manifest says, whichever family it listens on."""

import subprocess

import pytest

from infra.backup.kinds import etcd

#: As kubeadm writes it.
MANIFEST = """
spec:
  containers:
  - command:
    - etcd
    - --advertise-client-urls={advertised}
    - --initial-advertise-peer-urls=https://other:2380
    - --listen-client-urls={listening}
"""


@pytest.mark.parametrize(
    ("advertised", "listening", "asked"),
    [
        ("https://[fd77::11]:2379", "https://[::1]:2379,https://[fd77::11]:2379", "https://[fd77::11]:2379"),
        ("https://10.77.0.11:2379", "https://127.0.0.1:2379,https://10.77.0.11:2379", "https://10.77.0.11:2379"),
        ("https://[fd77::11]:2379,https://10.77.0.11:2379", "https://[::]:2379", "https://[fd77::11]:2379"),
    ],
)  # fmt: skip
def test_etcd_is_asked_where_it_says_that_it_is(tmp_path, advertised, listening, asked):
    file = tmp_path / "etcd yaml"
    file.write_text(MANIFEST.format(advertised=advertised, listening=listening))
    command = etcd.ENDPOINT.format(manifest=f"'{file}'")
    assert subprocess.check_output(["sh", "-c", command], text=True) == asked + "\n"


def test_the_script_asks_there_and_nowhere_else():
    assert etcd.MANIFEST in etcd.SAVE and "[::1]" not in etcd.SAVE and "127.0.0.1" not in etcd.SAVE
    assert subprocess.run(["sh", "-n", "-c", etcd.SAVE], check=False).returncode == 0


def test_a_machine_without_etcd_says_so(tmp_path):
    (tmp_path / "etcd.yaml").write_text("spec: {}")
    script = etcd.SAVE.replace(etcd.MANIFEST, str(tmp_path / "etcd.yaml"))
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "no --advertise-client-urls" in done.stderr
