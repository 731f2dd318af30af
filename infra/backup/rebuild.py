"""A site on empty machines, from the repository, its site data and one copy of its backups: the steps, and the proof.

Pulumi's state is not brought back: what it describes is gone, and a state that says otherwise would only have to be
emptied. Keys, passphrase and secrets are, so that everything is made with the same ones.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from infra import paths
from infra.backup.sets import DataSet, Kind

KIND = "rebuild"
#: Kinds whose data go into what the layers have made, in this order.
AFTER = (Kind.POSTGRESQL, Kind.BUCKET, Kind.STREAM, Kind.OBJECTS)


@dataclass(frozen=True)
class Step:
    """One step.

    Args:
        name: by which its end is remembered: an interrupted rebuild goes on after it.
        does: what it does, for people.
        data_set: whose backup it brings back; empty: none.
    """

    name: str
    does: str
    data_set: str = ""


def steps(sets: Sequence[DataSet], lab: bool) -> list[Step]:
    """Return the steps of a rebuild in order.

    Args:
        sets: the site's data sets.
        lab: machines are made as well; elsewhere they are there, empty, and are prepared.
    """
    made = "machines are made and prepared" if lab else "machines are prepared (playbooks/site.yml)"
    back = [
        Step(f"data {one.name}", f"{one.name} comes back: {one.holds.en}", one.name)
        for kind in AFTER
        for one in sets
        if one.kind is kind
    ]
    return [
        Step("site data", "keys, passphrase and secrets come back", Kind.SITE),
        Step("machines", made),
        Step("layers", "all layers are deployed, databases, buckets and streams empty"),
        *back,
        Step("backup", "the nearer copy is empty: everything is backed up anew"),
    ]


@dataclass(frozen=True)
class Done:
    """A step that has ended.

    Args:
        name: of the step.
        seconds: that it took.
        said: what came of it.
    """

    name: str
    seconds: int
    said: str


def _file(site: str) -> Path:
    return paths.state(site).root / "rebuild.json"


def ended(site: str) -> dict[str, Done]:
    """Return the steps that an earlier run has ended, by name."""
    try:
        return {row["name"]: Done(**row) for row in json.loads(_file(site).read_text("utf-8"))}
    except FileNotFoundError:
        return {}


def note(site: str, done: Sequence[Done]) -> None:
    """Remember the steps that have ended."""
    part = _file(site).with_suffix(".part")
    part.write_text(json.dumps([asdict(one) for one in done], indent=1), "utf-8")
    part.replace(_file(site))


def forget(site: str) -> None:
    """Forget the steps: the rebuild is complete."""
    _file(site).unlink(missing_ok=True)


def body(site: str, copy: str, at: datetime, done: Sequence[Done], simulated: str) -> dict[str, Any]:
    """Return what is signed.

    Args:
        site: name.
        copy: that everything was read from.
        at: when it began.
        done: all steps.
        simulated: what of it is not as in a data centre; empty: nothing.
    """
    return {
        "kind": KIND,
        "site": site,
        "copy": copy,
        "at": at.isoformat(timespec="seconds"),
        "seconds": sum(one.seconds for one in done),
        "simulated": simulated,
        "steps": [asdict(one) for one in done],
    }
