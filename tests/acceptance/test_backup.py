"""Backups on the lab: taken, copied, lost, damaged, proven, restored; and nothing that was acknowledged is lost."""

import json
import signal
import subprocess
import sys
import time

import pytest

from infra import paths
from infra.backup.beside import KINDS
from infra.backup.catalogue import chain
from infra.backup.drill import last_passed
from infra.backup.recovery import TEMPORARY
from infra.errors import IntegrityError
from tests.acceptance.conftest import SITE, tinh
from tests.acceptance.writers import wait_for

DB, SPACE = "identity-db", "identity"
CA = "/usr/local/share/ca-certificates/tinh-site.crt"


def ok(*words, code=0, **more):
    result = tinh(*words, "--site", SITE, **more)
    assert result.returncode == code, result.stdout[-3000:] + result.stderr[-3000:]
    return result


def backups_of(name):
    return json.loads(ok("backup", "show", name, "--json").stdout)


def sql(lab, text, database="keycloak"):
    pod = lab.get("cluster.postgresql.cnpg.io", DB, "-n", SPACE)["status"]["currentPrimary"]
    words = ("exec", "-i", "-n", SPACE, pod, "-c", "postgres", "--", "psql", "-XqAt", "-v", "ON_ERROR_STOP=1")
    return lab.kubectl(*words, "-d", database, stdin=text).stdout.strip()


def pull(lab):
    # Twice: the first may only have waited for one that the timer had begun before the newest backup was there.
    done = lab.machine("offsite1").run(
        "systemctl start tinh-vault-pull.service; systemctl start tinh-vault-pull.service"
    )
    assert done.rc == 0, lab.machine("offsite1").run("journalctl -u tinh-vault-pull -n 20").stdout


@pytest.fixture(scope="module")
def taken(lab):
    """Every data set is backed up and copied to the other place."""
    ok("backup", "run", "--all")
    pull(lab)
    return lab


def test_every_data_set_has_a_fresh_backup_at_two_places(taken):
    rows = json.loads(ok("backup", "list", "--json").stdout)
    assert {row["data_set"] for row in rows} >= {
        DB,
        "etcd",
        "cluster-objects",
        "pulumi-state",
        "site-data",
        "routers",
    }
    for row in rows:
        assert row["problems"] == [], row
        assert sorted(row["holders"]) == ["backup1", "offsite1"]


def test_nothing_readable_lies_at_the_copies(taken):
    secret = (paths.state(SITE).root / "secrets" / "identity-admin").read_text()
    for name in ("backup1", "offsite1"):
        machine = taken.machine(name)
        assert machine.run(f"grep -rlF -- {secret!r} /srv/backup").rc == 1
        assert machine.run("grep -rlE 'BEGIN (EC |OPENSSH )?PRIVATE KEY' /srv/backup").rc == 1
        first = machine.run("head -c 21 $(find /srv/backup/blobs -type f | head -1)").stdout
        assert first == "age-encryption.org/v1"


