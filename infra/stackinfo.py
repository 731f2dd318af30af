"""Stack names: `<layer>.<site>`, and `tenant.<site>.<agency>` for tenants."""

from __future__ import annotations

import re
from dataclasses import dataclass

from infra.errors import TinhError

#: Layers in the order in which they are deployed; each depends only on those before it.
LAYERS = ("network", "base", "data", "platforms", "tenant")
_PART = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")


@dataclass(frozen=True)
class StackInfo:
    """A parsed stack name."""

    layer: str
    site: str
    agency: str | None = None

    @property
    def name(self) -> str:
        """The stack's name as Pulumi knows it."""
        return ".".join(part for part in (self.layer, self.site, self.agency) if part)

    def sibling(self, layer: str) -> str:
        """Return the name of another layer's stack on the same site."""
        return f"{layer}.{self.site}"


def parse_stack(name: str) -> StackInfo:
    """Parse a stack name.

    Raises:
        TinhError: when the name is not of the form above or the layer is unknown.
    """
    parts = name.split(".")
    layer = parts[0]
    if layer not in LAYERS:
        raise TinhError(
            f"unknown layer {layer!r} in stack name {name!r}",
            where=f"stack {name}",
            fix=f"use <layer>.<site> with a layer of: {', '.join(LAYERS)}",
        )
    want = 3 if layer == "tenant" else 2
    if len(parts) != want or not all(_PART.fullmatch(part) for part in parts[1:]):
        form = "tenant.<site>.<agency>" if layer == "tenant" else f"{layer}.<site>"
        raise TinhError(
            f"stack name {name!r} is not of the form {form}",
            where=f"stack {name}",
            fix="use lower-case letters, digits and dashes in each part",
        )
    return StackInfo(layer, parts[1], parts[2] if want == 3 else None)
