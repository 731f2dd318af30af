"""Read-only view of Pulumi's file backend: the stacks of a site, their records, history and locks.

Reading the files takes milliseconds where the Pulumi CLI takes a second and derives the passphrase's key.
Layout and fields: `pkg/backend/diy` of the Pulumi CLI 3.259. Nothing here writes, except `remove_lock`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cli.pulumi_events import STACK_TYPE, Resource
from infra.errors import TinhError
from infra.paths import SiteState

#: `name` in Pulumi.yaml.
PROJECT = "tinh"


@dataclass(frozen=True)
class Record:
    """One resource in a stack's state."""

    resource: Resource
    id: str
    protected: bool


@dataclass(frozen=True)
class StackState:
    """What Pulumi has recorded of a stack."""

    records: tuple[Record, ...]
    pending: tuple[Resource, ...]
    salt: str | None
    outputs: dict[str, Any]

    @property
    def protected(self) -> tuple[Record, ...]:
        """Data-bearing resources: those that the program protects."""
        return tuple(record for record in self.records if record.protected)


@dataclass(frozen=True)
class Update:
    """One entry of a stack's history."""

    kind: str
    result: str
    ended: datetime


@dataclass(frozen=True)
class PulumiLock:
    """A lock file of Pulumi's own."""

    file: Path
    pid: int
    user: str
    host: str
    since: datetime

    def __str__(self) -> str:
        """Return the owner as text."""
        return f"pid {self.pid} of {self.user}@{self.host} since {self.since.astimezone():%Y-%m-%d %H:%M:%S}"


def _root(state: SiteState) -> Path:
    return state.pulumi / ".pulumi"


def stack_file(state: SiteState, stack: str) -> Path:
    """Return the file that holds a stack's state."""
    return _root(state) / "stacks" / PROJECT / f"{stack}.json"


def stacks(state: SiteState) -> list[str]:
    """Return the names of the stacks that exist, sorted."""
    return sorted(file.stem for file in stack_file(state, "x").parent.glob("*.json"))


def read_stack(state: SiteState, stack: str) -> StackState | None:
    """Return a stack's state; None when the stack does not exist.

    Raises:
        TinhError: the file is damaged.
    """
    file = stack_file(state, stack)
    try:
        latest = json.loads(file.read_text("utf-8"))["checkpoint"].get("latest") or {}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError) as error:
        raise TinhError(
            f"the state of stack {stack} is damaged: {error}",
            where=str(file),
            fix=f"restore it from {file.name}.bak beside it, or from {_root(state) / 'backups'}",
        ) from None
    resources = latest.get("resources") or []
    provider = latest.get("secrets_providers") or {}
    return StackState(
        records=tuple(
            Record(Resource(item["urn"]), item.get("id", ""), bool(item.get("protect")))
            for item in resources
            if item["type"] != STACK_TYPE and not item["type"].startswith("pulumi:providers:")
        ),
        pending=tuple(Resource(item["resource"]["urn"]) for item in latest.get("pending_operations") or []),
        salt=(provider.get("state") or {}).get("salt") if provider.get("type") == "passphrase" else None,
        outputs=next((item.get("outputs") or {} for item in resources if item["type"] == STACK_TYPE), {}),
    )


def last_update(state: SiteState, stack: str) -> Update | None:
    """Return the newest entry of a stack's history; None when there was no run yet."""
    files = sorted((_root(state) / "history" / PROJECT / stack).glob("*.history.json"))
    if not files:
        return None
    data = json.loads(files[-1].read_text("utf-8"))
    return Update(data["kind"], data["result"], datetime.fromtimestamp(data["endTime"], UTC))


def locks(state: SiteState, stack: str) -> list[PulumiLock]:
    """Return Pulumi's lock files of a stack."""
    found = []
    for file in sorted((_root(state) / "locks" / "organization" / PROJECT / stack).glob("*.json")):
        try:
            data = json.loads(file.read_text("utf-8"))
        except FileNotFoundError:  # released between the listing and the reading
            continue
        since = datetime.fromisoformat(data["timestamp"])
        found.append(PulumiLock(file, data["pid"], data["username"], data["hostname"], since))
    return found


def remove_lock(lock: PulumiLock) -> None:
    """Remove one lock file, with the attribute file that the backend keeps beside it."""
    lock.file.unlink(missing_ok=True)
    lock.file.with_name(lock.file.name + ".attrs").unlink(missing_ok=True)