@pytest.mark.parametrize("verb", ["prune", "get", "sh -c id", "rm -rf /srv/backup", ""])
def test_productions_key_cannot_read_or_remove(taken, verb):
    state = paths.state(SITE)
    for name in ("backup1", "offsite1"):
        done = subprocess.run(
            ["ssh", "-F", str(state.ssh / "config"), "-i", str(state.ssh / "backup-writer"), "-l", "vault",
             "-o", "IdentitiesOnly=yes", name, verb],
            input="{}", capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == 6 and "may not" in done.stderr, done


def test_the_other_place_is_reached_by_nobody_in_the_cluster(taken):
    offsite = next(m for m in taken.site.all_machines() if m.name == "offsite1").primary
    for address in offsite.pair():
        assert taken.machine("node1").run(f"timeout 3 bash -c '</dev/tcp/{address}/22'").rc != 0


def test_wal_of_which_the_archiver_was_never_told_is_in_the_next_backup(taken):
    """What is left when a machine is killed while it shuts down: a finished segment without a notice."""
    pod = taken.get("cluster.postgresql.cnpg.io", DB, "-n", SPACE)["status"]["currentPrimary"]
    notices = sql(taken, "show data_directory;") + "/pg_wal/archive_status"
    archiver = sql(taken, "select pid from pg_stat_activity where backend_type = 'archiver';")
    base = backups_of(DB)[-1]["facts"]["base"]

    def shell(text):
        taken.kubectl("exec", "-n", SPACE, pod, "-c", "postgres", "--", "sh", "-ec", text)

    shell(f"kill -STOP {archiver}")
    try:
        sql(taken, "create table tinh_unannounced (n int); drop table tinh_unannounced;")
        segment = sql(taken, "select pg_walfile_name(pg_switch_wal());")
        shell(f"rm {notices}/{segment}.ready")
    finally:
        shell(f"kill -CONT {archiver}")
    assert f"WAL {segment} was finished" in ok("backup", "run", DB).stderr
    assert backups_of(DB)[-1]["facts"]["base"] == base
    pull(taken)


@pytest.mark.long(minutes=7)
def test_the_drill_proves_everything_and_leaves_nothing(taken):
    ok("drill", "run")
    passed = last_passed(SITE)
    assert {DB, "etcd", "cluster-objects", "pulumi-state", "site-data", "routers"} <= set(passed)
    file = max((paths.state(SITE).root / "receipts").glob("drill-*.json"))
    body = json.loads(file.read_text())["body"]
    for result in body["results"]:
        print(
            result["data_set"],
            result["seconds"],
            "s of",
            result["allowed_seconds"],
            "loss",
            result["loss_seconds"],
        )
    assert tinh("drill", "verify", str(file)).returncode == 0
    taken.kubectl("wait", "--for=delete", f"namespace/drill-{DB}", "--timeout=120s", check=False)
    assert not taken.kubectl("get", "namespace", f"drill-{DB}", "--ignore-not-found").stdout
    assert not list(paths.state(SITE).backup.glob("work-*"))


class Writer:
    """Writes numbers one after the other and remembers those that were acknowledged."""

    def __init__(self, lab):
        self.lab, self.acknowledged = lab, 0
        sql(
            lab,
            "create table if not exists tinh_probe (n int primary key, at timestamptz default clock_timestamp());",
        )
        sql(lab, "truncate tinh_probe;")

    def write(self, count):
        for _ in range(count):
            sql(self.lab, f"insert into tinh_probe (n) values ({self.acknowledged + 1});")  # noqa: S608
            self.acknowledged += 1


@pytest.fixture
def writer(taken):
    yield Writer(taken)
    sql(taken, "drop table if exists tinh_probe;")


@pytest.mark.long(minutes=5)
def test_a_database_comes_back_as_of_a_moment(taken, writer):
    writer.write(5)
    time.sleep(1.1)
    moment = sql(
        taken, "select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.USZ');"
    )
    time.sleep(1.1)
    writer.write(5)
    ok("backup", "run", DB)
    started = time.monotonic()
    ok("restore", DB, "--as", "past", "--to", moment, "--yes")
    print(f"restore to a moment: {time.monotonic() - started:.1f} s")
    try:
        pod = taken.get("cluster.postgresql.cnpg.io", "past", "-n", SPACE)["status"]["currentPrimary"]
        words = ("exec", "-n", SPACE, pod, "-c", "postgres", "--", "psql", "-XqAt", "-d", "keycloak", "-c")
        assert taken.kubectl(*words, "select count(*) from tinh_probe").stdout.strip() == "5"
        assert sql(taken, "select count(*) from tinh_probe;") == "10"
    finally:
        taken.kubectl("delete", "cluster.postgresql.cnpg.io", "past", "-n", SPACE)


@pytest.mark.long(minutes=4)
def test_in_place_the_data_come_back_and_the_old_ones_stay_aside(taken, writer):
    writer.write(7)
    ok("backup", "run", DB)
    sql(taken, "delete from tinh_probe where n > 3;")
    newest = backups_of(DB)[-1]["at"]
    # Other restores, a rebuild too, leave databases aside.
    aside_of_all = "select datname from pg_database where datname like 'keycloak_before_%';"
    before = set(sql(taken, aside_of_all, "postgres").split())
    ok("restore", DB, "--in-place", "--to", newest, "--yes")
    assert sql(taken, "select count(*) from tinh_probe;") == str(writer.acknowledged)
    (aside,) = set(sql(taken, aside_of_all, "postgres").split()) - before
    assert sql(taken, "select count(*) from tinh_probe;", aside) == "3"
    sql(taken, f'drop database "{aside}";', "postgres")
    page = "https://id.lab.tinh.test/realms/master"
    curl = "curl -sf -o /dev/null --retry 20 --retry-all-errors --retry-delay 3"
    assert taken.client("dual", f"{curl} --cacert {CA} {page}").rc == 0


def test_a_damaged_object_is_named_and_mended_and_the_other_copy_serves_meanwhile(taken):
    machine = taken.machine("backup1")
    entry = backups_of("etcd")[-1]
    blob = json.loads(machine.run(f"cat /srv/backup/catalogue/etcd/{entry['id']}.json").stdout)["body"][
        "blobs"
    ][0]["sha256"]
    file = f"/srv/backup/blobs/{blob[:2]}/{blob}"
    assert (
        machine.run(f"chmod 600 {file} && printf X | dd of={file} bs=1 seek=5000 conv=notrunc status=none").rc
        == 0
    )
    result = tinh("drill", "run", "--site", SITE, "--data-set", "etcd", "--from", "backup1")
    assert result.returncode == 3 and "damaged" in result.stdout, result.stdout
    result = tinh("backup", "verify", "--site", SITE, "etcd")
    assert result.returncode == 7 and entry["id"] in result.stdout
    result = tinh("backup", "list", "--site", SITE)
    assert result.returncode == 3 and "damaged at backup1" in result.stdout
    ok("drill", "run", "--data-set", "etcd")
    ok("backup", "verify", "etcd", "--repair")
    ok("drill", "run", "--data-set", "etcd", "--from", "backup1")


def test_a_wrong_key_is_said_before_anything_is_read(taken, tmp_path):
    from infra.backup import seal

    wrong = tmp_path / "other.age"
    wrong.write_text(seal.make_identity())
    result = tinh("restore", DB, "--site", SITE, "--as", "x", "--yes", "--identity", str(wrong))
    assert result.returncode == 2 and "the key does not open it" in result.stderr


@pytest.mark.long(minutes=4)
def test_a_restore_that_cannot_succeed_is_given_up_and_says_why(taken, monkeypatch):
    from click.testing import CliRunner

    from cli.restore import command
    from infra.backup import recovery

    made = recovery.recovered

    def hopeless(*args, **more):
        return made(*args, **(more | {"to": None, "point": "never"}))

    monkeypatch.setattr(recovery, "recovered", hopeless)
    result = CliRunner().invoke(command, [DB, "--site", SITE, "--as", "hopeless", "--yes"])
    assert isinstance(result.exception, IntegrityError), result.output
    assert "recovery ended before configured recovery target was reached" in result.exception.what
    words = ("-n", SPACE, "-l", f"{TEMPORARY}=hopeless", "--ignore-not-found", "-o", "name")
    assert taken.kubectl("get", ",".join(KINDS), *words).stdout == ""


def begin(*words):
    command = [sys.executable, "-m", "cli.main", *words, "--site", SITE]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=paths.REPO
    )


