"""The realm of the province's people: its settings, groups and clients, brought into Keycloak by a Job.

Keycloak's own command for administrators (`kcadm`) does it, as a service account of the realm `master` that Keycloak
makes at its first start. Accounts, second factors and memberships are people's, and are never touched.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pulumi

from infra import labels, naming
from infra.components.identity.login import clients, groups
from infra.components.manifest import Object
from infra.components.workload.job import StepArgs, step
from infra.model.base import read_yaml
from infra.model.platform import Platform
from infra.model.site import Site

#: Job, ConfigMap and pods.
NAME = "realm"
#: Secret with `client` and `secret` of the service account, and its name in Keycloak.
ADMIN, ADMIN_CLIENT = "realm-admin", "tinh"
_CLIENTS = "realm-clients"

_APPLY = """\
set -eu
kc() { /opt/keycloak/bin/kcadm.sh "$@" --config /tmp/kcadm.config; }
# The secret is in KC_CLI_CLIENT_SECRET, which kcadm reads itself.
kc config credentials --server "$SERVER" --realm master --client "$CLIENT"
kc get "realms/$REALM" --fields realm >/dev/null 2>&1 || kc create realms -s "realm=$REALM" -s enabled=true
kc update "realms/$REALM" -f /realm/realm.json
kc create partialImport -r "$REALM" -s ifResourceExists=SKIP -o -f /realm/groups.json
for file in /clients/*.json; do
  [ -e "$file" ] || continue
  id=$(basename "$file" .json)
  if kc get "clients/$id" -r "$REALM" --fields id >/dev/null 2>&1; then
    kc update "clients/$id" -r "$REALM" -f "$file"
  else
    kc create clients -r "$REALM" -f "$file"
  fi
done
"""


@dataclass(frozen=True, kw_only=True)
class RealmArgs:
    """The realm.

    Args:
        namespace: Keycloak's.
        image: Keycloak's, for its command.
        server: Keycloak's address inside the cluster.
        site: the site.
        realm: name of the realm.
        platforms: all platforms of the site, whose clients and groups the realm has.
        secret: returns the site's secret of a name.
    """

    namespace: str
    image: str
    server: str
    site: Site
    realm: str
    platforms: Sequence[Platform]
    secret: Callable[[str], pulumi.Output[str]]


def settings(realm: str) -> Object:
    """Return the realm's settings, from `realm.yaml` beside this file."""
    return {"realm": realm, **read_yaml(Path(__file__).with_name("realm.yaml"))}


def files(realm: str, platforms: Sequence[Platform]) -> dict[str, str]:
    """Return what the Job reads, without secrets."""
    return {
        "realm.json": _json(settings(realm)),
        "groups.json": _json({"groups": groups(platforms)}),
        "apply.sh": _APPLY,
    }


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True)


def _with_secret(declared: Object, secret: pulumi.Output[str]) -> pulumi.Output[str]:
    return secret.apply(lambda value: _json(declared | {"secret": value}))


def realm_objects(args: RealmArgs) -> list[Object]:
    """Return Secrets, ConfigMap and Job, in the order in which they depend."""
    texts = files(args.realm, args.platforms)
    registered = {
        f"{client.declared['id']}.json": _with_secret(client.declared, args.secret(client.secret))
        for client in clients(args.site, args.platforms)
    }

    def obj(kind: str, name: str, rest: Object) -> Object:
        metadata = {"name": name, "namespace": args.namespace, "labels": labels.labels(NAME, args.namespace)}
        return {"apiVersion": "v1", "kind": kind, "metadata": metadata, **rest}

    container: Object = {
        "name": NAME,
        "image": args.image,
        "command": ["/bin/sh", "/realm/apply.sh"],
        "env": [
            {"name": "SERVER", "value": args.server},
            {"name": "REALM", "value": args.realm},
            {"name": "CLIENT", "value": ADMIN_CLIENT},
            {"name": "KC_CLI_CLIENT_SECRET", "valueFrom": {"secretKeyRef": {"name": ADMIN, "key": "secret"}}},
            {"name": "KC_OPTS", "value": "-Xmx96m -XX:TieredStopAtLevel=1"},
        ],
        "resources": {"requests": {"cpu": "50m", "memory": "192Mi"}, "limits": {"memory": "192Mi"}},
        "volumeMounts": [
            {"name": "realm", "mountPath": "/realm", "readOnly": True},
            {"name": "clients", "mountPath": "/clients", "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - in the container
        ],
    }
    return [
        obj("Secret", _CLIENTS, {"type": "Opaque", "stringData": registered}),
        obj("ConfigMap", NAME, {"data": texts}),
        step(
            StepArgs(
                name=NAME,
                namespace=args.namespace,
                part_of=args.namespace,
                user=1000,
                container=container,
                volumes=[
                    {"name": "realm", "configMap": {"name": NAME}},
                    {"name": "clients", "secret": {"secretName": _CLIENTS}},
                    {"name": "tmp", "emptyDir": {"sizeLimit": "16Mi"}},
                ],
                inputs=pulumi.Output.all(texts=texts, clients=registered, image=args.image),
            )
        ),
    ]


def admin_secret(namespace: str, secret: pulumi.Output[str]) -> Object:
    """Return the Secret of the service account; Keycloak and the Job read it."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": ADMIN, "namespace": namespace, "labels": labels.labels(NAME, namespace)},
        "type": "Opaque",
        "stringData": {"client": ADMIN_CLIENT, "secret": secret},
    }


def resource_name(platform: str, obj: Object) -> str:
    """Return the name of an object's Pulumi resource."""
    name = obj["metadata"]["name"]
    return f"{naming.name(platform, name)}-{obj['kind']}"
