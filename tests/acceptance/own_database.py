"""A database of the tests' own, made by the project's own functions, into which clients write while bad things happen.

It archives into the bucket of the site's application `probe`, in a folder that no other run has, and goes away with its
namespace.
"""

import contextlib
import json
import time

import yaml

from cli import backend
from infra import contract, labels, paths
from infra.components.data.database import DatabaseArgs, cluster, object_store, pooler
from infra.components.workload.allow import (
    OBJECTS,
    OBJECTS_PORT,
    dns,
    from_namespaces,
    postgresql,
    to_postgresql,
)
from infra.components.workload.namespace import NamespaceArgs, exception, namespace, network_policies
from infra.contract import DataContract
from infra.model.data import Holding, Recovery
from infra.model.platform import load_platform
from infra.model.site import Role
from tests.acceptance.conftest import SITE, tinh
from tests.acceptance.writers import FAMILIES, WRITERS, Writers, wait_for
from tests.known import Known, plain

#: Application of the site whose bucket and account the archive uses.
PROBE, PROBE_SECRET = "probe", "probe-files-access"
CLUSTER = "cluster.postgresql.cnpg.io"
POOLER = "pooler.postgresql.cnpg.io"
DATABASE, ARCHIVE = "numbers", "archive"
#: Settings with which the log, once it is archived, needs little room; the operator keeps 512 MB by default.
SMALL = {"wal_keep_size": "0", "min_wal_size": "32MB", "max_wal_size": "64MB"}
TABLE = "create table probe (family text, n int, tries int default 1, primary key (family, n));"


class OwnDatabase:
    """A cluster in a namespace of its own.

    Args:
        lab: the lab.
        space: its namespace.
        instances: how many; two write synchronously.
        memory: of each instance.
        log_volume: size and storage class of a volume of its own for the log (WAL).
        poolers: how many; with them the clients go through them.
    """

    def __init__(self, lab, space, instances=2, memory="256Mi", log_volume=None, poolers=0):
        store = next(one for one in load_platform("identity").data if one.engine == "postgresql")
        changed = {"synchronous": True, "recovery": Recovery(point=1, time=60)}
        state = backend.read_stack(paths.state(SITE), f"data.{SITE}")
        found = contract.read(DataContract, state.outputs[contract.OUTPUT], f"data.{SITE}")
        self.lab, self.space, self.log_volume = lab, space, log_volume
        self.args = DatabaseArgs(
            holding=Holding(space, store.model_copy(update=changed)),
            instances=instances,
            size="1Gi",
            memory=memory,
            database=DATABASE,
            poolers=poolers,
            data=Known(found),
            secret=Known,
            simulated=True,  # nobody but kubectl waits for it
        )
        self.name = self.args.name
        self.writers = Writers(lab, space, self.name, DATABASE, store.image, self.args.service)

    # --- objects

    def objects(self):
        """Return everything but the clients: they need addresses that are not there yet."""
        writers = labels.selector(WRITERS)
        allow = (
            dns(),
            to_postgresql(self.name, writers),
            *postgresql(self.lab.site, self.name, writers),
        )
        space = NamespaceArgs(name=self.space, part_of="test", allow=allow)
        account = self.lab.get("secret", PROBE_SECRET, "-n", PROBE)
        archive = plain(object_store(self.args, ARCHIVE))
        archive["spec"]["configuration"]["destinationPath"] = (
            f"s3://probe-files/{self.space}-{time.time_ns()}/"
        )
        made = plain(cluster(self.args))
        if self.log_volume:
            made["spec"]["walStorage"] = self.log_volume
            made["spec"]["postgresql"]["parameters"] |= SMALL
        return [
            namespace(space),
            *network_policies(space),
            self._into_storage(),
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": ARCHIVE, "namespace": self.space},
                "data": account["data"],
            },
            archive,
            made,
            *([plain(pooler(self.args))] if self.args.poolers else []),
        ]

    def _into_storage(self):
        """Return the policy that lets the namespace reach the object storage."""
        clients = from_namespaces(self.space, labels.selector(OBJECTS), [self.space], [OBJECTS_PORT])
        return exception(clients, OBJECTS, "test")

    # --- life

    @contextlib.contextmanager
    def running(self):
        """Make the database and its clients; remove everything in the end."""
        try:
            self.lab.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(self.objects()))
            self.healthy(600)
            self.sql(TABLE + f"alter table probe owner to {DATABASE};")
            self.lab.kubectl("apply", "-f", "-", stdin=json.dumps(self.writers.pod()))
            self.writers.wait(120)
            yield self
        finally:
            policy = self._into_storage()["metadata"]["name"]
            self.lab.kubectl("-n", OBJECTS, "delete", "networkpolicy", policy, "--ignore-not-found")
            # PostgreSQL would wait three minutes for its clients, and for the archive that has lost its key.
            here = ("-n", self.space, "--ignore-not-found")
            self.lab.kubectl("delete", POOLER, "--all", *here)
            self.lab.kubectl("delete", CLUSTER, self.name, *here, "--wait=false")
            self.lab.kubectl("delete", "pods", "--all", *here, "--grace-period=0", "--force")
            self.lab.kubectl("delete", "namespace", self.space, "--ignore-not-found", timeout=600)

    def cluster(self):
        return self.lab.get(CLUSTER, self.name, "-n", self.space)

    def primary(self):
        return self.cluster()["status"]["currentPrimary"]

    def instances(self):
        return set(self.cluster()["status"]["instanceNames"])

    def replica(self):
        (found,) = self.instances() - {self.primary()}
        return found

    def volumes(self):
        """Return what identifies the volumes; a new one may have the name of one that is gone."""
        claims = self.lab.get("pvc", "-n", self.space, "-l", f"cnpg.io/cluster={self.name}")["items"]
        return {claim["metadata"]["uid"] for claim in claims}

    def volume(self, instance):
        return self.lab.get("pvc", instance, "-n", self.space)["metadata"]["uid"]

    def node(self, instance):
        return self.lab.get("pod", instance, "-n", self.space)["spec"]["nodeName"]

    def run(self, text, check=False):
        """Have the primary do SQL as the superuser; return what became of it."""
        words = ("exec", "-i", "-n", self.space, self.primary(), "-c", "postgres", "--")
        psql = ("psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", DATABASE)
        return self.lab.kubectl(*words, *psql, stdin=text, check=check)

    def sql(self, text):
        return self.run(text, check=True).stdout.strip()

    def healthy(self, seconds=300):
        """Wait until all instances are ready and the operator is content."""

        def ready():
            status = self.cluster().get("status", {})
            whole = status.get("readyInstances") == self.args.instances
            return whole and status.get("phase") == "Cluster in healthy state"

        wait_for(ready, seconds, f"{self.name} is healthy")

    # --- what was acknowledged

    def lost(self):
        """Return what was acknowledged and is not there."""
        promised = {(family, n) for family, rows in self.writers.acknowledged().items() for _, n in rows}
        assert {family for family, _ in promised} == set(FAMILIES)
        lines = self.sql("select family, n from probe;").split()
        there = {(family, int(n)) for family, _, n in (line.partition("|") for line in lines)}
        return sorted(promised - there)

    # --- faults

    @contextlib.contextmanager
    def fault(self, what, seconds=600):
        """Let something happen; afterwards all heals by itself, and nothing acknowledged is lost."""
        red, begun = set(health()), time.time()
        yield
        self.writers.wait(seconds)
        silent = self.writers.silence(begun)
        self.healthy(seconds)
        print(f"{what}: no acknowledgement for {silent} s, healthy again after {time.time() - begun:.0f} s")
        assert self.lost() == []
        wait_for(lambda: set(health()) <= red, seconds, "`tinh status` names no more than before")

    def named(self, *texts, about, seconds=180):
        """Wait until `tinh status` names a fault in one of these words."""

        def said():
            return [
                text for where, text in health().items() if about in where and any(t in text for t in texts)
            ]

        print(wait_for(said, seconds, f"`tinh status` names {texts} of {about}")[0])


