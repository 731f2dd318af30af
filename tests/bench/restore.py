"""`python -m tests.bench.restore`: backup and restore of a database, against PostgreSQL's and tar's.

- base backup into the object storage, against `pg_basebackup` into a file on the storage's kind of volume: both over TLS;
- that backup counted and sealed at the backup host, against `pg_basebackup` piped into a file there: both through the API
  server, then SSH;
- restore from there until PostgreSQL serves, against that file unpacked into a volume: the same way back.

Throughput is bytes of the database for each second; both sides take turns. Then a restore to a moment between two rows,
and a drill of one of the site's own data sets.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import subprocess
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import click

from infra import paths, receipt
from infra.backup import beside, bring, drill, seal
from infra.backup.catalogue import Entry, new_id
from infra.backup.kinds import of
from infra.backup.kinds.postgresql import backup_object
from infra.backup.memory import Stored
from infra.backup.recovery import beside_policies
from infra.backup.sets import DataSet, Kind, data_sets
from infra.backup.source import Ground
from infra.backup.take import take
from infra.backup.vault import Vault, machines
from infra.errors import TinhError
from infra.model.backup import load_policy
from infra.model.base import Text
from infra.model.site import Site, load_site
from tests.bench.database import SPACE, BenchDatabase, Object, client_pod, database, wait
from tests.bench.figures import Row, at_most, ratio_at_least
from tests.bench.machines import on, piped, ssh
from tests.bench.measure import MeasureError, seconds

SECTION = "backup"
SHARE = 0.8
#: Of the copies that are only for the bench, on the backup host.
FOLDER = "/srv/tinh-bench"
AGENT = "/usr/local/sbin/tinh-vault"
#: Bytes of a row of `filling`, about: digits of hashes, which nothing on the way makes smaller than half.
ROW = 240
FILL = """
create table filling as select n, md5(n::text) || md5((n + 1)::text) || md5((n * 7)::text) || md5((n * 13)::text)
|| md5((n * 17)::text) || md5((n * 19)::text) as filler from generate_series(1, {rows}) n;
alter table filling add primary key (n);
"""
#: Seconds for a base backup.
BASE = 3600


@dataclass(frozen=True)
class Bench:
    """What the rounds share.

    Args:
        made: the database.
        plain: pod with PostgreSQL's own programs and a volume.
        host: machine with the copies.
        identity: private key that opens what is sealed here.
        size: bytes of the database.
    """

    made: BenchDatabase
    plain: str
    host: str
    identity: str
    size: int
    times: dict[str, list[float]] = field(default_factory=dict)

    @property
    def site(self) -> Site:
        """The site."""
        return self.made.site

    def note(self, what: str, value: float) -> None:
        """Remember a time in seconds."""
        self.times.setdefault(what, []).append(value)

    def vault(self, role: str) -> Vault:
        """Return the copies of the bench, kept by the same agent in a folder of its own."""
        return Vault(self.host, (*ssh(self.site, self.host), f"TINH_VAULT={FOLDER}/vault", AGENT, role))


# --- what one would use instead


def plain_pod(made: BenchDatabase) -> Object:
    """Return a pod with PostgreSQL's programs, the certificate for replication and a volume like the storage's."""
    volumes: list[Object] = [
        {"name": "replication", "secret": {"secretName": f"{made.name}-replication", "defaultMode": 0o440}},
        {"name": "target", "persistentVolumeClaim": {"claimName": "target"}},
    ]
    user = {
        "PGUSER": "streaming_replica",
        "PGSSLCERT": "/replication/tls.crt",
        "PGSSLKEY": "/replication/tls.key",
    }
    return client_pod("plain", made.image, made.name, ["sleep", "infinity"], volumes, **user)


def claim(made: BenchDatabase, size: str) -> Object:
    """Return the volume of that pod: of the class that the database has."""
    storage = made.cluster["spec"]["storage"]["storageClass"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "target", "namespace": SPACE},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": storage,
            "resources": {"requests": {"storage": size}},
        },
    }


BASEBACKUP = "pg_basebackup --format=tar --wal-method=fetch --checkpoint=fast --pgdata="


def plain_base(now: Bench) -> None:
    """Back up into a file of the volume; pg_basebackup syncs it."""
    now.made.kubectl.execute(
        SPACE, now.plain, "client", "sh", "-ec", f"rm -rf /target/base; {BASEBACKUP}/target/base"
    )


def plain_sealed(now: Bench) -> None:
    """Back up into a file at the backup host."""
    words = ("--namespace", SPACE, "exec", now.plain, "--", "sh", "-ec", f"{BASEBACKUP}-")
    piped(
        [*now.made.kubectl.words, *words],
        [*ssh(now.site, now.host), f"cat > {FOLDER}/plain.tar && sync {FOLDER}/plain.tar"],
    )


def plain_back(now: Bench) -> None:
    """Unpack that file into the volume."""
    into = "rm -rf /target/back; mkdir /target/back; tar -x -C /target/back; sync -f /target/back"
    words = ("--namespace", SPACE, "exec", "--stdin", now.plain, "--", "sh", "-ec", into)
    piped([*ssh(now.site, now.host), f"cat {FOLDER}/plain.tar"], [*now.made.kubectl.words, *words])


# --- what tinh does


def base(now: Bench) -> None:
    """Make a base backup in the object storage.

    Raises:
        MeasureError: it failed.
    """
    name = f"base-{secrets.token_hex(4)}"
    made = now.made
    made.kubectl.apply([backup_object(name, made.name, SPACE)], create=True)

    def done() -> bool:
        status = made.kubectl.json("--namespace", SPACE, "get", "backups.postgresql.cnpg.io", name).get(
            "status", {}
        )
        if status.get("phase") == "failed":
            raise MeasureError(f"the base backup failed: {status.get('error', 'no reason given')}")
        return status.get("phase") == "completed"

    wait(done, BASE, "a base backup", 0.25)


def data_set(site: Site, name: str) -> DataSet:
    """Return the bench's database as a data set; its base backups are never due: the bench makes them."""
    policy = load_policy(site.name)
    return DataSet(
        name=name, kind=Kind.POSTGRESQL, holds=Text(vi="Dữ liệu đo thử", en="Data of the benchmark"), point=5, time=60,
        drill_days=policy.drill_days, full_hours=10_000, retention=policy.retention, namespace=SPACE,
    )  # fmt: skip


