"""The site's DNS zone as a master file (RFC 1035, section 5)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from infra.errors import TinhError
from infra.model.net import DualAddress

#: The name server's own label.
SERVER = "ns1"
#: Seconds. Short, because moving the front door to a standby site must be seen soon.
TTL = 300
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def render_zone(zone: str, server: DualAddress, names: Mapping[str, DualAddress]) -> str:
    """Return the zone file: SOA, NS and, for each name, AAAA and A.

    The serial is derived from the records: same records, same serial, and a change of any record changes it.
    It does not grow with time, which only matters to secondary servers that pull by serial; this zone has
    none.

    Args:
        zone: the zone's name without trailing dot.
        server: address of the authoritative server.
        names: label below the zone -> its address.

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
    records = [f"@ IN NS {SERVER}"]
    for label, address in sorted({SERVER: server, **names}.items()):
        records += [f"{label} IN AAAA {address.ipv6}", f"{label} IN A {address.ipv4}"]
    body = "\n".join([f"$ORIGIN {zone}.", f"$TTL {TTL}", *records])
    serial = int.from_bytes(hashlib.sha256(body.encode()).digest()[:4], "big") or 1
    # refresh, retry, expire, negative TTL: RIPE-203.
    soa = f"@ IN SOA {SERVER} hostmaster {serial} 86400 7200 3600000 {TTL}"
    head, records_text = body.split("\n@ ", 1)
    return f"{head}\n{soa}\n@ {records_text}\n"
