"""A shared platform on Plone: namespace, database, public name, seeded site, server."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi

from infra import labels, naming
from infra.components.data.database import Database
from infra.components.edge.public_name import publish
from infra.components.identity.login import client_secret, identity_of
from infra.components.manifest import Component, Manifest
from infra.components.workload.allow import dns, from_gateway, postgresql, to_gateway, to_postgresql
from infra.components.workload.namespace import Namespace, NamespaceArgs
from infra.components.workload.platform import PlatformArgs
from platforms.plone.seed import Item, declaration, to_json
from platforms.plone.server import APP, PORT, SEED, PloneArgs, plone


class PlonePlatform(Component):
    """A platform on Plone.

    Args:
        token: type of the component.
        name: of the platform.
        args: facts of site and platform.
        content: seed content.
        profiles: what the site has besides Plone's own.
        opts: provider or parent.
    """

    def __init__(
        self,
        token: str,
        name: str,
        args: PlatformArgs,
        content: Sequence[Item],
        opts: pulumi.ResourceOptions | None,
        *,
        profiles: Sequence[str] = (),
    ) -> None:
        super().__init__(token, name, opts)
        # What can be wrong with the facts is found before the first resource is registered.
        identity = identity_of(args.platforms, name)
        declared = to_json(declaration(args.site, args.facts, args.platforms, content, profiles=profiles))
        stored = args.database("db", database=APP)
        space = self._namespace(name, args, stored.name)
        database = Database(stored.name, stored, self.child(space))
        names = publish(args, APP, 80, self.child(space))
        before: list[pulumi.Resource] = [space, database, *names]
        server = PloneArgs(
            namespace=name,
            image=args.facts.image,
            host=args.host,
            replicas=args.sizing.replicas,
            memory=args.sizing.memory,
            database=database,
            declaration=declared,
            client_secret=args.secret(client_secret(args.facts)),
            identity=args.site.public_name(identity.public_names[0]),
            gateway=args.site.front_door.gateway,
            certificate=naming.name(args.facts.public_names[0], "tls"),
        )
        for obj in plone(server):
            resource = f"{name}-{obj['metadata']['name']}-{obj['kind']}"
            before.append(Manifest(resource, obj, self.child(*before), timeout="15m"))
        self.register_outputs({"url": f"https://{args.host}"})

    def _namespace(self, name: str, args: PlatformArgs, cluster: str) -> Namespace:
        """Declare the namespace: the server and the step that seeds use the database, the server uses identity."""
        app, seed = labels.selector(APP), labels.selector(SEED)
        server_only = (from_gateway(app, [PORT]), to_gateway(app))
        return Namespace(
            f"{name}-namespace",
            NamespaceArgs(
                name=name,
                part_of=name,
                publishes=True,
                protect=True,
                allow=(
                    dns(),
                    *server_only,
                    to_postgresql(cluster, app),
                    to_postgresql(cluster, seed, name="seed-to-postgresql"),
                    *postgresql(args.site, cluster, app, seed),
                ),
            ),
            self.child(),
        )
