"""Bad things happen to a database while clients write over both families: nothing acknowledged is lost; all is named.

How long no write was acknowledged is printed; a client gives a silent server up after 2 s (connection) or 5 s
(statement), so that it is that much more than what the database needed. What happens to the volume of the log and to
the object storage: `test_data_faults_storage.py`.
"""

import time

import pytest

from infra import paths
from lab import podman, topology
from tests.acceptance.own_database import OwnDatabase, cut_from_storage, reset_archivers
from tests.acceptance.writers import wait_for

SPACE = "faults-test"
pytestmark = pytest.mark.long(minutes=10)


@pytest.fixture(scope="module")
def db(lab):
    with OwnDatabase(lab, SPACE).running() as found:
        yield found


def test_the_check_sees_a_write_that_is_lost(db):
    db.writers.wait(30)
    db.sql("delete from probe where n = 1;")
    assert db.lost() == [("ipv4", 1), ("ipv6", 1)]
    db.sql("insert into probe (family, n) values ('ipv4', 1), ('ipv6', 1);")
    assert db.lost() == []


def test_a_killed_primary_is_replaced_by_its_replica(lab, db):
    killed = db.primary()
    with db.fault("pod of the primary killed"):
        lab.kubectl("delete", "pod", killed, "-n", SPACE, "--grace-period=0", "--force")
        wait_for(lambda: db.primary() != killed, 120, "another instance is the primary")


def test_a_worker_that_is_cut_from_the_object_storage_keeps_its_log_until_it_is_archived(lab, db):
    try:
        with db.fault("workers cut from the object storage"):
            with cut_from_storage(lab):
                db.sql("select pg_switch_wal();")
                db.named("does not reach the archive", about=SPACE, seconds=420)
                db.writers.wait(30)  # nobody waits for the archive
            segment = db.sql("select pg_walfile_name(pg_switch_wal());")
            archived = "select coalesce(last_archived_wal, '') from pg_stat_archiver;"
            wait_for(lambda: db.sql(archived) >= segment, 300, f"{segment} is archived")
    finally:
        reset_archivers(lab)


def test_a_claim_of_a_replica_is_deleted_and_another_replica_is_made(lab, db):
    gone = db.replica()
    lost = db.volume(gone)
    with db.fault("volume of the replica deleted"):
        lab.kubectl("delete", "pvc", gone, "-n", SPACE, "--wait=false")
        db.named("goes as soon as its pod ends", "instances are ready", about=SPACE)
        lab.kubectl("delete", "pod", gone, "-n", SPACE, "--ignore-not-found")
        wait_for(lambda: lost not in db.volumes(), 120, f"volume of {gone} is given up")
    assert len(db.volumes()) == 2 and lost not in db.volumes()


def test_a_claim_of_the_primary_is_deleted_and_the_replica_goes_on(lab, db):
    gone = db.primary()
    lost = db.volume(gone)
    with db.fault("volume and pod of the primary deleted"):
        lab.kubectl("delete", "pvc", gone, "-n", SPACE, "--wait=false")
        lab.kubectl("delete", "pod", gone, "-n", SPACE, "--grace-period=0", "--force")
        wait_for(lambda: db.primary() != gone, 120, "another instance is the primary")
        db.named("instances are ready", about=SPACE)
    assert len(db.volumes()) == 2 and lost not in db.volumes()


def test_a_killed_node_is_named_and_comes_back_with_everything(lab, db):
    """With one worker both instances are on it: nobody takes over, and what is measured is how it comes back."""
    node = db.node(db.primary())
    alone = db.node(db.replica()) == node
    machine = topology.prefix(paths.instance()) + node
    what = f"node {node} killed, {'both instances' if alone else 'only the primary'} on it"
    with db.fault(what, seconds=900):
        try:
            podman.run("kill", machine)
            db.named("not ready since", about=f"node {node}")
            if not alone:
                db.writers.wait(300)
        finally:
            _start(lab)
        started = time.time()
        db.writers.wait(900)
        print(f"{what}: acknowledged again {time.time() - started:.0f} s after it was started")
    lab.kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=60s")


def _start(lab):
    """Start the machines that do not run."""
    from lab.toolchain import artifact
    from lab.up import start_machines

    start_machines(lab.site, artifact("rootfs-machine"), print)
