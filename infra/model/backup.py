"""How a site backs up and what it keeps: `stacks/sites/<site>/backup.yaml`.

Sources: TCVN 14423:2026, 5.11.2.1 to 5.11.2.4 (automatic, central, 3-2-1, encrypted, on separate infrastructure;
restore tried periodically, every six months at level 4).
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from infra import paths
from infra.model.base import Model, Text, read_yaml, validate
from infra.model.platform import Recovery

#: Data sets that every site has, besides the stores of its platforms.
OWN = ("etcd", "cluster-objects", "pulumi-state", "site-data", "routers")


class Retention(Model):
    """What is kept of one data set; a backup that any of the rules wants stays."""

    locked_days: int = Field(ge=0, description="the machines with the copies delete nothing that came later")
    all_days: int = Field(ge=0, description="everything of the last days")
    daily: int = Field(ge=0, description="the last of each of the last days that have one")
    weekly: int = Field(ge=0, description="the last of each of the last ISO weeks that have one")
    monthly: int = Field(ge=0, description="the last of each of the last months that have one")


class OwnSet(Model):
    """A data set of the site itself."""

    holds: Text
    recovery: Recovery


class BackupPolicy(Model):
    """The site's rules."""

    recipients: tuple[str, ...] = Field(
        default=(),
        description="public keys (age) for which backups are sealed; none: a lab's own, made in its state folder",
    )
    retention: Retention
    full_hours: int = Field(gt=0, description="a chain of increments begins anew after so many hours")
    drill_days: int = Field(gt=0, description="a restore is proven at least so often")
    copies: int = Field(ge=1, description="so many copies outside the cluster are asked for")
    sets: dict[str, OwnSet]
    sources: dict[str, str] = Field(description="what requires the numbers above")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if wrong := sorted(set(self.sets) ^ set(OWN)):
            raise ValueError(f"sets must be {', '.join(OWN)}; missing or unknown: {', '.join(wrong)}")
        if wrong := [key for key in self.recipients if not key.startswith("age1")]:
            raise ValueError(f"recipients: {wrong[0]!r} is no public key of age (age1...)")
        return self


def load_policy(site: str, *, root: Path | None = None) -> BackupPolicy:
    """Load the rules of a site.

    Raises:
        TinhError: there are none, or they are malformed (file, path and value are named).
    """
    file = (root or paths.SITES) / site / "backup.yaml"
    return validate(BackupPolicy, read_yaml(file), file)
