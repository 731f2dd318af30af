"""`tinh reorg`: merges, renames and moves of administrative units."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from cli.options import json_option, site_option

if TYPE_CHECKING:
    from collections.abc import Iterator


@click.group()
def command() -> None:
    """Reorganisation of administrative units."""


@command.command()
@site_option
@click.option("--from", "source", required=True, help="Epoch in province.yaml to start from.")
@click.option("--to", "target", required=True, help="Epoch to go to; an earlier one is the way back.")
@json_option
def plan(site: str, source: str, target: str, as_json: bool) -> None:
    """Show what a reorganisation changes in addresses, names, routes and policies, and what it does not."""
    from infra.address.plan import recorded
    from infra.address.reorg import reorganise
    from infra.model.site import load_site
    from infra.render.zones import units_zone

    record, before = recorded(site)
    place = load_site(site)
    document = reorganise(record, source, target, units_zone(place) or place.zone, before).document()
    click.echo(json.dumps(document, indent=1, ensure_ascii=False) if as_json else "\n".join(_text(document)))


def _text(document: dict[str, Any]) -> Iterator[str]:
    units, addresses, dns = document["units"], document["addresses"], document["dns"]
    routes, policies, routers = document["routes"], document["policies"], document["routers"]
    yield f"{document['site']}: from {document['from']} to {document['to']} (day {document['day']})"
    yield ""
    yield f"units: {units['staying']} stay, {units['unchanged']} of them unchanged"
    yield from (f"  {count:4} {kind}" for kind, count in units["count"].items())
    yield from (f"  {_unit(change)}" for change in units["changes"])
    yield ""
    renumbered = ", ".join(addresses["renumbered"]) or "no unit that stays"
    yield f"addresses: {addresses['kept']} prefixes stay; renumbered: {renumbered}"
    yield from (f"  + {a['prefix']} {a['purpose']} of {a['unit']}" for a in addresses["given"])
    yield from (
        f"  - {a['prefix']} {a['purpose']} of {a['unit']}, in quarantine until {addresses['quarantine_until']}"
        for a in addresses["released"]
    )
    yield ""
    yield f"names: {dns['kept']} stay"
    yield from (f"  + {name}" for name in dns["added"])
    yield from (
        f"  ~ {old['name']} answers until {old['until']}" + _targets(old["targets"])
        for old in dns["old_names"]
    )
    yield ""
    yield f"routes: {routes['kept']} stay (one per unit and domain, in both families)"
    yield from (f"  + {r['ipv6']} {r['ipv4']} {r['domain']} of {r['unit']}" for r in routes["announced"])
    yield from (f"  - {r['ipv6']} {r['ipv4']} {r['domain']} of {r['unit']}" for r in routes["withdrawn"])
    yield ""
    yield f"policies: {policies['rules_changed']} rules change; prefixes in the zones' sets:"
    yield from (
        f"  {zone:16} {s['kept']:5} stay {s['added']:5} come {s['removed']:5} go"
        for zone, s in policies["sets"].items()
    )
    yield f"routers: {routers['kept']} stay, {len(routers['added'])} come, {len(routers['retired'])} go"
    yield from (f"  + {name}" for name in routers["added"])
    yield from (f"  - {name}" for name in routers["retired"])


def _unit(change: dict[str, Any]) -> str:
    kind, code = change["kind"], change["unit"]
    others = ", ".join(f"{other['unit']} {other['name']}" for other in change["others"])
    if kind == "renamed":
        return f"renamed   {code} {change['before']} -> {change['after']}"
    if kind == "moved":
        return f"moved     {code} {change['after']}: {change['parent_before']} -> {change['parent_after']}"
    if change["after"] is None:
        return f"{kind:9} {code} {change['before']}" + (f" -> {others}" if others else "")
    return f"{kind:9} {code} {change['after']}" + (f" <- {others}" if others else "")


def _targets(targets: list[str]) -> str:
    if len(targets) == 1:
        return f" as an alias of {targets[0]}"
    return " at its old address" + (f"; went into {', '.join(targets)}" if targets else "")
