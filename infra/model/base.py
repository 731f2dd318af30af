"""What every model shares: frozen, unknown keys refused, errors that name file, path and value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from infra.errors import TinhError


class Model(BaseModel):
    """Base of all models."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Text(Model):
    """A text in Vietnamese and English."""

    vi: str
    en: str


M = TypeVar("M", bound=Model)


def read_yaml(file: Path) -> Any:  # noqa: ANN401 - YAML is untyped by nature
    """Read one YAML document.

    Raises:
        TinhError: when the file is missing or is not YAML; line and column are named.
    """
    try:
        return yaml.load(file.read_text("utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe loaders
    except FileNotFoundError:
        raise TinhError(f"no such file: {file.name}", where=str(file), fix="check the name") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        at = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise TinhError(
            f"not valid YAML: {error.problem}", where=f"{file}{at}", fix="correct the file at that place"
        ) from None


def read_json(file: Path, fix: str) -> Any:  # noqa: ANN401 - what is in it is checked by the caller
    """Read a JSON document that a user gave.

    Args:
        file: the file.
        fix: what to give instead, for the message.

    Raises:
        TinhError: it cannot be read or is no JSON.
    """
    try:
        return json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise TinhError(f"not JSON: {error}", where=str(file), fix=fix) from None


def validate(model: type[M], data: object, file: Path) -> M:
    """Validate data against a model.

    Raises:
        TinhError: one error that lists every problem with its path in the file and the offending value.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = []
        for item in error.errors():
            path = ".".join(str(part) for part in item["loc"]) or "(top level)"
            value = repr(item.get("input"))
            shown = value if len(value) <= 60 else value[:57] + "..."
            problems.append(f"{path}: {item['msg']} (value {shown})")
        raise TinhError(
            f"{len(problems)} problem(s) in {file.name}: " + "; ".join(problems),
            where=str(file),
            fix="correct the named paths; unknown keys are refused on purpose",
        ) from None
