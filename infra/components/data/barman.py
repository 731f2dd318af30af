"""The Barman Cloud plugin of CloudNativePG: archives databases into the object storage.

It lives in the operator's namespace, which layer `base` has made, as it must; what it needs to be reached comes with it
(https://cloudnative-pg.io/plugin-barman-cloud/docs/installation/).
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from infra.components.bundle import Bundle, BundleArgs
from infra.components.manifest import Component, Manifest, Object
from infra.components.workload.allow import CNPG_NAMESPACE, between, dns
from infra.components.workload.namespace import exception
from infra.model.site import SiteKind

#: The plugin's name in Clusters and Backups.
PLUGIN = "barman-cloud.cloudnative-pg.io"
_PORT = 9090


@dataclass(frozen=True, kw_only=True)
class BarmanPluginArgs:
    """The plugin.

    Args:
        objs: objects of the upstream manifest.
        kind: the site's kind.
    """

    objs: list[Object]
    kind: SiteKind


def rules() -> list[Object]:
    """Return what the operator's namespace allows in addition: the operator finds and calls the plugin."""
    allowed = (dns(), *between("plugin", {}, [_PORT]))
    return [exception(allow, CNPG_NAMESPACE, "data") for allow in allowed]


class BarmanPlugin(Component):
    """The plugin with its network policies; clusters that use it depend on this component."""

    def __init__(self, name: str, args: BarmanPluginArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tinh:data:BarmanPlugin", name, opts)
        made = [Manifest(f"{name}-{rule['metadata']['name']}", rule, self.child()) for rule in rules()]
        Bundle(name, BundleArgs(objs=args.objs, kind=args.kind), self.child(*made))
        self.register_outputs({})
