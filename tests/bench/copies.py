"""Copies of the bench's database: by PostgreSQL's own programs and tar, and as tinh takes and brings them back."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, datetime

from infra import paths, receipt
from infra.backup import beside, bring, seal
from infra.backup.catalogue import Entry, new_id
from infra.backup.kinds import of
from infra.backup.kinds.postgresql import backup_object
from infra.backup.recovery import beside_policies
from infra.backup.sets import DataSet, Kind
from infra.backup.source import Ground
from infra.backup.take import take
from infra.backup.vault import Vault, machines
from infra.model.backup import load_policy
from infra.model.base import Text
from infra.model.site import Site
from tests.bench.database import BenchDatabase, database, wait
from tests.bench.machines import on, piped, ssh
from tests.bench.manifests import SPACE, Object, client_pod
from tests.bench.measure import MeasureError

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

    @property
    def site(self) -> Site:
        """The site."""
        return self.made.site

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


@contextlib.contextmanager
def recovered(
    now: Bench, entry: Entry, to: datetime | None = None
) -> Generator[tuple[str, float], None, None]:
    """Restore as `tinh restore` does; return the new primary's pod, and how long bringing the copies took."""
    moments: list[float] = []

    def tell(_: str) -> None:
        moments.append(time.monotonic())  # said before bringing, and before PostgreSQL replays

    # A new name each time: volumes of the last one go away behind its back.
    made, name = now.made, f"back-{secrets.token_hex(3)}"
    found = bring.items_of([entry], now.vault("reader"), now.identity)
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


@contextlib.contextmanager
def ground(site: Site, mib: int) -> Generator[Bench, None, None]:
    """Make database, pod and folder, and remove all of it in the end."""
    host = machines(site)[0].name
    volume = f"{max(1, -(-mib * 6 // 1024))}Gi"
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
