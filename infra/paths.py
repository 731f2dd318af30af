"""The one place that knows where things are.

`TINH_CACHE` (default `~/.cache/tinh`) holds downloads and builds and can be thrown away.
`TINH_STATE` (default `$XDG_STATE_HOME/tinh`, else `~/.local/state/tinh`) holds what must survive:
Pulumi state, passphrases, keys, kubeconfigs; one folder per instance and site, mode 0700.
`TINH_INSTANCE` (default `main`) keeps the labs of several checkouts on one machine apart.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from infra.errors import TinhError

REPO = Path(__file__).resolve().parent.parent
SITES = REPO / "stacks" / "sites"
PLAYBOOKS = REPO / "playbooks"


def cache() -> Path:
    """Return the cache folder; it is created on first use."""
    path = Path(os.environ.get("TINH_CACHE") or Path.home() / ".cache" / "tinh")
    path.mkdir(parents=True, exist_ok=True)
    return path


def instance() -> str:
    """Return the instance name.

    Raises:
        TinhError: when `TINH_INSTANCE` is not 1-8 lower-case letters or digits, starting with a letter
            (it becomes part of container, network and bridge names; IFNAMSIZ allows 15 characters).
    """
    name = os.environ.get("TINH_INSTANCE") or "main"
    if not re.fullmatch(r"[a-z][a-z0-9]{0,7}", name):
        raise TinhError(
            f"instance name {name!r} is not 1-8 lower-case letters or digits starting with a letter",
            where="environment variable TINH_INSTANCE",
            fix="export TINH_INSTANCE=main, for example",
        )
    return name


@dataclass(frozen=True)
class SiteState:
    """The state folder of one site of one instance, and the files in it."""

    root: Path

    @property
    def kubeconfig(self) -> Path:
        """Administrator's kubeconfig of the site's cluster."""
        return self.root / "kubeconfig"

    @property
    def cluster(self) -> Path:
        """JSON with the recorded UID of the cluster's kube-system namespace."""
        return self.root / "cluster.json"

    @property
    def passphrase(self) -> Path:
        """Pulumi's passphrase file."""
        return self.root / "passphrase"

    @property
    def pulumi(self) -> Path:
        """Pulumi's file backend."""
        return self.root / "pulumi"

    @property
    def pki(self) -> Path:
        """The site's certificate authority: ca.crt, ca.key."""
        return self.root / "pki"

    @property
    def ssh(self) -> Path:
        """SSH key pair and known hosts for Ansible."""
        return self.root / "ssh"

    @property
    def vault(self) -> Path:
        """What opens backups and clears them out; on the operator's side only, and in no backup."""
        return self.root / "vault"

    @property
    def backup(self) -> Path:
        """What production remembers of its backups: the last index of each data set."""
        return self.root / "backup"

    @property
    def logs(self) -> Path:
        """Logs of long operations."""
        return self.root / "logs"

    @property
    def locks(self) -> Path:
        """Lock files, one per stack."""
        return self.root / "locks"


def state(site: str) -> SiteState:
    """Return the state folder of a site; it is created with mode 0700 on first use.

    Args:
        site: name of a folder in `stacks/sites/`.
    """
    own, shared = os.environ.get("TINH_STATE"), os.environ.get("XDG_STATE_HOME")
    root = Path(own) if own else Path(shared or Path.home() / ".local" / "state") / "tinh"
    path = root / instance() / site
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return SiteState(path)
