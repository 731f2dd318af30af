"""What is known about routers that run: a file that monitoring writes and people look at on the map.

The file is JSON: router -> `up`, `down` or `unknown`, or an object with `state` and a `text` of one line::

    {"c-99801": "up", "d-998": {"state": "down", "text": "no BFD with gw-98-1 since 08:12"}}
"""

from __future__ import annotations

import json
from collections.abc import Collection
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from infra.errors import TinhError
from infra.model.base import Model, validate


class Condition(StrEnum):
    """What was seen of a router."""

    UP = "up"
    DOWN = "down"
    UNKNOWN = "unknown"  # it was asked for, and nothing is known


class Seen(Model):
    """What was seen of one router, and a text for people."""

    state: Condition
    text: str = Field(default="", max_length=400)

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: Any) -> Any:  # noqa: ANN401 - raw JSON
        return {"state": data} if isinstance(data, str) else data


class States(Model):
    """What was seen of all routers that the file names, by their short names."""

    routers: dict[str, Seen]


def read_states(file: Path, known: Collection[str]) -> dict[str, Seen]:
    """Read a file of states.

    Args:
        file: see above.
        known: names of the routers that there are.

    Raises:
        TinhError: no JSON, no object, another word than the three, or a router that there is not.
    """
    try:
        data = json.loads(file.read_text("utf-8"))
    except (ValueError, OSError) as error:
        raise TinhError(f"not JSON: {error}", where=str(file), fix='write {"ROUTER": "up", ...}') from None
    found = validate(States, {"routers": data}, file).routers
    for name in found:
        if name not in known:
            raise TinhError(
                f"unknown router {name!r}",
                where=f"{file}: {name}",
                fix=f"use the names on the map: {', '.join(sorted(known)[:4])}, ...",
            )
    return found
