"""Simulated load balancer: gives addresses of the front door's pool to Services of type LoadBalancer.

MetalLB's own controller is not used: it exits while its CRDs are not there (the base layer brings them),
reads its own pod at start, and listens on every interface. This one honours the same annotations,
`metallb.io/loadBalancerIPs` and `metallb.io/allow-shared-ip`. Nothing answers at the addresses.

Run as `python -m lab.sim.addresses KUBECONFIG FIRST-LAST...`, one range per family.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

import requests

from lab.sim.api import Api

REQUEST = "metallb.io/loadBalancerIPs"
SHARE = "metallb.io/allow-shared-ip"
Address = IPv4Address | IPv6Address
Range = tuple[Address, Address]


def parse_range(text: str) -> Range:
    """Parse `first-last`."""
    first, _, last = text.partition("-")
    return ip_address(first), ip_address(last)


def _within(pool: Iterable[Range], family: int) -> Iterator[Address]:
    for first, last in pool:
        if first.version == family:
            yield from (ip_address(number) for number in range(int(first), int(last) + 1))


def assign(services: list[dict[str, Any]], pool: list[Range]) -> dict[tuple[str, str], list[str]]:
    """Choose addresses for the Services that have none yet.

    Args:
        services: Service objects of the API.
        pool: ranges to hand out from.

    Returns:
        (namespace, name) -> one address per family of the Service. A Service whose wish is outside the
        pool or taken by another stays without, as with MetalLB.
    """
    wanting = [item for item in services if item["spec"].get("type") == "LoadBalancer"]
    owners: dict[Address, str | None] = {}  # address -> sharing key

    for item in wanting:
        for entry in item.get("status", {}).get("loadBalancer", {}).get("ingress", []):
            owners[ip_address(entry["ip"])] = item["metadata"].get("annotations", {}).get(SHARE)

    chosen: dict[tuple[str, str], list[str]] = {}
    for item in sorted(wanting, key=lambda item: REQUEST not in item["metadata"].get("annotations", {})):
        if item.get("status", {}).get("loadBalancer", {}).get("ingress"):
            continue
        notes = item["metadata"].get("annotations", {})
        families = [6 if family == "IPv6" else 4 for family in item["spec"]["ipFamilies"]]
        key = notes.get(SHARE)
        wish = [ip_address(text.strip()) for text in notes.get(REQUEST, "").split(",") if text.strip()]

        def usable(address: Address, key: str | None = key) -> bool:
            return address not in owners or (key is not None and owners[address] == key)

        if wish:
            inside = all(any(a == b for b in _within(pool, a.version)) for a in wish)
            if not inside or not all(usable(address) for address in wish):
                continue
            addresses = [address for family in families for address in wish if address.version == family]
        else:
            found = [next((a for a in _within(pool, family) if a not in owners), None) for family in families]
            addresses = [address for address in found if address is not None]
        if len(addresses) != len(families):
            continue
        owners.update(dict.fromkeys(addresses, key))
        chosen[item["metadata"]["namespace"], item["metadata"]["name"]] = [str(a) for a in addresses]
    return chosen


def once(api: Api, pool: list[Range]) -> str:
    """Give addresses to all Services that lack them, and return the resource version that was seen."""
    answer = api.call("GET", "/api/v1/services")
    for (namespace, name), addresses in assign(answer["items"], pool).items():
        status = {"loadBalancer": {"ingress": [{"ip": address, "ipMode": "VIP"} for address in addresses]}}
        path = f"/api/v1/namespaces/{namespace}/services/{name}/status"
        api.call("PATCH", path, {"status": status}, "application/merge-patch+json")
        print(f"{namespace}/{name}: {', '.join(addresses)}", flush=True)
    return answer["metadata"]["resourceVersion"]


def main(kubeconfig: str, *ranges: str) -> None:
    """Serve until ended; an API server that goes away is waited for."""
    pool = [parse_range(text) for text in ranges]
    api = Api(Path(kubeconfig))
    while True:
        try:
            version = once(api, pool)
            next(api.watch("/api/v1/services", version, seconds=300), None)
        except requests.RequestException as error:
            print(error, flush=True)
            time.sleep(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
