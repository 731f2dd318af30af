"""The network of a site, from its files: routers and policy, what the renderers take, and how routers are reached."""

from __future__ import annotations

from collections.abc import Iterable

from infra import paths
from infra.address.plan import Plan, plan_at, recorded
from infra.dnssec import Key, anchors
from infra.errors import TinhError
from infra.model.network import Network, RouterRole
from infra.model.site import Role, Site, SiteKind, load_site
from infra.network.device import Device
from infra.network.fabric import Fabric
from infra.network.mapping import Mapping
from infra.network.topology import segment_lans
from infra.render.options import Authority, Options
from infra.render.zones import zone_names


def fabric_of(site: str, epoch: str | None = None, mapping: Mapping | None = None) -> Fabric:
    """Return the routers of a site's province.

    Args:
        site: name.
        epoch: name of the epoch; none: the current one.
        mapping: kind of machines; none: that of the site.

    Raises:
        TinhError: see `recorded`, `plan_at` and `fabric_at`.
    """
    record, before = recorded(site)
    return fabric_at(plan_at(record, epoch, before), mapping)


def fabric_at(plan: Plan, mapping: Mapping | None = None) -> Fabric:
    """Return the routers of a plan, with the segments of the site that it is of.

    Args:
        plan: of a site's province.
        mapping: kind of machines; none: that of the site.

    Raises:
        TinhError: see `load_site` and `Fabric`.
    """
    known = (plan.province.folder / "site.yaml").exists()
    site = load_site(plan.province.site, root=plan.province.folder.parent) if known else None
    lab = site is not None and site.kind is SiteKind.LAB
    segments = segment_lans(site) if site else ()
    kind = mapping or (Mapping.LAB if lab else Mapping.METAL)
    return Fabric(plan, kind, segments, site.names if site else None)


def options_of(site: Site, authority: Authority | None) -> Options:
    """Return the arguments of the renderers, as far as a site's data has them: who manages, and names.

    Args:
        site: the site.
        authority: see `authority_of`; none: the core routers have no resolver.
    """
    names = site.names if authority else None
    dns = names.resolver.address if names else site.front_door.dns
    return Options(management=site.management, dns=dns, authority=authority if names else None)


def authority_of(site: Site, network: Network, keys: Iterable[Key]) -> Authority:
    """Return the province's own zones, their server, and how their answers are known.

    Args:
        site: the site.
        network: of its province.
        keys: that sign.
    """
    zones = zone_names(site, network)
    return Authority(server=site.front_door.dns, zones=zones, anchors=anchors(zones, keys))


def host_name(device: Device, site: Site) -> str:
    """Return the name by which ssh reaches a router: a core router is a machine of the site.

    Raises:
        TinhError: the site has no machine for this core router.
    """
    if device.role is not RouterRole.CORE:
        return device.name
    machines = site.by_role(Role.ROUTER)
    if device.number > len(machines):
        raise TinhError(
            f"{device.name!r} is core router {device.number}, the site has {len(machines)} machines of role router",
            where=str(paths.SITES / site.name / "site.yaml"),
            fix=f"give it {device.number} machines of role {Role.ROUTER}, or fewer core routers in network.yaml",
        )
    return machines[device.number - 1].name