def sealed(now: Bench) -> Entry:
    """Take a complete backup as `tinh backup run` does: count, archive, seal, bring to the backup host, enter."""
    wanted = data_set(now.site, now.made.name)
    forget(now.site, wanted.name)
    begun = datetime.now(UTC)
    ground = Ground(now.site, wanted, new_id(begun), _silent)
    with of(wanted.kind).take(ground) as taken:
        return take(
            now.site, wanted, taken, now.vault("writer"), number=ground.number, begun=begun,
            recipients=[seal.public_of(now.identity, "the bench")], key=receipt.province_key(now.site.name),
            tell=_silent,
        )  # fmt: skip


def forget(site: Site, name: str) -> None:
    """Have the next backup be a complete one."""
    for file in paths.state(site.name).backup.glob(f"{name}.*"):
        file.unlink()


def items(now: Bench, entry: Entry) -> dict[str, Stored]:
    """Return what a backup holds."""
    return bring.items_of([entry], now.vault("reader"), now.identity)


@contextlib.contextmanager
def recovered(
    now: Bench, entry: Entry, to: datetime | None = None
) -> Generator[tuple[str, float], None, None]:
    """Restore as `tinh restore` does; return the new primary's pod, and how long bringing the copies took."""
    moments: list[float] = []

    def tell(_: str) -> None:
        moments.append(time.monotonic())  # said before bringing, and before PostgreSQL replays

    made, name = now.made, "back"
    found = items(now, entry)
    what = beside.Beside(
        site=now.site, live=made.cluster, name=name, space=SPACE, to=to, point="" if to else entry.id,
        policies=beside_policies(now.site, SPACE, name),
    )  # fmt: skip
    with beside.recovered(
        made.kubectl, what, found, now.vault("reader"), now.identity, tell, lambda done, total: None
    ) as pod:
        yield pod, moments[1] - moments[0]


def _silent(_: str) -> None:
    """Say nothing."""


# --- rounds


def one(now: Bench) -> None:
    """Do everything once, each beside what one would use instead."""
    for what, work in (("base", base), ("plain base", plain_base), ("plain sealed", plain_sealed)):
        now.made.sql("checkpoint")
        now.note(what, seconds(lambda work=work: work(now)))
    began = time.monotonic()
    entry = sealed(now)
    now.note("sealed", time.monotonic() - began)
    now.note("bringing", entry.milliseconds / 1000)
    now.note("plain back", seconds(lambda: plain_back(now)))
    began = time.monotonic()
    with recovered(now, entry) as (_, brought):
        now.note("restore", time.monotonic() - began)
        now.note("bringing back", brought)


