"""The whole lab on empty machines, from the repository, the kit and the off-site copy alone; the last test of all."""

import json
import shutil
import signal

import pytest

from infra import paths
from infra.model.site import load_site
from lab import podman, topology
from tests.acceptance.conftest import SITE, tinh
from tests.acceptance.test_backup import DB, begin, pull, sql, until

pytestmark = pytest.mark.long(minutes=22)


def interrupted(*words):
    """Begin a rebuild and press Ctrl-C while it deploys the layers: the step ends cleanly, no stack stays locked."""
    process = begin(*words)
    until(process, "layers: ", seconds=3600)
    until(process, "base.lab", seconds=600)
    process.send_signal(signal.SIGINT)
    text = process.communicate(timeout=600)[0]
    assert process.returncode == 130, text[-3000:]
    assert list(paths.state(SITE).pulumi.rglob("locks/**/*.json")) == []


def test_the_lab_comes_back_from_the_other_place(lab, tmp_path):
    sql(lab, "create table if not exists tinh_rebuild (n int);")
    sql(lab, "insert into tinh_rebuild values (42);")
    done = tinh("backup", "run", "--all", "--site", SITE)
    assert done.returncode == 0, done.stderr[-2000:]
    pull(lab)
    state, kit = paths.state(SITE), tmp_path / "kit"
    receipts = set((state.root / "receipts").glob("rebuild-*.json"))  # they come back with the site's data
    secret = (state.root / "secrets" / "identity-admin").read_text()
    signing = {file.name: file.read_bytes() for file in (state.root / "dnssec").iterdir()}
    shutil.copytree(state.vault, kit)
    instance = paths.instance()
    kept = topology.prefix(instance) + "offsite1"
    for name in podman.listing("container", instance):
        if name != kept:
            podman.run("rm", "--force", "--time", "5", name)
    for volume in podman.listing("volume", instance):
        if not volume.startswith(kept):
            podman.run("volume", "rm", "--force", volume)
    shutil.move(state.root, tmp_path / "lost")
    try:
        interrupted("rebuild", "--kit", str(kit), "--yes")
        result = tinh("rebuild", "--site", SITE, "--kit", str(kit), "--yes", timeout=7200)
        print(result.stdout[-3000:])
        assert result.returncode == 0, result.stderr[-3000:]
    except BaseException:
        print("what was there before:", tmp_path / "lost")
        raise
    shutil.copytree(kit, state.vault, dirs_exist_ok=True)  # as the lab had it: other tests open backups
    (file,) = set((state.root / "receipts").glob("rebuild-*.json")) - receipts
    print(json.dumps(json.loads(file.read_text())["body"]["steps"], indent=1))
    assert (paths.state(SITE).root / "secrets" / "identity-admin").read_text() == secret
    assert {file.name: file.read_bytes() for file in (paths.state(SITE).root / "dnssec").iterdir()} == signing
    lab.site = load_site(SITE)
    assert sql(lab, "select n from tinh_rebuild;") == "42"
    sql(lab, "drop table tinh_rebuild;")
    assert tinh("backup", "list", "--site", SITE).returncode in (0, 3)
    assert DB in tinh("backup", "list", "--site", SITE).stdout
