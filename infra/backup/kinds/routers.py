"""Routers: their configuration files and what their daemons run, as read from the machines."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

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
from infra.errors import TinhError, ToolError

NAME = "routers"


@contextlib.contextmanager
def take(ground: Ground) -> Generator[Taken, None, None]:
    """See `KindModule`. A router that is away is named in the facts; its last configuration is in older backups.

    Raises:
        ToolError: none answers.
    """
    with private_folder(ground.site.name) as work:
        at = datetime.now(UTC)
        away = _read(ground, work / NAME)
        pack(work / TREE, [(NAME, work / NAME)])
        facts = _facts(work)
        for name in away:
            ground.tell(f"{ground.data_set.name}: {name} does not answer and is left out")
        yield Taken([file_item(TREE, work / TREE)], at, facts, revision=f"{len(away)} away")


def count(folder: Path) -> Facts:
    """See `KindModule`."""
    unpack(folder / TREE, folder / "again")
    return _facts(folder / "again")


def _read(ground: Ground, folder: Path) -> list[str]:
    """Write what every router has into a folder of its own; return those that are away."""
    from infra.network.of_site import fabric_of, host_name
    from infra.providers.router.files import FILES
    from infra.providers.router.transport import of_site

    reach = of_site(ground.site.name)
    devices = fabric_of(ground.site.name).devices

    def one(host: str) -> TinhError | None:
        try:
            seen = reach.read(host, FILES)
        except TinhError as error:
            return error
        own = folder / host
        own.mkdir(parents=True)
        for name, text in seen.files.items():
            if text is not None:
                (own / name).write_text(text, "utf-8")
        (own / "running.json").write_text(json.dumps(seen.running, indent=1, sort_keys=True), "utf-8")
        return None

    hosts = [host_name(device, ground.site) for device in devices]
    with ThreadPoolExecutor(max_workers=max(len(hosts), 1)) as pool:
        errors = dict(zip(hosts, pool.map(one, hosts), strict=True))
    away = [host for host, error in errors.items() if error]
    if len(away) == len(hosts):
        first = next((error.what for error in errors.values() if error), "there are none")
        raise ToolError(
            f"no router answers: {first}", where=f"site {ground.site.name}", fix="tinh lab status"
        )
    return away


def _facts(folder: Path) -> Facts:
    routers = sorted(place.name for place in (folder / NAME).iterdir())
    return {"routers": routers, **tree_facts(folder / NAME)}
