"""A router's configuration as one resource; docs/routers.md says what it does to the router."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi


@dataclass(frozen=True, kw_only=True)
class RouterConfigArgs:
    """What a router shall have.

    Args:
        host: its name in the site's ssh configuration, or its address. Another host is another router: the
            old one gets its day 0 configuration back.
        files: name (`frr.conf`, `nftables.conf`, ...; infra/providers/router/files.py) -> its whole text.
        confirm_seconds: a change undoes itself unless the router is reached anew within this time (s).
    """

    host: str
    files: Mapping[str, pulumi.Input[str]]
    confirm_seconds: int = 60


class RouterConfig(pulumi.CustomResource):
    """The configuration files of one router.

    Outputs: `digests` (name -> SHA-256), `drift` (name -> lines that were changed by hand at run time).
    """

    digests: pulumi.Output[dict[str, str]]
    drift: pulumi.Output[dict[str, list[str]]]

    def __init__(self, name: str, args: RouterConfigArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        inputs = {"host": args.host, "files": dict(args.files), "confirmSeconds": args.confirm_seconds}
        outputs = {"digests": None, "running": None, "drift": None}
        super().__init__("tinh:network:RouterConfig", name, inputs | outputs, opts)