def health():
    """Return what `tinh status` says is not as it ought to be: place -> lines."""
    done = tinh("status", "--site", SITE, "--json")
    found = json.loads(done.stdout)["health"]
    assert not found or done.returncode == 3
    lines = {}
    for one in found:
        lines[one["where"]] = f"{lines.get(one['where'], '')}{one['text']}\n"
    return lines


@contextlib.contextmanager
def cut_from_storage(lab):
    """Let no packet of a pod on any worker reach the object storage, over either family."""
    table = "tinh_fault"
    rules = "; ".join(
        f"add table {family} {table}; "
        f"add chain {family} {table} cut {{ type filter hook forward priority -300; }}; "
        f"add rule {family} {table} cut tcp dport {OBJECTS_PORT} reject"
        for family in ("ip6", "ip")
    )
    workers = lab.machines(Role.WORKER)
    try:
        for worker in workers:
            done = worker.run(f"nft '{rules}'")
            assert done.rc == 0, done.stderr
        yield
    finally:
        for worker in workers:
            worker.run(f"nft 'delete table ip6 {table}'; nft 'delete table ip {table}'")


def reset_archivers(lab):
    """Forget failures of archiving that a fault was meant to cause: other tests want to see none of their own."""
    for item in lab.get(CLUSTER, "-A")["items"]:
        if primary := item.get("status", {}).get("currentPrimary"):
            words = (
                "exec",
                "-n",
                item["metadata"]["namespace"],
                primary,
                "-c",
                "postgres",
                "--",
                "psql",
                "-XqAtc",
            )
            lab.kubectl(*words, "select pg_stat_reset_shared('archiver');", check=False)
