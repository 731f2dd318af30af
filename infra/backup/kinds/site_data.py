"""The site's facts from the repository, and its keys and secrets from the state folder.

The key that opens backups is left out: sealed in a backup it would be of no use, and production must not have it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path

from infra import paths
from infra.backup.source import (
    TREE,
    Facts,
    Ground,
    Taken,
    file_item,
    pack,
    private_folder,
    tree_facts,
    unpack,
)

FACTS, STATE = "site", "state"
#: What of the state folder comes back, and why nothing else could make it again. All that is not named below is taken
#: too; a test wants every name of the code to be in one of the two tables.
KEPT = {
    "passphrase": "opens the secrets in Pulumi's state",
    "secrets": "passwords and keys that applications have",
    "pki": "the site's authorities, and the key that signs catalogue and receipts",
    "dnssec": "signs the zones: a new key would have to be told to every parent zone",
    "ssh": "keys of the machines and of the copies, and whom to trust",
    "lab.json": "addresses and numbers of machines that a lab was made with",
    "receipts": "proofs of drills and rebuilds",
    "certificates": "signed documents about IPv6",
    "kubeconfig": "comes back as a file only: a rebuilt cluster has its own",
    "cluster.json": "as kubeconfig",
}
#: What is left out, and why.
LEFT_OUT = {
    "pulumi": "a data set of its own",
    "pulumi-home": "plugins and logs of Pulumi, made anew",
    "logs": "of what has ended",
    "locks": "whoever holds one is not there after a restore",
    "timings.json": "how long steps took",
    "converged": "what Ansible has done on machines that are gone",
    "outside": "as converged, of the lab's outside",
    "control-plane": "processes of the sim and their data, made anew",
    "rebuild.json": "steps of a rebuild under way",
    "backup": "what is sealed already; without it the next backup is a complete one",
    "vault": "opens backups: production must not have it, and sealed by itself it is of no use",
    "restored": "came from a backup",
}
#: Names that are made with a time or a number, and begin so: what Pulumi tells, states that a restore has put aside.
LEFT_OUT_BEGIN = ("events-", "pulumi.")


@contextlib.contextmanager
def take(ground: Ground) -> Generator[Taken, None, None]:
    """See `KindModule`."""
    name = ground.site.name
    with private_folder(name) as work:
        at = datetime.now(UTC)
        pack(work / TREE, [(FACTS, paths.SITES / name), (STATE, paths.state(name).root)], _left_out)
        unpack(work / TREE, work / "again")
        yield Taken([file_item(TREE, work / TREE)], at, tree_facts(work / "again"))


def count(folder: Path) -> Facts:
    """See `KindModule`."""
    unpack(folder / TREE, folder / "again")
    return tree_facts(folder / "again")


def left_out(name: str) -> bool:
    """Return whether a name in the state folder is left out."""
    return name in LEFT_OUT or name.startswith(LEFT_OUT_BEGIN)


def _left_out(name: str) -> bool:
    top, _, rest = name.partition("/")
    return top == STATE and (left_out(rest.partition("/")[0]) or name.endswith(".part"))
