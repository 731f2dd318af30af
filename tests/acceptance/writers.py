"""Clients that write numbers into a database, one after the other, and remember those that were acknowledged.

One for each address family, in a pod on a control plane machine, so that they outlive the workers.
"""

import itertools
import time
from dataclasses import dataclass
from typing import Any

from infra import labels
from infra.components.workload.pod import pod

WRITERS = "writers"
FAMILIES = ("ipv6", "ipv4")
#: User and group of PostgreSQL's image.
_USER = 26
#: Each number is tried until it is acknowledged. The second try changes a row, so that its commit waits for the
#: synchronous instance as well: a conflict that changes nothing would be acknowledged at once, and might be lost.
_SCRIPT = """
n=0
while sleep 0.2; do
  n=$((n + 1))
  until timeout 5 psql -XqAt -c "insert into probe (family, n) values ('$FAMILY', $n)
    on conflict (family, n) do update set tries = probe.tries + 1" 2>/log/$FAMILY.error; do sleep 0.1; done
  echo "$EPOCHREALTIME $n" >> /log/$FAMILY
done
"""


def wait_for(condition, seconds, what):
    """Wait until a condition holds; return what it gave."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(1)
    return found


@dataclass(frozen=True)
class Writers:
    """The clients of a database.

    Args:
        lab: the lab.
        space: namespace of database and clients.
        cluster: name of the database's cluster.
        database: name of the database, and of the user.
        image: has bash and psql.
        service: what the clients call the database.
    """

    lab: Any
    space: str
    cluster: str
    database: str
    image: str
    service: str

    def pod(self):
        """Return the pod; each client knows the server by name and goes to one address."""
        addresses = self.lab.get("service", self.service, "-n", self.space)["spec"]["clusterIPs"]
        families = {"ipv6" if ":" in address else "ipv4": address for address in addresses}
        assert sorted(families) == sorted(FAMILIES)
        authority = {"secretName": f"{self.cluster}-ca", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
        plane = "node-role.kubernetes.io/control-plane"
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": WRITERS, "namespace": self.space, "labels": labels.labels(WRITERS, "test")},
            "spec": pod(
                WRITERS,
                _USER,
                [self._client(family, address) for family, address in families.items()],
                [{"name": "log", "emptyDir": {}}, {"name": "database", "secret": authority}],
                nodeSelector={plane: ""},
                tolerations=[{"key": plane, "operator": "Exists"}],
                terminationGracePeriodSeconds=0,
            ),
        }

    def _client(self, family, address):
        values = {
            "FAMILY": family,
            "PGHOST": self.service,
            "PGHOSTADDR": address,
            "PGDATABASE": self.database,
            "PGSSLMODE": "verify-full",
            "PGSSLROOTCERT": "/etc/database/ca.crt",
            "PGCONNECT_TIMEOUT": "2",
        }
        secret = {"PGUSER": "username", "PGPASSWORD": "password"}
        return {
            "name": family,
            "image": self.image,
            "command": ["bash", "-c", _SCRIPT],
            "env": [{"name": name, "value": value} for name, value in values.items()]
            + [
                {"name": name, "valueFrom": {"secretKeyRef": {"name": f"{self.cluster}-app", "key": key}}}
                for name, key in secret.items()
            ],
            "volumeMounts": [
                {"name": "log", "mountPath": "/log"},
                {"name": "database", "mountPath": "/etc/database", "readOnly": True},
            ],
        }

    def acknowledged(self):
        """Return family -> moments and numbers of what was acknowledged."""
        found = {}
        for family in FAMILIES:
            words = ("exec", "-n", self.space, WRITERS, "-c", family, "--", "cat", f"/log/{family}")
            lines = self.lab.kubectl(*words, check=False).stdout.splitlines()
            found[family] = [(float(at), int(n)) for at, _, n in (line.partition(" ") for line in lines)]
        return found

    def wait(self, seconds):
        """Wait until each client was acknowledged something from now on."""
        now = time.time()

        def after():
            return all(rows and rows[-1][0] > now for rows in self.acknowledged().values())

        wait_for(after, seconds, f"writes to {self.cluster} are acknowledged over both families")

    def silence(self, since):
        """Return family -> longest time in seconds without an acknowledgement that ended after a moment."""
        longest = {}
        for family, rows in self.acknowledged().items():
            times = [at for at, _ in rows]
            gaps = [b - a for a, b in itertools.pairwise(times) if b > since]
            longest[family] = round(max(gaps, default=0), 1)
        return longest
