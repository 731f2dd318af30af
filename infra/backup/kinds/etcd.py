"""etcd: a snapshot taken on a control plane machine, opened at once by an etcd of our own to see that it can be.

Sources: https://etcd.io/docs/v3.6/op-guide/recovery/, https://kubernetes.io/docs/tasks/administer-cluster/configure-upgrade-etcd/
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path

from infra.backup.programs import free_port, program
from infra.backup.source import Facts, Ground, Taken, file_item, private_folder
from infra.errors import IntegrityError, ToolError
from infra.model.site import Role, Site

SNAPSHOT = "snapshot.db"
#: Prints where etcd is asked: the address that it tells its clients, of whichever family; its certificate has it.
#: `playbooks/etcd_restore.yml` reads the same file by the same rule.
ENDPOINT = "sed -n 's/^ *- --advertise-client-urls=\\([^,]*\\).*/\\1/p' {manifest}"
MANIFEST = "/etc/kubernetes/manifests/etcd.yaml"
#: On a control plane of kubeadm; the file lies where etcd's own data do, so that the room is there.
SAVE = f"""
set -eu
umask 077
endpoint=$({ENDPOINT.format(manifest=MANIFEST)})
[ -n "$endpoint" ] || {{ echo "{MANIFEST} has no --advertise-client-urls" >&2; exit 1; }}
file=$(mktemp -u /var/lib/etcd/tinh-XXXXXXXX.db)
trap 'rm -f "$file" "$file.part"' EXIT
timeout 300 etcdctl --endpoints "$endpoint" --cacert /etc/kubernetes/pki/etcd/ca.crt \\
  --cert /etc/kubernetes/pki/etcd/server.crt --key /etc/kubernetes/pki/etcd/server.key snapshot save "$file" >&2
cat "$file"
"""
#: Seconds for an etcd of our own to open a snapshot.
OPEN = 120


@contextlib.contextmanager
def take(ground: Ground) -> Generator[Taken, None, None]:
    """See `KindModule`. The first control plane that answers is asked.

    Raises:
        ToolError: none answers.
    """
    with private_folder(ground.site.name) as work:
        at = datetime.now(UTC)
        ground.tell(f"{ground.data_set.name}: snapshot from {_save(ground.site, work / SNAPSHOT)}")
        facts = count(work)
        yield Taken([file_item(SNAPSHOT, work / SNAPSHOT)], at, facts, revision=str(facts["revision"]))


def _save(site: Site, file: Path) -> str:
    """Write a snapshot and return whose it is."""
    from lab.up import ssh_command

    said = "there is no control plane machine"
    for machine in site.by_role(Role.CONTROL_PLANE):
        with file.open("wb") as out:
            done = subprocess.run(
                [*ssh_command(site, machine.name), SAVE], stdout=out, stderr=subprocess.PIPE, check=False
            )
        if done.returncode == 0:
            return machine.name
        said = f"{machine.name}: {done.stderr.decode('utf-8', 'replace').strip()[-300:]}"
    raise ToolError(
        f"no control plane gives a snapshot of etcd: {said}",
        where=f"site {site.name}",
        fix="see that etcd runs",
    )


def count(folder: Path) -> Facts:
    """Return revision, hash and number of keys per resource of a snapshot, by opening it.

    Raises:
        IntegrityError: it cannot be opened.
        HostError: the toolchain's etcd is missing.
    """
    file = folder / SNAPSHOT
    with tempfile.TemporaryDirectory(dir=folder) as data, _opened(file, Path(data)) as endpoint:
        keys = _run("etcdctl", "--endpoints", endpoint, "get", "--prefix", "/registry/", "--keys-only")
    status = json.loads(_run("etcdutl", "snapshot", "status", str(file), "--write-out", "json"))
    kinds = Counter(line.split("/")[2] for line in keys.splitlines() if line.startswith("/registry/"))
    return {"revision": status["revision"], "hash": status["hash"], "keys": dict(sorted(kinds.items()))}


@contextlib.contextmanager
def _opened(file: Path, folder: Path) -> Generator[str, None, None]:
    """Run an etcd on a snapshot, on loopback; return its endpoint."""
    _run("etcdutl", "snapshot", "restore", str(file), "--data-dir", str(folder / "data"))
    client, peer = free_port(), free_port()
    endpoint, other = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
    log = folder / "log"
    words = [
        program("etcd"), "--data-dir", str(folder / "data"), "--force-new-cluster", "--log-level", "error",
        "--listen-client-urls", endpoint, "--advertise-client-urls", endpoint, "--listen-peer-urls", other,
    ]  # fmt: skip
    with log.open("wb") as out, subprocess.Popen(words, stdout=out, stderr=out) as process:
        try:
            end = time.monotonic() + OPEN
            while subprocess.run(
                [program("etcdctl"), "--endpoints", endpoint, "endpoint", "health"],
                capture_output=True,
                check=False,
            ).returncode:
                if process.poll() is not None or time.monotonic() > end:
                    said = log.read_text("utf-8", "replace").strip()[-300:]
                    raise IntegrityError(
                        f"etcd does not open the snapshot: {said}",
                        where=str(file),
                        fix="take an older backup",
                    )
                time.sleep(0.2)
            yield endpoint
        finally:
            process.kill()


def _run(name: str, *words: str) -> str:
    done = subprocess.run([program(name), *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise IntegrityError(
            f"{name} {' '.join(words[:2])}: {done.stderr.strip()[-300:]}", where="a snapshot of etcd",
            fix="take an older backup",
        )  # fmt: skip
    return done.stdout
