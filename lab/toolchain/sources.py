"""Decides between official releases and builds: a short look whether the official hosts answer."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from urllib.parse import urlparse

from infra.errors import TinhError
from lab.toolchain.catalogue import SOURCES, Catalogue, Source

_TIMEOUT = 3.0
#: Environment variable that forces the source like `--source` does.
VARIABLE = "TINH_SOURCE"


def hosts(catalogue: Catalogue) -> list[str]:
    """Return the addresses (scheme and host) of the official downloads and registries."""
    found: set[str] = set()
    for tool in catalogue:
        if tool.official:
            for item in tool.official.downloads:
                parts = urlparse(item.url)
                found.add(f"{parts.scheme}://{parts.netloc}")
            if tool.official.image:
                found.add(f"https://{registry(tool.official.image.ref)}")
    return sorted(found)


def registry(ref: str) -> str:
    """Return the host of an image's registry; Docker Hub answers at another name than its images carry."""
    host = ref.partition("/")[0]
    return "registry-1.docker.io" if host == "docker.io" else host


@lru_cache(maxsize=64)
def reachable(address: str) -> bool:
    """Tell whether a host answers at all, be it with an error; remembered for the process."""
    import requests

    try:
        requests.head(address, timeout=_TIMEOUT, allow_redirects=False)
    except requests.RequestException:
        return False
    return True


def unreachable(catalogue: Catalogue) -> list[str]:
    """Return the official hosts that do not answer."""
    addresses = hosts(catalogue)
    with ThreadPoolExecutor(max(1, len(addresses))) as pool:
        return [at for at, ok in zip(addresses, pool.map(reachable, addresses), strict=True) if not ok]


def choose(catalogue: Catalogue, wanted: str) -> Source:
    """Return the source to use.

    Args:
        catalogue: its hosts are looked at.
        wanted: `official`, `build`, or `auto`: official when all hosts answer; TINH_SOURCE goes first.

    Raises:
        TinhError: when `wanted` or the variable is something else.
    """
    value = os.environ.get(VARIABLE, "auto") if wanted == "auto" else wanted
    for source in SOURCES:
        if value == source:
            return source
    if value != "auto":
        raise TinhError(
            f"source {value!r} is not one of auto, {', '.join(SOURCES)}",
            where=f"--source or environment variable {VARIABLE}",
            fix="use one of them",
        )
    return "build" if not hosts(catalogue) or unreachable(catalogue) else "official"
