"""All files of a router, by the names that `infra/providers/router` knows them by."""

from __future__ import annotations

from functools import cached_property

from infra.network.device import Device
from infra.network.fabric import Fabric
from infra.render.firewall import Firewall
from infra.render.frr import render_daemons, render_frr
from infra.render.lan import render_chrony, render_dnsmasq
from infra.render.nftables import render_nftables
from infra.render.options import Options
from infra.render.resolver import render_nat64_unit, render_resolver_unit, render_tayga, render_unbound
from infra.render.telemetry import render_rsyslog, render_snmpd
from infra.render.units import render_qos, render_sysctl, render_vlans, render_vrrp

#: Files whose text holds secrets.
SECRET = frozenset({"snmpd.conf"})


class Renderer:
    """Renders the routers of a fabric.

    Args:
        fabric: routers and policy.
        options: arguments of all of them.
    """

    def __init__(self, fabric: Fabric, options: Options | None = None) -> None:
        self.fabric, self.options = fabric, options or Options()

    @cached_property
    def wall(self) -> Firewall:
        """What all filters have in common."""
        return Firewall(self.fabric, self.options)

    def device_files(self, device: Device) -> dict[str, str]:
        """Return name -> text of every file that a router has, in the order in which they should be loaded."""
        options = self.options
        terminal = device.strict and bool(device.lans)
        files = {
            "sysctl.conf": render_sysctl(),
            "tinh-vlan.service": render_vlans(device),
            "tinh-vrrp.service": render_vrrp(device),
            "daemons": render_daemons(device, options),
            "frr.conf": render_frr(device, options, self.wall.management, self.fabric.network.bfd),
            "dnsmasq.conf": render_dnsmasq(device, options) if terminal else "",
            "chrony.conf": render_chrony(device, options) if options.ntp else "",
            "rsyslog.conf": render_rsyslog(options) if options.syslog else "",
            "snmpd.conf": render_snmpd(device, options) if options.snmp else "",
            "tinh-resolver.service": render_resolver_unit(device, options),
            "unbound.conf": render_unbound(device, self.wall) if device.names and options.authority else "",
            "tinh-nat64.service": render_nat64_unit(device),
            "tayga.conf": render_tayga(device),
            "tinh-qos.service": render_qos(device),
            "nftables.conf": render_nftables(device, self.wall),
        }
        return {name: text for name, text in files.items() if text}

    def all_files(self) -> dict[str, dict[str, str]]:
        """Return router -> its files."""
        return {device.name: self.device_files(device) for device in self.fabric.devices}
