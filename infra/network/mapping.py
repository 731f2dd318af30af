"""Names of units, routers and interfaces on a kind of machine: the one place that knows what differs on the lab.

| concept | metal (production) | lab |
|---|---|---|
| LANs of a terminal device | VLANs of port `lan1`: `lan1.<vlan>` | one interface each, named by purpose (no 8021q) |
| circuits | ports `wan1`, `wan2`, ... | one interface each, named by purpose |
| link between a unit's routers | the last LAN port | the purpose's name |
| interfaces of the carrier's planes | the router at the other end | the same |
| routing domains | packet policy on every router | the same (no VRF): what runs is what was tested |
| loopbacks | `lo` | `lo` (no dummy devices) |
"""

from __future__ import annotations

import hashlib
from enum import StrEnum

from infra.model.network import RouterRole

LENGTH = 15  # characters of a device's name: IFNAMSIZ - 1 (linux/if.h)
SHORT = {
    RouterRole.CORE: "core",
    RouterRole.TSLCD_GATEWAY: "gw",
    RouterRole.DISTRICT: "d",
    RouterRole.COMMUNE_1: "c",  # the same: a device of the other level is still this unit's
    RouterRole.COMMUNE_2: "c",
}


class Mapping(StrEnum):
    """Kind of machines that the routers are."""

    LAB = "lab"
    METAL = "metal"

    def lan(self, purpose: str, vlan: int | None) -> tuple[str, str]:
        """Return (interface, port below it) for a LAN; without a VLAN id there is no port below."""
        if self is Mapping.LAB or vlan is None:
            return short(purpose), ""
        return f"lan1.{vlan}", "lan1"

    def wan(self, purpose: str, number: int) -> str:
        """Return the interface of a terminal device's circuit, numbered from 1."""
        return short(purpose) if self is Mapping.LAB else f"wan{number}"

    def peer(self, purpose: str, ports: int) -> str:
        """Return the interface of a link between a unit's routers.

        Args:
            purpose: of the link.
            ports: LAN ports of the device.
        """
        return short(purpose) if self is Mapping.LAB else f"lan{ports}"


def short(text: str, length: int = LENGTH) -> str:
    """Return a name of at most some characters; what is cut is told apart by a hash."""
    if len(text) <= length:
        return text
    return f"{text[: length - 5]}-{hashlib.sha256(text.encode()).hexdigest()[:4]}"


def router_name(role: RouterRole, unit: str, number: int, of: int) -> str:
    """Return a router's name: kind, unit code, and its number if the unit has several of the kind.

    Args:
        role: of the router.
        unit: code.
        number: from 1.
        of: how many of the role the unit has.
    """
    tail = f"-{number}" if of > 1 else ""
    return short(f"{SHORT[role]}-{unit}", LENGTH - len(tail)) + tail
