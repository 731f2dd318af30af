"""Keys of backups. Production has the public key and the writer's; what opens and clears out is kept elsewhere.

In a data centre the public keys are in `backup.yaml`, made in a ceremony (docs/backup.md). A lab makes its own, in the
folder `vault` of its state: the same folder that an operator of a data centre brings from the safe.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from infra import paths, private, receipt
from infra.backup import seal
from infra.backup.vault import keys_of, machines
from infra.errors import TinhError
from infra.model.backup import load_policy
from infra.model.site import Site, SiteKind

#: Files of the kit: the private key that opens backups, and the public key that signs the catalogue.
IDENTITY, SIGNER = "identity.age", "province.pub"
#: Beside the site's ssh keys: a lab's public key to seal for, and how the names of the keys for the copies begin.
RECIPIENT, PREFIX = "backup-recipient", "backup-"


def recipients(site: Site) -> tuple[str, ...]:
    """Return the public keys for which a site seals; a lab's private key is made with its first one.

    Raises:
        TinhError: a data centre names none.
    """
    found = load_policy(site.name).recipients
    if found:
        return found
    if site.kind is SiteKind.DATACENTRE:
        raise TinhError(
            "no public key to seal backups for",
            where=f"stacks/sites/{site.name}/backup.yaml: recipients",
            fix="hold the key ceremony (docs/backup.md) and enter the public keys",
        )
    state = paths.state(site.name)

    def public() -> bytes:
        secret = private.once(state.vault / IDENTITY, lambda: seal.make_identity().encode())
        return seal.public_of(secret.decode(), IDENTITY).encode()

    return (private.once(state.ssh / RECIPIENT, public).decode(),)


def identity(site: Site, file: Path | None) -> str:
    """Return the private key that opens backups.

    Args:
        site: the site.
        file: where it is; None: in the folder `vault`.

    Raises:
        TinhError: it is not there.
    """
    place = file or paths.state(site.name).vault / IDENTITY
    try:
        return place.read_text("utf-8")
    except OSError as error:
        raise TinhError(
            f"the key that opens backups is not here: {error.strerror}", where=str(place),
            fix="bring it from where it is kept and give --identity FILE",
        ) from None  # fmt: skip


def signer(site: Site, kit: Path | None) -> str:
    """Return the public key that must have signed the catalogue: the kit's, where the site itself may be lost."""
    file = (kit or paths.state(site.name).vault) / SIGNER
    if file.exists():
        return file.read_text("utf-8").strip()
    return receipt.public_text(receipt.province_key(site.name))


def make(site: Site) -> None:
    """Make the keys of the machines with the copies once, and complete the kit: all that a rebuild needs besides them.

    The kit is the folder `vault`: the private key, the reader's and the keeper's, where the machines are, their host
    keys, and the province's public key. It is to be kept elsewhere (docs/backup.md).
    """
    keys, state = keys_of(site), paths.state(site.name)
    for key in (keys.writer, keys.reader, keys.keeper):
        # The public parts stay with the machines' other keys: by them the agents are prepared while the kit is away.
        public = state.ssh / f"{PREFIX}{key.name.removeprefix(PREFIX)}.pub"
        key.parent.mkdir(exist_ok=True, mode=0o700)
        if not public.exists():
            words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", key.name, "-f", str(key)]
            subprocess.run(words, check=True, timeout=30)
            private.write(public, key.with_suffix(".pub").read_bytes())
    if site.kind is not SiteKind.DATACENTRE:
        recipients(site)
    copies = machines(site)
    config = [line for m in copies for line in (f"Host {m.name}", f"  HostName {m.primary.ipv6}")]
    private.write(state.vault / "config", ("\n".join(config) + "\n").encode())
    names = {name for m in copies for name in (m.name, *m.primary.pair())}
    lines = (state.ssh / "known_hosts").read_text("utf-8").splitlines()
    known = [line for line in lines if line.split(" ", 1)[0] in names]
    private.write(state.vault / "known_hosts", ("\n".join(known) + "\n").encode())
    public = receipt.public_text(receipt.province_key(site.name))
    private.write(state.vault / SIGNER, f"{public}\n".encode())
