"""Layer `platforms`: the shared platforms that are switched on, and the DNS server of their names.

The DNS server is in this layer because its zone is made of the platforms' facts: publishing a name changes
one stack.
"""

from __future__ import annotations

import importlib

import pulumi

from infra import contract, dnssec
from infra.components.edge.dns import Dns, DnsArgs
from infra.components.workload.platform import PlatformArgs, PlatformComponent
from infra.contract import BaseContract, PlatformsContract
from infra.dnssec import anchors
from infra.errors import TinhError
from infra.model.platform import PLATFORMS, Platform, load_platforms
from infra.model.site import SiteKind
from stacks.context import Context
from stacks.zones import resolvers, zone_files

DNS_IMAGE = "docker.io/cznic/knot:v3.2.6"


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


def _base(context: Context) -> pulumi.Output[BaseContract]:
    """Return the contract of the site's base layer."""
    stack = context.info.sibling("base")
    reference = pulumi.StackReference(f"organization/{pulumi.get_project()}/{stack}")

    def read(output: object) -> BaseContract:
        try:
            found = contract.read(BaseContract, output, stack)
        except TinhError as error:
            raise pulumi.RunError(str(error)) from None
        return found

    return reference.get_output(contract.OUTPUT).apply(read)


def deploy(context: Context) -> None:
    """Declare the layer and export its contract."""
    site = context.site
    # What can be wrong with the facts is found before the first resource is registered.
    platforms = load_platforms(site)
    components = {platform.id: component(platform) for platform in platforms}
    keys = dnssec.keys(site.name)
    zones = zone_files(site, platforms, keys)
    base = _base(context)
    top = pulumi.ResourceOptions(provider=context.provider())
    for platform in platforms:
        args = PlatformArgs(site=site, facts=platform, base=base, secret=context.secret)
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
