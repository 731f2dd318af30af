"""What every shared platform's component is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import pulumi

from infra.contract import BaseContract
from infra.model.platform import DataStore, Platform, Sizing
from infra.model.province import Province
from infra.model.site import Site, SiteKind


@dataclass(frozen=True, kw_only=True)
class PlatformArgs:
    """Facts of the site and of the platform, and what the layer below offers.

    Args:
        site: the site.
        facts: the platform's facts.
        base: contract of the `base` layer.
        secret: returns the site's secret of a name, made once; a secret Output.
        platforms: all platforms that are switched on at the site.
        province: the province at the epoch in force; None: the site has no data of one.
    """

    site: Site
    facts: Platform
    base: pulumi.Output[BaseContract]
    secret: Callable[[str], pulumi.Output[str]]
    platforms: tuple[Platform, ...] = ()
    province: Province | None = None

    @property
    def sizing(self) -> Sizing:
        """How large the platform is on this kind of site."""
        return self.facts.sizing[self.site.kind]

    @property
    def simulated(self) -> bool:
        """No operator and no container runs on this site."""
        return self.site.kind is SiteKind.SIM

    @property
    def host(self) -> str:
        """The platform's first public name."""
        return self.site.public_name(self.facts.public_names[0])

    def store(self, name: str) -> DataStore:
        """Return one of the platform's data stores."""
        return next(store for store in self.facts.data if store.name == name)


class PlatformComponent(Protocol):
    """The component of a platform: `COMPONENT` of `platforms/<id>/component.py`."""

    def __call__(
        self, name: str, args: PlatformArgs, opts: pulumi.ResourceOptions
    ) -> pulumi.ComponentResource:
        """Declare the platform."""
        ...
