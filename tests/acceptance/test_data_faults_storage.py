"""The volume of a database's log fills up, and the object storage is lost with all that was in it."""

import json
import time

import pytest
import yaml

from infra.backup.kinds.objects import clean
from infra.model.site import Role
from tests.acceptance.conftest import SITE, tinh
from tests.acceptance.own_database import OwnDatabase, cut_from_storage, health, reset_archivers
from tests.acceptance.test_backup import DB, ok, pull, sql

SPACE, CLASS = "full-test", "tinh-faults"
#: On a worker; a file system in memory, because folders of a disk have no size of their own.
FOLDER, SIZE, LARGER = "/srv/tinh-faults", 160, 400
OBJECTS = ("-n", "objects")


@pytest.fixture
def volume(lab):
    """Make a small volume on a worker; return the worker."""
    worker = lab.machines(Role.WORKER)[0]
    name = lab.site.by_role(Role.WORKER)[0].name
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [name]}
    objs = [
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": CLASS},
            "provisioner": "kubernetes.io/no-provisioner",
            "volumeBindingMode": "WaitForFirstConsumer",
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": CLASS},
            "spec": {
                "capacity": {"storage": f"{SIZE}Mi"},
                "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": CLASS,
                "local": {"path": FOLDER},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
            },
        },
    ]
    made = worker.run(f"mkdir -p {FOLDER} && mount -t tmpfs -o size={SIZE}m {CLASS} {FOLDER}")
    assert made.rc == 0, made.stderr
    try:
        lab.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objs))
        yield worker
    finally:
        lab.kubectl("delete", "pv,storageclass", CLASS, "--ignore-not-found")
        worker.run(f"umount --lazy {FOLDER} && rmdir {FOLDER}")


def fill(db):
    """Write until the server ends: each segment of the log takes 16 MiB, and none can be archived."""
    for _ in range(40):
        if db.run("select pg_switch_wal();").returncode:
            return
        time.sleep(1)  # the clients write meanwhile; a segment without a row is not ended
    raise AssertionError("the volume has room for everything")


@pytest.mark.long(minutes=6)
def test_a_full_log_volume_is_named_and_once_it_is_larger_nothing_is_missing(lab, volume):
    # What is in memory counts for the pod that has written it: hence more than 256Mi.
    log = {"size": f"{SIZE}Mi", "storageClass": CLASS}
    try:
        with (
            OwnDatabase(lab, SPACE, instances=1, memory="640Mi", log_volume=log).running() as db,
            db.fault("volume of the log full", seconds=900),
            cut_from_storage(lab),
        ):
            db.run("select pg_switch_wal();")
            db.named("does not reach the archive", about=SPACE, seconds=420)
            fill(db)
            db.named("no room for its log", about=SPACE)
            db.named(f"of {SIZE} MiB are used", about=SPACE)
            # What the driver of a real storage does when the claim is made larger.
            assert volume.run(f"mount -o remount,size={LARGER}m {FOLDER}").rc == 0
    finally:
        reset_archivers(lab)


def lose(lab):
    """Remove the server of the object storage and everything on its volume; return what it is made anew from."""
    words = ("get", "deployment", "objects", *OBJECTS, "--show-managed-fields", "-o", "json")
    found = json.loads(lab.kubectl(*words).stdout)
    manager = next(
        row["manager"] for row in found["metadata"]["managedFields"] if row["operation"] == "Apply"
    )
    claim = lab.get("pvc", "objects", *OBJECTS)["spec"]["volumeName"]
    spec = lab.get("pv", claim)["spec"]
    folder = (spec.get("hostPath") or spec["local"])["path"]
    (node,) = spec["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0]["values"]
    lab.kubectl("delete", "deployment", "objects", *OBJECTS)
    pods = ("pod", "-l", "app.kubernetes.io/name=objects", "--timeout=120s")
    lab.kubectl("wait", "--for=delete", *pods, *OBJECTS, check=False)
    assert lab.machine(node).run(f"test -d {folder}/objects && find {folder} -mindepth 1 -delete").rc == 0
    return manager, clean(found)


def again(lab, manager, deployment):
    """Make the server again, on its empty volume, as if the layer had."""
    words = ("apply", "--server-side", "--force-conflicts", f"--field-manager={manager}", "-f", "-")
    lab.kubectl(*words, stdin=json.dumps(deployment))
    lab.kubectl("rollout", "status", "deployment/objects", *OBJECTS, "--timeout=180s")


def rows(lab, cluster):
    pod = lab.get("cluster.postgresql.cnpg.io", cluster, "-n", "identity")["status"]["currentPrimary"]
    words = ("exec", "-n", "identity", pod, "-c", "postgres", "--", "psql", "-XqAt", "-d", "keycloak", "-c")
    return lab.kubectl(*words, "select n from tinh_storage").stdout.strip()


def refused(*texts):
    """Back up, which has to fail and to say so in these words."""
    done = tinh("backup", "run", DB, "--site", SITE)
    assert done.returncode == 5, done.stderr[-2000:]
    for text in texts:
        assert text in done.stderr, done.stderr[-2000:]


@pytest.mark.long(minutes=8)
def test_the_object_storage_is_lost_with_its_data_and_backups_begin_anew(lab):
    sql(lab, "create table if not exists tinh_storage (n int); insert into tinh_storage values (42);")
    ok("backup", "run", DB)
    pull(lab)
    begun = time.monotonic()
    kept = lose(lab)
    try:
        refused("object storage")
        assert "no pod serves it" in health()["service objects/objects"]
        ok("restore", DB, "--as", "alone", "--from", "offsite1", "--yes")
        assert rows(lab, "alone") == "42"
        print(f"brought back from the off-site copy after {time.monotonic() - begun:.0f} s")
    finally:
        again(lab, *kept)
        lab.kubectl("delete", "cluster.postgresql.cnpg.io", "alone", "-n", "identity", "--ignore-not-found")
    try:
        refused(f"bucket {DB}-archive", "cannot be listed", "--from=cronjob/buckets")
    finally:
        lab.kubectl("create", "job", "buckets-again", "--from=cronjob/buckets", *OBJECTS)
        lab.kubectl("wait", "--for=condition=Complete", "job/buckets-again", "--timeout=180s", *OBJECTS)
        lab.kubectl("delete", "job", "buckets-again", *OBJECTS)
    try:
        done = ok("backup", "run", "--all")
        assert f"{DB}: the archive has lost base backup" in done.stderr
        print(f"everything is backed up again after {time.monotonic() - begun:.0f} s")
        pull(lab)
        ok("drill", "run", "--data-set", DB)
    finally:
        reset_archivers(lab)
        sql(lab, "drop table tinh_storage;")
