"""Layer `network`: the configuration of every router, compiled from the province's data. It needs no cluster."""

from __future__ import annotations

import pulumi

from infra import dnssec
from infra.components.network.router import RouterConfig, RouterConfigArgs
from infra.network.of_site import authority_of, fabric_of, host_name, options_of
from infra.render.router import SECRET, Renderer
from stacks.context import Context


def deploy(context: Context) -> None:
    """Declare the layer; what can be wrong with the data is found before the first resource is registered."""
    site = context.site
    fabric = fabric_of(site.name)
    authority = authority_of(site, fabric.network, dnssec.keys(site.name))
    files = Renderer(fabric, options_of(site, authority)).all_files()
    for device in fabric.devices:
        texts: dict[str, pulumi.Input[str]] = {
            name: pulumi.Output.secret(text) if name in SECRET else text
            for name, text in files[device.name].items()
        }
        RouterConfig(device.name, RouterConfigArgs(host=host_name(device, site), files=texts))
    pulumi.export("epoch", fabric.plan.province.epoch)
    pulumi.export("routers", len(fabric.devices))
