"""Object storage (S3): versitygw on a protected volume, a bucket and a key for each application.

Accounts are a file that the engine reads at each request (`--iam-dir`), so that nobody needs an administrator's key to
add one. What an account may do is a bucket's policy: with one, ownership and ACLs count for nothing (versitygw 1.7.0,
auth/access-control.go), so that no account of an application can change its bucket's rules or destroy versions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pulumi

from infra import labels
from infra.components.data.buckets import (
    ADMINISTRATOR,
    ENDPOINT,
    PRUNER,
    READER,
    BucketArgs,
    accounts,
    jobs,
    metadata,
)
from infra.components.data.certificate import certificate, mounted
from infra.components.manifest import Component, Manifest, Object
from infra.components.workload.allow import OBJECTS, OBJECTS_PORT, between, dns, from_namespaces
from infra.components.workload.namespace import Namespace, NamespaceArgs
from infra.components.workload.pod import CONTAINER_SECURITY, pod

_USER = 65532


@dataclass(frozen=True, kw_only=True)
class ObjectStorageArgs:
    """The storage.

    Args:
        image: versitygw's image.
        shell_image: makes the folders on a new volume.
        client_image: has Python with boto3.
        issuer: ClusterIssuer of the server's certificate.
        storage_class: of the volume.
        size: of the volume.
        memory: of the server.
        buckets: what it holds.
        clients: namespaces that may reach it.
        secret: returns the site's secret of a name.
        simulated: nothing is awaited on a simulated site.
    """

    image: str
    shell_image: str
    client_image: str
    issuer: pulumi.Input[str]
    storage_class: str
    size: str
    memory: str
    buckets: Sequence[BucketArgs]
    clients: Sequence[str]
    secret: Callable[[str], pulumi.Output[str]]
    simulated: bool


def server(args: ObjectStorageArgs) -> list[Object]:
    """Return volume claim, Service and Deployment."""
    volume, mount = mounted(OBJECTS)
    data: Object = {"name": "data", "mountPath": "/data"}
    resources = {"requests": {"cpu": "50m", "memory": args.memory}, "limits": {"memory": args.memory}}
    container = {
        "name": "versitygw",
        "image": args.image,
        "command": ["/usr/local/bin/versitygw"],
        "args": [
            *("--port", f":{OBJECTS_PORT}", "--cert", "/tls/tls.crt", "--key", "/tls/tls.key"),
            *("--iam-dir", "/accounts", "--disable-acl", "--health", "/healthz"),
            # What S3 knows of an object is in attributes of its file. In files beside it (--sidecar) an object that is
            # written again after it was deleted stays deleted (versitygw 1.7.0).
            *("posix", "--versioning-dir", "/data/versions", "/data/objects"),
        ],
        "envFrom": [{"secretRef": {"name": ADMINISTRATOR}}],
        "ports": [{"name": "https", "containerPort": OBJECTS_PORT}],
        "readinessProbe": {
            "httpGet": {"path": "/healthz", "port": "https", "scheme": "HTTPS"},
            "periodSeconds": 3,
        },
        "resources": resources,
        "volumeMounts": [mount, data, {"name": "accounts", "mountPath": "/accounts", "readOnly": True}],
    }
    folders = {
        "name": "folders",
        "image": args.shell_image,
        "command": ["mkdir", "-p", "/data/objects", "/data/versions"],
        "volumeMounts": [data],
    }
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            # Bound when the first pod is there: awaiting it before would be for ever.
            "metadata": metadata(OBJECTS) | {"annotations": {"pulumi.com/skipAwait": "true"}},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": args.storage_class,
                "resources": {"requests": {"storage": args.size}},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata(OBJECTS) | {"annotations": {"pulumi.com/skipAwait": "true"}},
            "spec": {
                "ipFamilyPolicy": "RequireDualStack",
                "ipFamilies": ["IPv6", "IPv4"],
                "selector": labels.selector(OBJECTS),
                "ports": [{"name": "https", "port": 443, "targetPort": "https"}],
            },
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata(OBJECTS),
            "spec": {
                "replicas": 1,
                # Two servers on one volume do not know of each other's uploads.
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": labels.selector(OBJECTS)},
                "template": {
                    "metadata": {"labels": labels.labels(OBJECTS, OBJECTS)},
                    "spec": pod(
                        OBJECTS,
                        _USER,
                        [container],
                        [
                            volume,
                            {"name": "data", "persistentVolumeClaim": {"claimName": OBJECTS}},
                            {"name": "accounts", "secret": {"secretName": "accounts", "defaultMode": 0o440}},
                        ],
                        initContainers=[folders | {"securityContext": CONTAINER_SECURITY}],
                    ),
                },
            },
        },
    ]


class ObjectStorage(Component):
    """The storage with its namespace, accounts and buckets. Volume and namespace are protected."""

    def __init__(
        self, name: str, args: ObjectStorageArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("tinh:data:ObjectStorage", name, opts)
        app = labels.selector(OBJECTS)
        space = Namespace(
            f"{name}-namespace",
            NamespaceArgs(
                name=OBJECTS,
                part_of=OBJECTS,
                protect=True,
                allow=(
                    dns(),
                    from_namespaces("clients", app, (OBJECTS, *args.clients), [OBJECTS_PORT]),
                    between("buckets", {}, [OBJECTS_PORT])[1],
                ),
            ),
            self.child(),
        )
        keys = {bucket.name: bucket.secret for bucket in args.buckets}
        keys |= {account: args.secret(f"data-{account}") for account in (READER, PRUNER)}
        secrets: dict[str, Object] = {
            "accounts": {"users.json": pulumi.Output.all(**keys).apply(accounts)},
            ADMINISTRATOR: {
                "ROOT_ACCESS_KEY": ADMINISTRATOR,
                "ROOT_SECRET_KEY": args.secret(f"data-{OBJECTS}-{ADMINISTRATOR}"),
            },
        }
        before: list[pulumi.Resource] = [space]
        for secret, content in secrets.items():
            obj = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata(secret), "stringData": content}
            before.append(Manifest(f"{name}-{secret}", obj, self.child(space)))
        signed = certificate(OBJECTS, OBJECTS, args.issuer, simulated=args.simulated)
        before.append(Manifest(f"{name}-Certificate", signed, self.child(space)))
        for obj in server(args):
            protect = obj["kind"] == "PersistentVolumeClaim"
            before.append(Manifest(f"{name}-{obj['kind']}", obj, self.child(*before, protect=protect)))
        for obj in jobs(args.client_image, args.buckets):
            before.append(Manifest(f"{name}-buckets-{obj['kind']}", obj, self.child(*before)))
        self.register_outputs({"endpoint": ENDPOINT})