def to_marker(now: Bench) -> float:
    """Restore to the moment between two rows; return the seconds until that was seen to be so.

    Raises:
        MeasureError: the first row is missing, or the second one is there.
    """
    made = now.made
    made.sql("create table if not exists marks (n integer); truncate marks; insert into marks values (1)")
    time.sleep(1.1)
    moment = datetime.fromisoformat(made.sql("select to_json(clock_timestamp())#>>'{}'"))
    time.sleep(1.1)
    made.sql("insert into marks values (2)")
    entry = sealed(now)
    began = time.monotonic()
    with recovered(now, entry, moment) as (pod, _):
        found = made.sql("select json_agg(n order by n) from marks", pod)
        if found != "[1]":
            raise MeasureError(f"restored to the moment between rows 1 and 2, there are {found}")
        return time.monotonic() - began


def rows(size: int, times: dict[str, list[float]]) -> list[Row]:
    """Return the rows of all rounds: throughput in MB of the database for each second."""

    def speed(what: str) -> tuple[float, ...]:
        return tuple(size / value / 1e6 for value in times[what])

    def row(what: str, ours: str, instead: str, way: str) -> Row:
        return Row(
            section=SECTION, what=f"{what}, {size >> 20} MiB", unit="MB/s", values=speed(ours),
            instead=speed(instead), way=way, goal=ratio_at_least(SHARE),
        )  # fmt: skip

    return [
        row("base backup into the object storage", "base", "plain base", "pg_basebackup"),
        row("counted, archived and sealed backup", "sealed", "plain sealed", "pg_basebackup"),
        row("of it: sealing and bringing", "bringing", "plain sealed", "pg_basebackup"),
        row("restore until PostgreSQL serves", "restore", "plain back", "raw copy"),
        row("of it: bringing and opening", "bringing back", "plain back", "raw copy"),
    ]


def drill_row(body: dict[str, Any], name: str) -> Row:
    """Return the row of a data set in a drill's receipt.

    Raises:
        MeasureError: it was not proven.
    """
    found = next((each for each in body["results"] if each["data_set"] == name), None)
    if found is None or found["wrong"]:
        raise MeasureError(f"the drill of {name} proves nothing: {found and '; '.join(found['wrong'][:3])}")
    return Row(
        section=SECTION, what=f"drill of {name}, {found['compared']} facts", unit="s",
        values=(float(found["seconds"]),), goal=at_most(found["allowed_seconds"]),
    )  # fmt: skip


def drilled(site: Site, name: str) -> Row:
    """Back up one of the site's data sets, if that is due, and prove it by `tinh drill run`."""
    for words in (
        ("backup", "run", name),
        ("drill", "run", "--data-set", name, "--from", machines(site)[0].name),
    ):
        command = [sys.executable, "-m", "cli.main", *words, "--site", site.name]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=paths.REPO)
        if done.returncode not in (0, 3):
            raise MeasureError(f"tinh {' '.join(words)}: {done.stderr.strip()[-400:]}")
    file = max(drill.folder(site.name).glob("drill-*.json"), key=lambda each: each.stat().st_mtime)
    return drill_row(receipt.read(file)["body"], name)


@contextlib.contextmanager
def ground(site: Site, mib: int) -> Generator[Bench, None, None]:
    """Make database, pod and folder, and remove all of it in the end."""
    host = machines(site)[0].name
    volume = f"{max(1, -(-mib * 4 // 1024))}Gi"
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(database(site, 1, volume))
        made.sql(FILL.format(rows=(mib << 20) // ROW))
        made.kubectl.apply([claim(made, volume)])
        plain = stack.enter_context(made.running(plain_pod(made)))
        stack.callback(forget, site, made.name)
        stack.callback(on, site, host, f"rm -rf {FOLDER}")
        on(site, host, f"rm -rf {FOLDER}; mkdir -m 0700 {FOLDER}")
        size = int(made.sql("select sum(pg_database_size(oid)) from pg_database"))
        yield Bench(made, plain, host, seal.make_identity(), size)


def measure(site_name: str, mib: int, rounds: int) -> list[Row]:
    """Measure everything.

    Raises:
        MeasureError: something failed, or did not come back as it was.
    """
    site = load_site(site_name)
    with ground(site, mib) as now:
        for _ in range(rounds):
            one(now)
        moments = tuple(to_marker(now) for _ in range(rounds))
    own = next(each.name for each in data_sets(site) if each.kind is Kind.POSTGRESQL)
    to_moment = Row(section=SECTION, what="restore to a moment between two rows", unit="s", values=moments)
    return [*rows(now.size, now.times), to_moment, drilled(site, own)]


@click.command()
@click.option("--site", default="lab", show_default=True)
@click.option("--mib", type=click.IntRange(min=16), default=256, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
def main(site: str, mib: int, rounds: int) -> None:
    """Measure backup, restore and drill."""
    try:
        for row in measure(site, mib, rounds):
            click.echo(json.dumps(row.data()))
    except (MeasureError, TinhError, subprocess.SubprocessError) as error:
        click.echo(f"error: could not measure: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
