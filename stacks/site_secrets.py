"""Secrets that a site needs once: made on first use, kept in the site's state folder with mode 0600.

Pulumi cannot make random values by itself here (no provider for it), and a value that it made would exist
only in its state. The file is the source; the state holds it encrypted; the cluster has it as a Secret.
"""

from __future__ import annotations

import secrets

from infra import paths, private
from infra.model.site import Site


def site_secret(site: Site, name: str) -> str:
    """Return the secret of a name: 192 bits of randomness as text, the same at every call.

    Args:
        site: the site.
        name: what it is for, for example `identity-admin`.
    """
    file = paths.state(site.name).root / "secrets" / name
    return private.once(file, lambda: secrets.token_urlsafe(24).encode()).decode()
