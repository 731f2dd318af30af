"""The inputs of the resource: from and to Pulumi's values, and what can be wrong with them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pulumi.provider.experimental.property_value import PropertyValue
from pulumi.runtime.rpc import UNKNOWN

from infra.providers.router.files import FILES

#: Seconds: less and no new connection comes in time, more and a mistake cuts people off for too long.
CONFIRM_SECONDS = (10, 600)
DEFAULT_SECONDS = 60
_HOST = re.compile(r"[0-9A-Za-z]([0-9A-Za-z.:-]{0,251}[0-9A-Za-z])?")
Properties = dict[str, PropertyValue]


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a router shall have.

    Args:
        host: its name in the site's ssh configuration, or an address; it identifies the resource.
        files: name -> text, of `infra.providers.router.files.FILES`; UNKNOWN for what a preview cannot know.
        confirm_seconds: time after which a change undoes itself.
        secret: names of the files that people must not see.
    """

    host: str
    files: dict[str, str]
    confirm_seconds: int = DEFAULT_SECONDS
    secret: frozenset[str] = frozenset()

    def properties(self) -> Properties:
        """Return them as Pulumi's values."""
        return {
            "host": PropertyValue(self.host),
            "files": texts(self.files, self.secret),
            "confirmSeconds": PropertyValue(float(self.confirm_seconds)),
        }


def parse(properties: Mapping[str, PropertyValue]) -> Inputs:
    """Return values that `problems` has found nothing in, or that the provider has made itself."""
    files, secret = mapping(properties, "files")
    seconds = plain(properties.get("confirmSeconds"))
    return Inputs(
        host=plain(properties.get("host")) or "",
        files=files,
        confirm_seconds=int(seconds) if isinstance(seconds, float) else DEFAULT_SECONDS,
        secret=secret,
    )


def problems(properties: Mapping[str, PropertyValue]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong: path of the input, and the reason with the way out."""
    for name in sorted(set(properties) - {"host", "files", "confirmSeconds"}):
        if not name.startswith("__"):
            yield name, "is unknown; known: host, files, confirmSeconds"
    host = plain(properties.get("host"))
    if not isinstance(host, str) or not host:
        yield "host", "is missing: give the router's name in the site's ssh configuration, or its address"
    elif host != UNKNOWN and not _HOST.fullmatch(host):
        yield "host", f"{host!r} is neither a name nor an address"
    seconds = plain(properties.get("confirmSeconds", PropertyValue(float(DEFAULT_SECONDS))))
    low, high = CONFIRM_SECONDS
    if seconds != UNKNOWN and (
        isinstance(seconds, bool)
        or not isinstance(seconds, float)
        or not seconds.is_integer()
        or not low <= seconds <= high
    ):
        shown = int(seconds) if isinstance(seconds, float) and seconds.is_integer() else seconds
        yield "confirmSeconds", f"{shown!r} is not a whole number from {low} to {high}"
    files = plain(properties.get("files"))
    if files == UNKNOWN:
        return
    if not isinstance(files, dict) or not files:
        yield "files", f"is empty: give at least one of {', '.join(FILES)}"
        return
    for name, text in files.items():
        if reason := _wrong(name, text):
            yield path(name), reason


def _wrong(name: str, text: object) -> str:
    """Return what is wrong with a file, nothing when it is right."""
    if name not in FILES:
        return f"is unknown; known: {', '.join(FILES)}"
    if text == UNKNOWN:
        return ""
    if not isinstance(text, str) or not text.strip():
        return "is empty: leave it out to give the file back as it was on day 0"
    if not text.endswith("\n"):
        return "does not end with a line break; parsers differ in what they make of its last line"
    needs, why = FILES[name].needs
    if needs and not re.search(needs, text, re.MULTILINE):
        return f"lacks {why}"
    return ""


def path(name: str, of: str = "files") -> str:
    """Return the property path of a file; names have dots in them."""
    return f'{of}["{name}"]'


def plain(value: PropertyValue | None) -> Any:  # noqa: ANN401 - whatever a program gave
    """Return a value as Python knows it, without its marks."""
    inner = value.value if value is not None else None
    if isinstance(inner, Mapping):
        return {key: plain(item) for key, item in inner.items()}
    if isinstance(inner, Sequence) and not isinstance(inner, str):
        return [plain(item) for item in inner]
    return inner


def mapping(properties: Mapping[str, PropertyValue], key: str) -> tuple[dict[str, Any], frozenset[str]]:
    """Return a mapping by names of files, and which of them are secret; empty when there is none or it is unknown."""
    value = properties.get(key)
    if value is None or not isinstance(value.value, Mapping):
        return {}, frozenset()
    secret = {name for name, text in value.value.items() if text.is_secret or value.is_secret}
    return plain(value), frozenset(secret)


def texts(values: Mapping[str, str], secret: frozenset[str] = frozenset()) -> PropertyValue:
    """Return a mapping of texts as Pulumi's value."""
    return PropertyValue({name: PropertyValue(text, name in secret) for name, text in values.items()})
