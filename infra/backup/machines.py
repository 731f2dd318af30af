"""The site's machines for Ansible, for a restore that has to stop and start what runs on them."""

from __future__ import annotations

from typing import Any

from infra.model.site import Site


def inventory_of(site: Site) -> dict[str, Any]:
    """Return Ansible's inventory of a site with the tools that its machines are given.

    Raises:
        HostError: the toolchain is missing.
    """
    from lab.up import hosts_of

    return hosts_of(site)
