"""What every shared platform's component is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import pulumi

from infra.components.data.access import AccessArgs
from infra.components.data.database import DatabaseArgs
from infra.contract import BaseContract, DataContract
from infra.model.data import Holding
from infra.model.platform import Platform, Sizing
from infra.model.province import Province
from infra.model.site import Site, SiteKind


@dataclass(frozen=True, kw_only=True)
class PlatformArgs:
    """Facts of the site and of the platform, and what the layer below offers.

    Args:
        site: the site.
        facts: the platform's facts.
        base: contract of the `base` layer.
        data: contract of the `data` layer.
        secret: returns the site's secret of a name, made once; a secret Output.
        authorities: authority of clients that the facts name -> its certificates (PEM).
        before_names: what must be there before a name is published: the firewall that looks at its requests.
        platforms: all platforms that are switched on at the site.
        province: the province at the epoch in force; None: the site has no data of one.
    """

    site: Site
    facts: Platform
    base: pulumi.Output[BaseContract]
    data: pulumi.Output[DataContract]
    secret: Callable[[str], pulumi.Output[str]]
    authorities: Mapping[str, str] = field(default_factory=dict)
    before_names: tuple[pulumi.Resource, ...] = ()
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

    def holding(self, name: str) -> Holding:
        """Return one of the platform's data stores."""
        return Holding(self.facts.id, next(store for store in self.facts.data if store.name == name))

    def database(self, name: str, database: str) -> DatabaseArgs:
        """Return the arguments of the `Database` of a store.

        Args:
            name: of the store, engine postgresql.
            database: name of the database and of its owner.
        """
        return DatabaseArgs(
            holding=self.holding(name),
            instances=self.sizing.instances,
            size=self.sizing.storage,
            memory=self.sizing.database_memory,
            poolers=self.sizing.poolers,
            database=database,
            data=self.data,
            secret=self.secret,
            simulated=self.simulated,
        )

    def access(self, name: str) -> AccessArgs:
        """Return the arguments of the `Access` to a store of engine bucket, cache or stream."""
        return AccessArgs(holding=self.holding(name), data=self.data, secret=self.secret)


class PlatformComponent(Protocol):
    """The component of a platform: `COMPONENT` of `platforms/<id>/component.py`."""

    def __call__(
        self, name: str, args: PlatformArgs, opts: pulumi.ResourceOptions
    ) -> pulumi.ComponentResource:
        """Declare the platform."""
        ...
