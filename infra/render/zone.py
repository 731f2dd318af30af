"""Zones as master files (RFC 1035, section 5), and the site's own zone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from infra.errors import TinhError
from infra.model.net import DualAddress

#: The name server's own label.
SERVER = "ns1"
#: Seconds. Short, because moving the front door to a standby site must be seen soon.
TTL = 300
#: Of files. The server puts the time of signing in its place, so that it grows with every change (RFC 1982).
SERIAL = 1
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def zone_text(name: str, server: str, serial: int, lines: Iterable[str]) -> str:
    """Return a zone file.

    Args:
        name: of the zone, without trailing dot.
        server: name of its server, as the file has it: relative, or with a trailing dot.
        serial: of the SOA.
        lines: all other records.
    """
    # refresh, retry, expire, negative TTL: RIPE-203.
    soa = f"@ IN SOA {server} hostmaster {serial} 86400 7200 3600000 {TTL}"
    return "\n".join([f"$ORIGIN {name}.", f"$TTL {TTL}", soa, f"@ IN NS {server}", *lines]) + "\n"


def addresses(name: str, address: DualAddress) -> list[str]:
    """Return a name's records in both families."""
    return [f"{name} IN AAAA {address.ipv6}", f"{name} IN A {address.ipv4}"]


def render_zone(
    zone: str, server: DualAddress, names: Mapping[str, DualAddress], below: Iterable[str] = ()
) -> str:
    """Return the site's zone file: SOA, NS and, for each name, AAAA and A.

    Args:
        zone: the zone's name without trailing dot.
        server: address of the authoritative server.
        names: label below the zone -> its address.
        below: records of delegations.

    Raises:
        TinhError: when a label is not a host name label (RFC 1123) or is the name server's.
    """
    for label in names:
        if not _LABEL.fullmatch(label) or label == SERVER:
            raise TinhError(
                f"{label!r} cannot be published",
                where=f"zone {zone}",
                fix=f"use a label of lower-case letters, digits and inner dashes other than {SERVER}",
            )
    lines = [
        line for name, item in sorted({SERVER: server, **names}.items()) for line in addresses(name, item)
    ]
    return zone_text(zone, SERVER, SERIAL, [*lines, *below])
