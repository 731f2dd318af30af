"""What is counted in a database is what was there at the restore point, while writers go on; on a real server."""

import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest

from infra.backup import sql
from infra.backup.catalogue import differences

BIN = Path("/usr/lib/postgresql/15/bin")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not BIN.exists() or os.geteuid() != 0, reason="needs PostgreSQL 15 and root to leave"),
]
NUMBER = "20261126T120000Z"


def run(*words, stdin=None, check=True):
    done = subprocess.run(
        ["runuser", "-u", "postgres", "--", *map(str, words)],
        input=stdin, capture_output=True, text=True, check=False, cwd="/",
    )  # fmt: skip
    assert done.returncode == 0 or not check, done.stderr
    return done.stdout


class Server:
    def __init__(self, data, socket):
        self.data, self.socket = data, socket

    def ask(self, text, database="postgres"):
        words = [BIN / "psql", "-h", self.socket, "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", database]
        return sql.answers(run(*words, stdin=text))

    def start(self):
        run(BIN / "pg_ctl", "-D", self.data, "-w", "-t", "120", "-l", self.data / "log", "start")

    def stop(self):
        run(BIN / "pg_ctl", "-D", self.data, "-m", "immediate", "-w", "stop", check=False)

    def facts(self, number=None):
        tables = self.ask(sql.TABLES, "app")[0]
        return sql.table_facts(self.ask(sql.measure(tables, number), "app"))


@pytest.fixture
def place():
    # Short: a socket's path has at most 107 bytes. Of a user of its own, whom pytest's folder is closed to.
    folder = Path(
        subprocess.run(["mktemp", "-d", "/tmp/tinh-pg-XXXX"], capture_output=True, text=True).stdout.strip()
    )
    shutil.chown(folder, "postgres", "postgres")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


SETTINGS = """
listen_addresses = ''
unix_socket_directories = '{place}'
port = {port}
fsync = off
wal_level = replica
archive_mode = on
archive_command = 'cp %p {place}/archive/%f'
"""


def test_a_restore_to_the_point_has_exactly_what_was_counted_although_writers_went_on(place, monkeypatch):
    monkeypatch.setenv("PGPORT", "5432")
    first, second = Server(place / "a", place), Server(place / "b", place)
    run("mkdir", place / "archive")
    run(BIN / "initdb", "-D", first.data, "-A", "trust", "--no-sync")
    (first.data / "postgresql.auto.conf").write_text(SETTINGS.format(place=place, port=5432))
    first.start()
    stop = threading.Event()
    written = []

    def write():
        number = 0
        while not stop.is_set():
            number += 1
            first.ask(
                f"insert into odd.\"Tên bảng\" values ({number}, now(), 0.1 * {number}, 'x');"  # noqa: S608
                f'update counted set n = n + 1; delete from odd."Tên bảng" where id % 7 = 0;',
                "app",
            )
            written.append(number)

    try:
        first.ask("create database app;")
        first.ask(
            'create schema odd; create table odd."Tên bảng" (id int, at timestamptz, f float8, t text);'
            "create table counted (n int); insert into counted values (0); create table nothing (a int);",
            "app",
        )
        run(BIN / "pg_basebackup", "-h", place, "-D", second.data, "-c", "fast", "-X", "none")
        writer = threading.Thread(target=write)
        writer.start()
        time.sleep(1)
        first.ask(sql.MARKER.format(number=NUMBER))
        recorded = first.facts(NUMBER)
        after = len(written)
        time.sleep(0.5)
        stop.set()
        writer.join()
        assert len(written) > after, "writers were kept out for longer than the restore point"
        first.ask(sql.ENDED.format(number=NUMBER))
        wanted = first.ask(sql.SWITCH)[0]["file"]
        end = time.monotonic() + 60
        while (first.ask(sql.ARCHIVED)[0]["last"] or "") < wanted and time.monotonic() < end:
            time.sleep(0.1)
        live = first.facts()
        first.stop()
        (second.data / "postgresql.auto.conf").write_text(
            SETTINGS.format(place=place, port=5432).replace("archive_mode = on", "archive_mode = off")
            + f"restore_command = 'cp {place}/archive/%f %p'\nrecovery_target_name = '{sql.point_name(NUMBER)}'\n"
            "recovery_target_action = 'promote'\n"
        )
        run("touch", second.data / "recovery.signal")
        second.start()
        end = time.monotonic() + 60
        while second.ask("select to_json(array[pg_is_in_recovery()::text]);") == [["true"]]:
            assert time.monotonic() < end
            time.sleep(0.1)
        restored = second.facts()
        assert set(recorded) == {'odd."Tên bảng"', "public.counted", "public.nothing"}
        assert differences(recorded, restored) == []
        assert differences(live, restored), "nothing was written after the point: the test proves nothing"
        assert second.ask(sql.MARKERS) == [[NUMBER]]
        # Sabotage: one row that was changed is found.
        second.ask("update counted set n = n + 1;", "app")
        assert [line.split(":")[0] for line in differences(recorded, second.facts())] == [
            "public.counted.sum"
        ]
    finally:
        stop.set()
        first.stop()
        second.stop()


