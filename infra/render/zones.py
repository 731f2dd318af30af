"""All zones that a site answers for, and the name server's configuration (Knot DNS 3.2).

The site's zone and the reverse zones of its front door are everybody's. Where there is a network, the units' zone and
the reverse zones of the registered space are beside them, for the resolver alone: what the province's network looks
like is nobody else's business. A zone below another one is delegated from it, signed.
Sources: knot.conf(5) of Knot DNS 3.2, RFC 1034 4.2.1, RFC 2181 10.2, RFC 4035 2.4, RFC 9276 2.1 (NSEC).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from infra.address.plan import Plan
from infra.errors import TinhError
from infra.model.net import DualPrefix
from infra.model.network import Network
from infra.model.site import Site
from infra.render.names import Alias, pointer_zone, render_reverse, render_units, reverse_names
from infra.render.zone import SERIAL, SERVER, addresses, render_zone, zone_text

#: Zone -> its DS records.
Anchors = Callable[[str], Iterable[str]]
#: Answers a second to one network (/24, /56), after which every second one asks for TCP: against reflection.
RATE = 200


@dataclass(frozen=True)
class ZoneFile:
    """One zone.

    Args:
        name: without trailing dot.
        text: the zone file.
        public: everybody may ask for it; else the resolver only.
    """

    name: str
    text: str
    public: bool


def units_zone(site: Site) -> str:
    """Return the name of the units' zone; empty when the site has none."""
    return f"{site.names.units}.{site.zone}" if site.names else ""


def zone_names(site: Site, network: Network | None) -> tuple[str, ...]:
    """Return the names of all zones of a site.

    Args:
        site: the site.
        network: of its province; None: it has none.
    """
    inner = [units_zone(site), *reverse_names(network)] if site.names and network else []
    return (site.zone, *_doors(site), *inner)


def site_zones(
    site: Site, published: Iterable[str], plan: Plan | None, anchors: Anchors, old: Iterable[Alias] = ()
) -> tuple[ZoneFile, ...]:
    """Return all zones of a site.

    Args:
        site: the site.
        published: labels that the gateway answers for.
        plan: address plan of its province; None: it has none.
        anchors: returns a zone's DS records, as `infra.dnssec` writes them.
        old: names of units before the last reorganisation that still answer.

    Raises:
        TinhError: a label cannot be published, or zones stand in each other's way.
    """
    door, labels, units = site.front_door, sorted(published), units_zone(site)
    names = dict.fromkeys(labels, door.gateway)
    inner = site.names is not None and plan is not None
    below = [] if not inner else _delegation(site.names.units, f"{SERVER}.{units}.", anchors(units))
    below += [] if not inner else addresses(f"{SERVER}.{site.names.units}", door.dns)  # glue
    found = [ZoneFile(site.zone, render_zone(site.zone, door.dns, names, below), public=True)]
    server, doors = f"{SERVER}.{site.zone}.", _doors(site)
    for name, family in doors.items():
        pointers = [
            (getattr(door.dns, family), SERVER),
            *((getattr(door.gateway, family), x) for x in labels),
        ]
        lines = [
            f"{address.reverse_pointer.removesuffix('.' + name)} IN PTR {label}.{site.zone}."
            for address, label in pointers
        ]
        found.append(ZoneFile(name, zone_text(name, server, SERIAL, lines), public=True))
    if inner:
        clash = set(doors) & set(reverse_names(plan.province.network))
        if clash:
            raise TinhError(
                f"{min(clash)} would be the reverse zone of the front door and of the registered space",
                where=f"stacks/sites/{site.name}/site.yaml: front_door.pool",
                fix="take the pool from a part of the registered space that has a reverse zone of its own",
            )
        cuts = {
            name: [line.partition(" IN ")[2] for line in _delegation("@", server, anchors(name))]
            for name in doors
        }
        texts = {units: render_units(plan, units, door.dns, SERIAL, old)}
        texts |= render_reverse(plan, units, SERIAL, cuts)
        found += [ZoneFile(name, text, public=False) for name, text in texts.items()]
    return tuple(found)


def render_knot(zones: Sequence[ZoneFile], resolvers: Sequence[DualPrefix], port: int, folder: str) -> str:
    """Return `knot.conf`: both families, signing with the keys that were imported, limits, who may ask for what.

    Args:
        zones: what it answers for; everything else is refused.
        resolvers: who may ask for the zones that are not public, and is not limited.
        port: that it listens on.
        folder: where the zone files are, `<zone>.zone`.
    """
    inside = ", ".join(address for prefix in resolvers for address in prefix.pair())
    only = f"[{inside}]" if inside else "[::1]"
    lines = [
        "server:",
        f'    listen: [0.0.0.0@{port}, "::@{port}"]',
        "    rundir: /run/knot",
        '    identity: ""',
        '    version: ""',
        "log:",
        "  - target: stdout",
        "    any: info",
        "database:",
        "    storage: /var/lib/knot",
        "policy:",
        # The keys come from outside: the server makes none and drops none.
        "  - id: province",
        "    manual: on",
        "    single-type-signing: on",
        "    algorithm: ecdsap256sha256",
        "    rrsig-lifetime: 14d",
        "    rrsig-refresh: 7d",
        "mod-rrl:",
        "  - id: limit",
        f"    rate-limit: {RATE}",
        "    slip: 2",
        f"    whitelist: {only}",
        "mod-queryacl:",
        "  - id: inside",
        f"    address: {only}",
        "template:",
        "  - id: default",
        f"    storage: {folder}",
        '    file: "%s.zone"',
        "    dnssec-signing: on",
        "    dnssec-policy: province",
        # Files are read anew at each start, and the serial is the time: it grows whatever was there before.
        "    zonefile-load: difference-no-serial",
        "    zonefile-sync: -1",
        "    journal-content: all",
        "    serial-policy: unixtime",
        "    global-module: mod-rrl/limit",
        "zone:",
    ]
    for zone in zones:
        lines.append(f"  - domain: {zone.name}")
        if not zone.public:
            lines.append("    module: mod-queryacl/inside")
    return "# managed by tinh\n" + "\n".join(lines) + "\n"


def _doors(site: Site) -> dict[str, str]:
    """Return reverse zone of the front door -> family."""
    pool = site.front_door.pool
    return {pointer_zone(getattr(pool, family)): family for family in ("ipv6", "ipv4")}


def _delegation(label: str, server: str, anchors: Iterable[str]) -> list[str]:
    """Return the records by which a zone leads to one below it."""
    return [f"{label} IN NS {server}", *(f"{label} IN DS {ds.partition(' IN DS ')[2]}" for ds in anchors)]
