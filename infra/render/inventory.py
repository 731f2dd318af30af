"""Ansible inventory of a site. Pure; the same for the lab and for real machines: what differs is data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from infra.model.net import DualAddress
from infra.model.site import Machine, Role, Site

#: Clients of the outside, each with a network namespace and the next addresses after the machine's own.
CLIENT_MODES = ("ipv4", "ipv6", "dual")


def inventory(
    site: Site, *, ssh: Path, pki: Path, artifacts: dict[str, str], locked_days: int
) -> dict[str, Any]:
    """Return the inventory as Ansible reads it from YAML or JSON.

    Args:
        site: the site.
        ssh: folder with `id_ed25519` and `known_hosts`.
        pki: folder with the site's CA, server certificates and encryption configuration.
        artifacts: tool name -> folder of its artifact on the control machine.
        locked_days: the machines with backups remove nothing that came later.
    """
    machines = site.all_machines()
    return {
        "all": {
            "vars": {
                "ansible_user": "root",
                "ansible_ssh_private_key_file": str(ssh / "id_ed25519"),
                "ansible_ssh_common_args": f"-o UserKnownHostsFile={ssh / 'known_hosts'} -o StrictHostKeyChecking=yes",
                "ansible_python_interpreter": "/usr/bin/python3",
                "site_name": site.name,
                "site_kind": str(site.kind),
                "site_zone": site.zone,
                "pki_dir": str(pki),
                "ssh_dir": str(ssh),
                "backup": {"locked_days": locked_days},
                "artifacts": artifacts,
                "host_table": [
                    {"name": m.name, "ipv6": m.primary.pair()[0], "ipv4": m.primary.pair()[1]}
                    for m in machines
                ],
                "cluster": {
                    "version": site.cluster.version,
                    "api_ipv6": str(site.cluster.api.ipv6),
                    "api_ipv4": str(site.cluster.api.ipv4),
                    "api_port": site.cluster.api_port,
                    "pods": ",".join(site.cluster.pods.pair()),
                    "services": ",".join(site.cluster.services.pair()),
                },
                "front_door_dns": _pair(site.front_door.dns),
                "resolver": _pair(site.names.resolver.address if site.names else site.front_door.dns),
            },
            "children": {
                str(role): {"hosts": {m.name: _host(site, m) for m in site.by_role(role)}} for role in Role
            },
        }
    }


def _pair(address: DualAddress) -> dict[str, str]:
    return dict(zip(("ipv6", "ipv4"), address.pair(), strict=True))


def _host(site: Site, machine: Machine) -> dict[str, Any]:
    interfaces = []
    for name, address in machine.addresses.items():
        segment = site.segments[name]
        gateway = segment.virtual
        interfaces.append(
            {
                "name": name,
                "ipv6": str(address.ipv6),
                "ipv4": str(address.ipv4),
                "ipv6_length": segment.prefix.ipv6.prefixlen,
                "ipv4_length": segment.prefix.ipv4.prefixlen,
            }
            | ({"gateway_ipv6": str(gateway.ipv6), "gateway_ipv4": str(gateway.ipv4)} if gateway else {})
        )
    number = int(machine.name.lstrip("abcdefghijklmnopqrstuvwxyz"))
    clients = {}
    if machine.role is Role.INTERNET:
        (name, own), *_ = machine.addresses.items()
        for offset, mode in enumerate(CLIENT_MODES, start=1):
            clients[mode] = {"ipv6": str(own.ipv6 + offset), "ipv4": str(own.ipv4 + offset)}
    return (
        {
            "ansible_host": str(machine.primary.ipv6),
            "node_ips": ",".join(machine.primary.pair()),
            "machine_number": number,
            "interfaces": interfaces,
        }
        | ({"clients": clients} if clients else {})
        | _near(site, machine)
    )


def _near(site: Site, machine: Machine) -> dict[str, Any]:
    """Return where an off-site machine finds the copy that it gets its own from: on a segment that both are on."""
    if machine.role is not Role.OFFSITE:
        return {}
    for other in site.by_role(Role.BACKUP):
        for segment in machine.addresses.keys() & other.addresses.keys():
            return {"near": other.name, "near_ipv6": str(other.addresses[segment].ipv6)}
    return {"near": "", "near_ipv6": ""}
