"""`tinh dns`: zones, what their parents must say of them, and the roll-over of the key that signs them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from cli.options import json_option, site_option, typed

if TYPE_CHECKING:
    from infra.model.network import Network
    from infra.model.site import Site

NEXT = (
    "  1. `tinh up`: the zones are signed with both keys, and the resolver knows both\n"
    "  2. give the new DS records to whoever keeps the parent zones, and wait until these have had them for their TTL\n"
    "  3. `tinh dns retire {old}`, then `tinh up`"
)


@click.group()
def command() -> None:
    """The province's DNS zones and the key that signs them."""


@command.command()
@site_option
@click.option(
    "--all", "every", is_flag=True, help="Also the zones that only the province's resolver may ask for."
)
@json_option
def ds(site: str, every: bool, as_json: bool) -> None:
    """Print the DS records that the parents of the zones publish."""
    from infra import dnssec

    records = dnssec.anchors(_zones(site, every=every), dnssec.keys(site))
    click.echo(json.dumps(records, indent=1) if as_json else "\n".join(records))


@command.command()
@site_option
def roll(site: str) -> None:
    """Begin a roll-over: make a new key beside the one that signs."""
    from infra import dnssec

    _zones(site, every=False)
    old = dnssec.keys(site)[-1]
    new = dnssec.add(site)
    click.echo(f"key {new.tag} is beside key {old.tag}. Next:\n{NEXT.format(old=old.tag)}")


@command.command()
@site_option
@click.argument("tag", type=int)
@click.option("--yes", is_flag=True, help="Do not ask: the parents have the new key's DS records.")
def retire(site: str, tag: int, yes: bool) -> None:
    """End a roll-over: sign no more with the key of TAG.

    Where a parent still names this key only, every name of the zone stops working for all who validate.
    """
    from infra import dnssec

    _zones(site, every=False)
    if not yes:
        typed(str(tag), "key tag, when all parents have the new DS records since their TTL")
    key = dnssec.retire(site, tag)
    click.echo(f"key {tag} signs no more after `tinh up`; its file is kept as {key.file.name}.retired")


def _zones(site: str, *, every: bool) -> tuple[str, ...]:
    """Return the names of a site's zones.

    Raises:
        TinhError: there is no such site.
    """
    from infra.model.site import load_site
    from infra.render.zones import zone_names

    found = load_site(site)
    return zone_names(found, _network(found) if every else None)


def _network(site: Site) -> Network | None:
    from infra.model.province import load_record
    from infra.model.site import has_network

    return load_record(site.name).network if has_network(site.name) else None
