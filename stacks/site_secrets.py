"""Secrets that a site needs once: made on first use, kept in the site's state folder with mode 0600.

Pulumi cannot make random values by itself here (no provider for it), and a value that it made would exist
only in its state. The file is the source; the state holds it encrypted; the cluster has it as a Secret.
"""

from __future__ import annotations

import os
import secrets

from infra import paths
from infra.model.site import Site


def site_secret(site: Site, name: str) -> str:
    """Return the secret of a name: 192 bits of randomness as text, the same at every call.

    Args:
        site: the site.
        name: what it is for, for example `identity-admin`.
    """
    folder = paths.state(site.name).root / "secrets"
    folder.mkdir(mode=0o700, exist_ok=True)
    file = folder / name
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return file.read_text("utf-8")
    value = secrets.token_urlsafe(24)
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        out.write(value)
    return value