def until(process, text, seconds=600):
    end, said = time.monotonic() + seconds, []
    while time.monotonic() < end:
        said.append(process.stdout.readline())
        if text in said[-1]:
            return
        assert said[-1] or process.poll() is None, f"ended without {text!r}: {''.join(said[-30:])}"
    raise AssertionError(f"{text!r} was not said")


def test_two_restores_at_once_and_ctrl_c_in_the_middle(taken):
    before = sql(taken, "select count(*) from realm;")
    process = begin("restore", DB, "--in-place", "--yes", "--no-backup")
    until(process, "PostgreSQL replays")
    second = tinh("restore", DB, "--site", SITE, "--as", "x", "--yes")
    assert second.returncode == 8 and "tinh restore" in second.stderr
    process.send_signal(signal.SIGINT)
    assert process.wait(300) == 130
    assert sql(taken, "select count(*) from realm;") == before
    assert not taken.kubectl(
        "get", "cluster.postgresql.cnpg.io", f"{DB}-restore", "-n", SPACE, "--ignore-not-found"
    ).stdout
    names = sql(taken, "select count(*) from pg_database where datname ~ '_restored_';", "postgres")
    assert names == "0"


def test_ctrl_c_in_the_middle_of_a_restore_beside_leaves_nothing(taken):
    process = begin("restore", DB, "--as", "half", "--yes")
    until(process, "PostgreSQL replays")
    process.send_signal(signal.SIGINT)
    assert process.wait(300) == 130
    words = ("-n", SPACE, "-l", f"{TEMPORARY}=half", "--ignore-not-found", "-o", "name")
    assert taken.kubectl("get", ",".join(KINDS), *words).stdout == ""
    assert not list(paths.state(SITE).backup.glob("work-*"))


