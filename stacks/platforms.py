"""Layer `platforms`: the shared platforms that are switched on, and the DNS server of their names.

The DNS server is in this layer because its zone is made of the platforms' facts: publishing a name changes
one stack.
"""

from __future__ import annotations

import importlib

import pulumi

from infra import contract, dnssec
from infra.components.edge.dns import Dns, DnsArgs
from infra.components.edge.firewall import Firewall, FirewallArgs
from infra.components.workload.platform import PlatformArgs, PlatformComponent
from infra.contract import BaseContract, DataContract, PlatformsContract
from infra.dnssec import anchors
from infra.errors import TinhError
from infra.model.certificates import authority_bundle
from infra.model.exposure import Exposure
from infra.model.platform import PLATFORMS, Platform, load_platforms
from infra.model.province import load_province, provinces
from infra.model.site import Site, SiteKind
from stacks.context import Context
from stacks.zones import resolvers, zone_files

DNS_IMAGE = "docker.io/cznic/knot:v3.2.6"
WAF_IMAGE = "images.tinh.internal/waf:4.25.0"


def firewalled(site: Site, platforms: list[Platform]) -> dict[str, tuple[str, Exposure]]:
    """Return every name that the web application firewall looks at: full name -> platform, settings."""
    return {
        site.public_name(label): (platform.id, exposure)
        for platform in platforms
        for label in platform.public_names
        if (exposure := platform.exposed(label)).waf.mode != "off"
    }


def _firewall(site: Site, names: dict[str, tuple[str, Exposure]]) -> FirewallArgs:
    return FirewallArgs(
        names={host: exposure for host, (_, exposure) in names.items()},
        users=sorted({platform for platform, _ in names.values()}),
        image=WAF_IMAGE,
        replicas=1 if site.kind is SiteKind.LAB else 2,
    )


def authorities(site: Site, platform: Platform) -> dict[str, str]:
    """Return the authorities of clients that a platform names, with their certificates.

    Raises:
        TinhError: the site does not know one of them.
    """
    clients = [found for label in platform.public_names if (found := platform.exposed(label).clients)]
    return {found.authority: authority_bundle(site.name, found.authority) for found in clients}


def component(platform: Platform) -> PlatformComponent:
    """Return the component of a platform.

    Raises:
        TinhError: when the platform has facts but no component.
    """
    file = PLATFORMS / platform.id / "component.py"
    if not file.exists():
        raise TinhError(
            f"platform {platform.id} has facts but no component",
            where=str(file),
            fix="leave it out of `platforms` in the site file until it is implemented",
        )
    return importlib.import_module(f"platforms.{platform.id}.component").COMPONENT


def deploy(context: Context) -> None:
    """Declare the layer and export its contract."""
    site = context.site
    # What can be wrong with the facts is found before the first resource is registered.
    platforms = load_platforms(site)
    components = {platform.id: component(platform) for platform in platforms}
    keys = dnssec.keys(site.name)
    zones = zone_files(site, platforms, keys)
    trusted = {platform.id: authorities(site, platform) for platform in platforms}
    base = context.below("base", BaseContract)
    data = context.below("data", DataContract)
    top = pulumi.ResourceOptions(provider=context.provider())
    names = firewalled(site, platforms)
    firewalls = [Firewall("waf", _firewall(site, names), top)] if names else []
    province = load_province(site.name) if site.name in provinces() else None
    for platform in platforms:
        args = PlatformArgs(
            site=site,
            facts=platform,
            base=base,
            data=data,
            secret=context.secret,
            authorities=trusted[platform.id],
            before_names=tuple(firewalls),
            platforms=tuple(platforms),
            province=province,
        )
        components[platform.id](platform.id, args, top)
    Dns(
        "dns",
        DnsArgs(
            namespace="dns",
            zones=zones,
            keys=pulumi.Output.secret({key.file.name: key.pem for key in keys}),
            tags=[key.tag for key in keys],
            resolvers=resolvers(site),
            address=site.front_door.dns,
            image=DNS_IMAGE,
            replicas=1 if site.kind is SiteKind.LAB else 2,
        ),
        top,
    )
    ipv6, ipv4 = site.front_door.dns.pair()
    promise = PlatformsContract(
        zone=site.zone,
        dns_ipv6=ipv6,
        dns_ipv4=ipv4,
        ds=anchors([zone.name for zone in zones if zone.public], keys),
        urls={platform.id: f"https://{site.public_name(platform.public_names[0])}" for platform in platforms},
    )
    pulumi.export(contract.OUTPUT, promise.model_dump(mode="json"))
