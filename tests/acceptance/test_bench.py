"""The bench on the lab: what it makes is gone afterwards, Ctrl-C or not. Its figures are nobody's verdict here."""

import json
import signal
import subprocess
import sys
import time

import pytest

from infra import paths
from infra.backup.store import opened
from infra.components.workload.allow import OBJECTS
from tests.acceptance.conftest import SITE
from tests.bench.gateway import SPACE as EDGE
from tests.bench.machines import kubectl_of
from tests.bench.manifests import SPACE, door, holding


def begin(section, *options):
    words = [sys.executable, "-m", f"tests.bench.{section}", "--site", SITE, "--rounds", "1", *options]
    pipe = subprocess.PIPE
    return subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True, cwd=paths.REPO)


def nothing_is_left(lab):
    for namespace in (SPACE, EDGE):
        assert not lab.kubectl("get", "namespace", namespace, "--ignore-not-found").stdout
    rules = lab.kubectl("-n", OBJECTS, "get", "networkpolicies", "-o", "name").stdout
    assert door()["metadata"]["name"] not in rules
    with opened(lab.site, kubectl_of(lab.site)) as store:
        assert not store.client.bucket_exists(holding("postgres:15").bucket)
    assert lab.machine("backup1").run("test -e /srv/tinh-bench").rc == 1
    assert not list(paths.state(SITE).backup.glob("bench-data-db.*"))


@pytest.mark.long(minutes=5)
@pytest.mark.parametrize(
    ("section", "options"), [("failover", ()), ("restore", ("--mib", "16")), ("gateway", ())]
)
def test_a_section_measures_and_leaves_nothing(lab, section, options):
    process = begin(section, *options)
    out, said = process.communicate(timeout=1800)
    assert process.returncode == 0, said
    rows = [json.loads(line) for line in out.splitlines()]
    for row in rows:
        print(row["what"], row["median"], row["unit"], row.get("ratio", ""), row.get("goal", ""))
    assert all(value > 0 for row in rows for value in row["values"])
    nothing_is_left(lab)


def test_ctrl_c_in_the_middle_leaves_nothing(lab):
    process = begin("failover")
    end = time.monotonic() + 300
    while not lab.kubectl("-n", SPACE, "get", "pod", "application", "--ignore-not-found", check=False).stdout:
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=600)
    assert process.returncode != 0
    nothing_is_left(lab)