@pytest.mark.parametrize(
    "words",
    [("backup", "run", "--whole", DB), ("backup", "verify"), ("drill", "run", "--data-set", DB)],
)
def test_ctrl_c_in_the_middle_leaves_nothing_and_the_command_can_be_repeated(taken, words):
    process = begin(*words)
    time.sleep(2 if "verify" in words else 8)
    process.send_signal(signal.SIGINT)
    assert process.wait(300) in (130, 0)
    assert not list(paths.state(SITE).backup.glob("work-*"))
    ok(*words)


@pytest.mark.long(minutes=4)
def test_a_database_comes_back_although_the_object_storage_is_lost(taken, writer):
    writer.write(3)
    ok("backup", "run", DB)
    pull(taken)
    taken.kubectl("scale", "deployment/objects", "-n", "objects", "--replicas=0")
    try:
        failed = tinh("backup", "run", "--site", SITE, DB)
        assert failed.returncode != 0 and "object storage" in failed.stderr
        ok("restore", DB, "--as", "alone", "--from", "offsite1", "--yes")
        pod = taken.get("cluster.postgresql.cnpg.io", "alone", "-n", SPACE)["status"]["currentPrimary"]
        words = ("exec", "-n", SPACE, pod, "-c", "postgres", "--", "psql", "-XqAt", "-d", "keycloak", "-c")
        assert taken.kubectl(*words, "select max(n) from tinh_probe").stdout.strip() == str(
            writer.acknowledged
        )
    finally:
        taken.kubectl("scale", "deployment/objects", "-n", "objects", "--replicas=1")
        taken.kubectl("rollout", "status", "deployment/objects", "-n", "objects", "--timeout=180s")
        taken.kubectl("delete", "cluster.postgresql.cnpg.io", "alone", "-n", SPACE, "--ignore-not-found")


@pytest.mark.long(minutes=2)
def test_the_cluster_as_a_whole_goes_back_to_its_snapshot(taken):
    taken.kubectl("create", "configmap", "before", "-n", "default")
    ok("backup", "run", "etcd")
    taken.kubectl("delete", "configmap", "before", "-n", "default")
    try:
        ok("restore", "etcd", "--in-place", "--no-backup", "--yes")
        assert taken.kubectl("get", "configmap", "before", "-n", "default").returncode == 0
    finally:
        taken.kubectl("delete", "configmap", "before", "-n", "default", "--ignore-not-found")
    assert taken.kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=180s").returncode == 0
    # Operators end when they cannot renew their leases, and are started again: what comes next needs their webhooks.
    words = ("annotate", "cluster.postgresql.cnpg.io", DB, "-n", SPACE, "asked=now", "--dry-run=server")
    wait_for(lambda: not taken.kubectl(*words, check=False).returncode, 120, "the operator's webhook answers")


def test_the_copies_have_whole_chains(taken):
    from cli.copies import open_backups

    for copy in open_backups(SITE).look():
        assert copy.problem == ""
        for entry in copy.entries:
            chain([e for e in copy.entries if e.data_set == entry.data_set], entry.id)
