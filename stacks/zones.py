"""The zones of a site from its files: what is published, the units' names of today and those that still answer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network

from infra.address.ledger import Ledger
from infra.address.plan import plan_at, recorded
from infra.address.reorg import reorganise
from infra.dnssec import Key, anchors
from infra.model.net import DualPrefix
from infra.model.platform import Platform
from infra.model.province import Record
from infra.model.site import Role, Site, has_network
from infra.render.names import Alias, aliases
from infra.render.zones import ZoneFile, site_zones, units_zone


def zone_files(site: Site, platforms: list[Platform], keys: Sequence[Key]) -> tuple[ZoneFile, ...]:
    """Return the site's zones: every public name at the gateway's address, and what the network has."""
    labels = [label for platform in platforms for label in platform.public_names]
    plan, old = None, []
    if site.names and has_network(site.name):
        record, before = recorded(site.name)
        plan, old = plan_at(record, None, before), old_names(record, before, units_zone(site))
    return site_zones(site, labels, plan, lambda zone: anchors([zone], keys), old)


def old_names(record: Record, before: Ledger, zone: str) -> list[Alias]:
    """Return the names that units had before the last reorganisation, as long as they answer."""
    last = record.epochs.index(record.facts.current)
    if last == 0:
        return []
    document = reorganise(record, record.epochs[last - 1], record.facts.current, zone, before).document()
    today = datetime.now(UTC).date()
    return [alias for alias in aliases(document, zone) if today < alias.until]


def resolvers(site: Site) -> list[DualPrefix]:
    """Return from where the site's resolver asks the name server: the core routers, on the front door's segment."""
    if not site.names:
        return []
    near = [router.addresses.get(site.front_segment) for router in site.by_role(Role.ROUTER)]
    found = [address for address in (*near, site.segments[site.front_segment].virtual) if address]
    return [DualPrefix(ipv6=IPv6Network(each.ipv6), ipv4=IPv4Network(each.ipv4)) for each in found]
