"""What the Pulumi engine says while it works: its event stream, one JSON object per line.

Source of the format: `sdk/go/common/apitype/events.go` of the Pulumi CLI 3.259 (its `--event-log`).
Debug messages are dropped here: the Python SDK writes whole outputs into them, secrets in clear.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Operations that leave an object and its record as they are.
UNCHANGED = frozenset({"same", "read", "read-replacement", "read-discard", "refresh"})
#: Messages without information: how every failed run ends, and that plugins come from the toolchain's folder.
_EMPTY = re.compile(r"(update|preview) (failed|canceled)|using pulumi-\S+ from \$PATH at .*")
STACK_TYPE = "pulumi:pulumi:Stack"


@dataclass(frozen=True)
class Resource:
    """A resource as the engine names it."""

    urn: str

    @property
    def name(self) -> str:
        """Name in the program: the last part of the URN."""
        return self.urn.split("::", 3)[-1]

    @property
    def type(self) -> str:
        """Full type, for example `kubernetes:core/v1:Namespace`."""
        return self.urn.split("::")[2].rsplit("$", 1)[-1] if "::" in self.urn else ""

    @property
    def kind(self) -> str:
        """Short type: `Namespace` of `kubernetes:core/v1:Namespace`."""
        return self.type.rsplit(":", 1)[-1]

    @property
    def is_stack(self) -> bool:
        """Whether it is the stack's own root, which stands for no object."""
        return f"::{STACK_TYPE}::" in self.urn

    def __str__(self) -> str:
        """Return type and name, as shown to people."""
        return f"{self.kind} {self.name}".strip()


@dataclass(frozen=True)
class Started:
    """An operation on a resource began."""

    op: str
    resource: Resource


@dataclass(frozen=True)
class Finished:
    """An operation on a resource ended well."""

    op: str
    resource: Resource
    outputs_differ: bool = False


@dataclass(frozen=True)
class Failed:
    """An operation on a resource failed."""

    op: str
    resource: Resource


@dataclass(frozen=True)
class Message:
    """Something said to people.

    Severity is `info`, `info#err`, `warning`, `error`, or `status`: what a resource is waiting for just now.
    """

    severity: str
    text: str
    resource: Resource | None


@dataclass(frozen=True)
class Summary:
    """The end: number of resources per operation, and whether it all went well."""

    changes: dict[str, int]
    succeeded: bool


Event = Started | Finished | Failed | Message | Summary


def parse_event(line: str) -> Event | None:
    """Parse one line; None for events that say nothing to a person.

    Raises:
        ValueError: the line is no JSON object.
    """
    data: dict[str, Any] = json.loads(line)
    if event := data.get("resourcePreEvent"):
        return Started(event["metadata"]["op"], Resource(event["metadata"]["urn"]))
    if event := data.get("resOutputsEvent"):
        step = event["metadata"]
        old, new = step.get("old") or {}, step.get("new") or {}
        differ = bool(old) and bool(new) and old.get("outputs") != new.get("outputs")
        return Finished(step["op"], Resource(step["urn"]), differ)
    if event := data.get("resOpFailedEvent"):
        return Failed(event["metadata"]["op"], Resource(event["metadata"]["urn"]))
    if event := data.get("summaryEvent"):
        return Summary(event.get("resourceChanges") or {}, event.get("result", "succeeded") == "succeeded")
    event = data.get("diagnosticEvent")
    if not event or event["severity"] == "debug":
        return None
    text = event["message"].strip()
    if not text or _EMPTY.fullmatch(text):
        return None
    severity = "status" if event.get("ephemeral") else event["severity"]
    return Message(severity, text, Resource(event["urn"]) if event.get("urn") else None)


def follow(file: Path) -> Iterator[Event | None]:
    """Yield the events of a growing file; None means that there is nothing new yet.

    Only whole lines are read: the engine may be in the middle of writing one.
    """
    rest, offset = b"", 0
    while True:
        if file.exists():
            with file.open("rb") as stream:
                stream.seek(offset)
                chunk = stream.read()
            offset += len(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if event := parse_event(line.decode("utf-8", "replace")):
                    yield event
        yield None


@dataclass
class Tally:
    """What has happened so far in one run."""

    changes: Counter[str] = field(default_factory=Counter)
    running: dict[str, Started] = field(default_factory=dict)
    errors: list[Message] = field(default_factory=list)
    outputs_differ: bool = False
    summary: Summary | None = None

    def feed(self, event: Event) -> None:
        """Take one event into account."""
        match event:
            case Started(op, resource) if op not in UNCHANGED and not resource.is_stack:
                self.running[resource.urn] = event
            case Finished(op, resource, differ):
                self.running.pop(resource.urn, None)
                self.changes[op] += 1
                if resource.is_stack:
                    self.outputs_differ = differ
            case Failed(_, resource):
                self.running.pop(resource.urn, None)
            case Message(severity="error"):
                self.errors.append(event)
            case Summary(changes):
                self.summary, self.changes = event, Counter(changes)

    @property
    def changed(self) -> int:
        """Number of resources that an operation changes, creates or deletes; changed outputs count as one."""
        resources = sum(number for op, number in self.changes.items() if op not in UNCHANGED)
        return resources + (1 if self.outputs_differ else 0)

    def text(self) -> str:
        """Return the counts as text: `3 create, 1 update, 40 same`, or `no resources`."""
        parts = [f"{number} {op}" for op, number in sorted(self.changes.items()) if number]
        if self.outputs_differ:
            parts.append("outputs")
        return ", ".join(parts) or "no resources"
