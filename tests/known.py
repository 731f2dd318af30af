"""Pulumi's Outputs outside of a program: values that are known already."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")
S = TypeVar("S")


@dataclass(frozen=True)
class Known(Generic[T]):
    """A value in the place of an Output."""

    value: T

    def apply(self, change: Callable[[T], S]) -> Known[S]:
        """Return the changed value."""
        return Known(change(self.value))


def plain(obj: Any) -> Any:
    """Return an object with the values of its Outputs."""
    if isinstance(obj, Known):
        return plain(obj.value)
    if isinstance(obj, dict):
        return {key: plain(value) for key, value in obj.items()}
    return [plain(value) for value in obj] if isinstance(obj, (list, tuple)) else obj
