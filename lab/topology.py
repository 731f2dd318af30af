"""From a site to the podman networks and system containers that play it. Pure: no podman is called here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

from infra.model.net import DualPrefix
from infra.model.site import Machine, Role, Site

#: Folders whose data must not lie on the container's own overlay: overlay on overlay is refused by the kernel
#: (containerd), and etcd wants real fsync.
VOLUMES = {
    Role.CONTROL_PLANE: (
        "/var/lib/containerd",
        "/var/lib/etcd",
        "/var/lib/kubelet",
        "/opt/local-path-provisioner",
    ),
    Role.WORKER: ("/var/lib/containerd", "/var/lib/kubelet", "/opt/local-path-provisioner"),
    Role.REGISTRY: ("/srv/registry",),
    Role.BACKUP: ("/srv/backup",),
    Role.OFFSITE: ("/srv/backup",),
}


@dataclass(frozen=True)
class Network:
    """One segment as a podman network."""

    name: str
    segment: str
    prefix: DualPrefix


@dataclass(frozen=True)
class Container:
    """One machine as a system container."""

    name: str
    machine: Machine
    networks: tuple[tuple[str, str, str, str], ...]  # (podman network, interface name, IPv6, IPv4)
    volumes: tuple[tuple[str, str], ...]  # (volume name, path)
    labels: dict[str, str] = field(hash=False)


def prefix(instance: str) -> str:
    """Return what every podman object of the instance begins with."""
    return f"tinh-{instance}-"


def labels(instance: str, site: str, checkout: str) -> dict[str, str]:
    """Return the labels by which the lab knows its own objects."""
    return {"tinh.instance": instance, "tinh.site": site, "tinh.checkout": checkout}


def networks(site: Site, instance: str) -> list[Network]:
    """Return the podman networks of a site, one per segment."""
    return [Network(prefix(instance) + name, name, segment.prefix) for name, segment in site.segments.items()]


def containers(
    machines: Iterable[Machine], site: Site, instance: str, checkout: str, image: str
) -> list[Container]:
    """Return system containers, one per machine.

    Args:
        machines: of the site, or outside its data centre.
        site: the site.
        instance: name of the lab.
        checkout: path of the checkout that owns it.
        image: image reference; part of the specification hash, so that a new image is noticed.
    """
    found = []
    for machine in machines:
        nets = tuple(
            (prefix(instance) + segment, segment, *address.pair())
            for segment, address in machine.addresses.items()
        )
        volumes = tuple(
            (f"{prefix(instance)}{machine.name}{path.replace('/', '-')}", path)
            for path in VOLUMES.get(machine.role, ())
        )
        spec = hashlib.sha256(json.dumps([image, nets, volumes]).encode()).hexdigest()[:16]
        found.append(
            Container(
                name=prefix(instance) + machine.name,
                machine=machine,
                networks=nets,
                volumes=volumes,
                labels=labels(instance, site.name, checkout)
                | {"tinh.machine": machine.name, "tinh.spec": spec},
            )
        )
    return found


def pool(default: DualPrefix, index: int) -> DualPrefix:
    """Return the pool of the n-th lab on this machine: the next prefixes of the same size.

    Raises:
        ValueError: when the pool would leave the private range.
    """
    ipv6 = IPv6Network(
        (int(default.ipv6.network_address) + index * default.ipv6.num_addresses, default.ipv6.prefixlen)
    )
    ipv4 = IPv4Network(
        (int(default.ipv4.network_address) + index * default.ipv4.num_addresses, default.ipv4.prefixlen)
    )
    if not (ipv4.is_private and ipv6.is_private):
        raise ValueError(f"pool {index} ({ipv6}, {ipv4}) is outside the private ranges")
    return DualPrefix(ipv6=ipv6, ipv4=ipv4)


def clashes(pool: DualPrefix, used: list[IPv4Network | IPv6Network]) -> list[IPv4Network | IPv6Network]:
    """Return the prefixes in use that overlap a pool; default routes do not count."""
    return [
        prefix
        for prefix in used
        if prefix.prefixlen > 0
        and (prefix.overlaps(pool.ipv4) if isinstance(prefix, IPv4Network) else prefix.overlaps(pool.ipv6))
    ]


def free_pool(
    default: DualPrefix, used: list[IPv4Network | IPv6Network], *, tries: int = 64
) -> DualPrefix | None:
    """Return the first pool that overlaps nothing in use on the host, or None.

    Args:
        default: the pool of the site file.
        used: every prefix that the host routes or podman manages already.
        tries: how many pools to look at.
    """
    pools = (pool(default, index) for index in range(tries))
    return next((candidate for candidate in pools if not clashes(candidate, used)), None)
