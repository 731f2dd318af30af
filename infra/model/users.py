"""Who uses data services: platforms, and applications of the site that are no platform. The one list of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from infra import paths
from infra.errors import TinhError
from infra.model.data import Application, DataStore, SiteData
from infra.model.platform import Platform
from infra.model.site import Site

User = Platform | Application


def users(site: Site, platforms: Sequence[Platform], facts: SiteData) -> list[User]:
    """Return everybody who uses data services, platforms first.

    Raises:
        TinhError: two have the same name, which would be one namespace.
    """
    everybody: list[User] = [*platforms, *facts.applications]
    for name, times in Counter(map(name_of, everybody)).items():
        if times > 1:
            raise TinhError(
                f"{name} is the name of {times} platforms or applications",
                where=f"{paths.SITES / site.name / 'data.yaml'}: applications",
                fix="choose another name for the application",
            )
    return everybody


def name_of(user: User) -> str:
    """Return a user's name, which is also its namespace."""
    return user.id if isinstance(user, Platform) else user.name


def stores(everybody: Iterable[User]) -> list[tuple[str, Sequence[DataStore]]]:
    """Return users' names with their stores, as `holdings` takes them."""
    return [(name_of(user), user.data) for user in everybody]