@pytest.fixture
def server(place, monkeypatch):
    monkeypatch.setenv("PGPORT", "5432")
    found = Server(place / "a", place)
    run("mkdir", place / "archive")
    run(BIN / "initdb", "-D", found.data, "-A", "trust", "--no-sync")
    (found.data / "postgresql.auto.conf").write_text(SETTINGS.format(place=place, port=5432))
    found.start()
    yield found
    found.stop()


def test_a_restored_database_takes_the_place_of_one_in_use_at_once_or_not_at_all(server, monkeypatch):
    from infra.backup import beside
    from infra.errors import ToolError

    def ask(text):
        words = [BIN / "psql", "-h", server.socket, "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", "postgres"]
        done = subprocess.run(
            ["runuser", "-u", "postgres", "--", *map(str, words)],
            input=text,
            capture_output=True,
            text=True,
            cwd="/",
        )
        if done.returncode:
            raise ToolError(done.stderr)
        return sql.answers(done.stdout)

    for name in ("app", "app_restored_20261126t120000"):
        ask(f'create database "{name}";')
        server.ask(f"create table t (v text); insert into t values ('{name}');", name)  # noqa: S608
    stop, seen = threading.Event(), []

    def use():
        while not stop.is_set():
            done = run(
                BIN / "psql", "-h", server.socket, "-XqAt", "-d", "app", "-c", "select v from t", check=False
            )
            seen.append(done.strip())

    users = [threading.Thread(target=use) for _ in range(3)]
    for user in users:
        user.start()
    try:
        monkeypatch.setattr(beside, "SWITCHES", 1)
        with pytest.raises(ToolError, match="could not be switched"):
            beside.switch(ask, "app", "no_such_database", "app_before")
        assert "app_before" not in str(ask("select json_agg(datname) from pg_database;"))
        monkeypatch.setattr(beside, "SWITCHES", 20)
        beside.switch(ask, "app", "app_restored_20261126t120000", "app_before_20261126t120000")
    finally:
        stop.set()
        for user in users:
            user.join()
    names = ask("select json_agg(datname) from pg_database;")[0]
    assert {"app", "app_before_20261126t120000"} <= set(names) and "app_restored_20261126t120000" not in names
    assert server.ask("select json_agg(v) from t;", "app") == [["app_restored_20261126t120000"]]
    assert server.ask("select json_agg(v) from t;", "app_before_20261126t120000") == [["app"]]
    # what users saw was one or the other, and nothing in between but a refused connection
    assert set(seen) <= {"app", "app_restored_20261126t120000", ""}
    assert ask(sql.DATABASES) == [["app"]]


def archived(server, segment):
    end = time.monotonic() + 60
    while not (server.data.parent / "archive" / segment).exists():
        assert time.monotonic() < end, segment
        time.sleep(0.1)


def test_a_segment_of_which_the_archiver_was_never_told_gets_into_the_archive(server):
    """What a kill leaves that comes between the end of a segment and its notice."""
    # As the operator has it: otherwise a checkpoint would soon want to recycle the file, and notice.
    server.ask("alter system set wal_keep_size = '512MB';")
    server.ask("select pg_reload_conf();")
    notices = server.data / "pg_wal" / "archive_status"
    segments = []
    for number in range(3):
        server.ask(f"create table t{number} (a int);")
        segments.append(server.ask(sql.SWITCH)[0]["file"])
        archived(server, segments[-1])
    assert server.ask(sql.UNANNOUNCED) == [[]]
    (notices / f"{segments[-1]}.done").rename(notices / "aside")
    assert server.ask(sql.UNANNOUNCED) == [[segments[-1]]], "the newest one, after which nothing was written"
    (notices / "aside").rename(notices / f"{segments[-1]}.done")
    lost = segments[1]
    server.stop()
    (notices / f"{lost}.done").unlink()
    (server.data.parent / "archive" / lost).unlink()
    server.start()
    server.ask("checkpoint;")
    assert server.ask(sql.UNANNOUNCED) == [[lost]]
    server.ask(sql.announce(lost))
    assert server.ask(sql.UNANNOUNCED) == [[]]
    archived(server, server.ask(sql.SWITCH)[0]["file"])
    archived(server, lost)
