"""Object storage (S3): versitygw on a protected volume, a bucket and a key for each application.

Accounts are a file that the engine reads at each request (`--iam-dir`), so that nobody needs an administrator's key to
add one. What an account may do is a bucket's policy: with one, ownership and ACLs count for nothing (versitygw 1.7.0,
auth/access-control.go), so that no account of an application can change its bucket's rules or destroy versions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pulumi

from infra import labels, naming
from infra.components.data.certificate import certificate, host, mounted
from infra.components.manifest import Component, Manifest, Object
from infra.components.workload.allow import OBJECTS, OBJECTS_PORT, between, dns, from_namespaces
from infra.components.workload.namespace import Namespace, NamespaceArgs
from infra.components.workload.pod import CONTAINER_SECURITY, pod

ENDPOINT = f"https://{host(OBJECTS, OBJECTS)}"
#: Account that reads every bucket: copies to another place.
READER = "backup-reader"
#: Account that removes versions which are no longer locked, and can do nothing else.
PRUNER = "backup-pruner"
_ADMINISTRATOR = "administrator"
_BUCKETS = "buckets"
_USER = 65532
#: The user of the sidecar's image, whose Python runs the job.
_JOB_USER = 26
_JOB = Path(__file__).with_name("buckets_job.py")

_USE = ("GetObject", "GetObjectVersion", "GetObjectAttributes", "GetObjectTagging")
_LIST = ("ListBucket", "ListBucketVersions", "GetBucketLocation", "GetBucketVersioning")
_WRITE = ("PutObject", "PutObjectTagging", "AbortMultipartUpload", "ListMultipartUploadParts")


@dataclass(frozen=True, kw_only=True)
class BucketArgs:
    """One bucket with its account.

    Args:
        name: of the bucket, and of the account (the access key's id).
        secret: the account's secret key; a secret Output.
        lock_days: days in which nobody, not even the administrator, can remove a version.
        removable: the account may put a delete marker on an object; its versions stay in any case.
        tags: what is written on the bucket.
    """

    name: str
    tags: Mapping[str, str]
    secret: pulumi.Output[str]
    lock_days: int
    removable: bool


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


def policy(bucket: BucketArgs) -> Object:
    """Return a bucket's policy: its account uses it, copies read it, the pruner removes old versions.

    No action on objects is ever granted on the bucket itself: there the engine looks up DeleteObject for a request that
    deletes several objects at once, and does not ask for DeleteObjectVersion where such a request names versions
    (versitygw 1.7.0, s3api/controllers/bucket-post.go). So those requests are refused to everybody.
    """
    remove = ("DeleteObject",) if bucket.removable else ()
    allowed = {
        bucket.name: (*_LIST, "ListBucketMultipartUploads", *_USE, *_WRITE, *remove),
        READER: (*_LIST, *_USE),
        PRUNER: (*_LIST, "DeleteObjectVersion"),
    }
    where = [f"arn:aws:s3:::{bucket.name}", f"arn:aws:s3:::{bucket.name}/*"]
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": [account]},
                "Action": [
                    f"s3:{action}" for action in actions if (action in _BUCKET_ONLY) == (at == where[0])
                ],
                "Resource": [at],
            }
            for account, actions in allowed.items()
            for at in where
        ],
    }


#: Actions on the bucket itself; the engine refuses a policy that names them for objects.
_BUCKET_ONLY = frozenset({*_LIST, "ListBucketMultipartUploads"})


def accounts(keys: dict[str, str]) -> str:
    """Return the engine's account file.

    Args:
        keys: access key's id -> secret key. All are of role `user`, which cannot make buckets.
    """
    users = {
        name: {"access": name, "secret": key, "role": "user", "userID": 0, "groupID": 0, "projectID": 0}
        for name, key in sorted(keys.items())
    }
    return json.dumps({"accessAccounts": users}, sort_keys=True)


def declaration(buckets: Sequence[BucketArgs]) -> str:
    """Return what the job of `buckets_job.py` is given."""
    wanted = [
        {"name": b.name, "policy": policy(b), "lock_days": b.lock_days, "tags": dict(b.tags)} for b in buckets
    ]
    return json.dumps({"endpoint": ENDPOINT, "buckets": wanted}, sort_keys=True, indent=1)


def _metadata(name: str) -> Object:
    return {"name": name, "namespace": OBJECTS, "labels": labels.labels(name, OBJECTS)}


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
            *("posix", "--versioning-dir", "/data/versions", "--sidecar", "/data/meta", "/data/objects"),
        ],
        "envFrom": [{"secretRef": {"name": _ADMINISTRATOR}}],
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
        "command": ["mkdir", "-p", "/data/objects", "/data/versions", "/data/meta"],
        "volumeMounts": [data],
    }
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            # Bound when the first pod is there: awaiting it before would be for ever.
            "metadata": _metadata(OBJECTS) | {"annotations": {"pulumi.com/skipAwait": "true"}},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": args.storage_class,
                "resources": {"requests": {"storage": args.size}},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": _metadata(OBJECTS) | {"annotations": {"pulumi.com/skipAwait": "true"}},
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
            "metadata": _metadata(OBJECTS),
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


def bucket_jobs(args: ObjectStorageArgs) -> list[Object]:
    """Return the declaration, the Job that makes the buckets now, and the CronJob that keeps them and locks versions.

    The Job's name follows its input: another declaration is another Job.
    """
    wanted = {"buckets.json": declaration(args.buckets), "job.py": _JOB.read_text("utf-8")}
    digest = hashlib.sha256(repr(sorted(wanted.items())).encode()).hexdigest()[:8]
    volume, mount = mounted(OBJECTS)
    container = {
        "name": _BUCKETS,
        "image": args.client_image,
        "command": ["/venv/bin/python3", "/job/job.py", "/job/buckets.json", "/tls/ca.crt"],
        "env": [
            {"name": name, "valueFrom": {"secretKeyRef": {"name": _ADMINISTRATOR, "key": key}}}
            for name, key in (
                ("AWS_ACCESS_KEY_ID", "ROOT_ACCESS_KEY"),
                ("AWS_SECRET_ACCESS_KEY", "ROOT_SECRET_KEY"),
            )
        ],
        "resources": {"requests": {"cpu": "20m", "memory": "96Mi"}, "limits": {"memory": "192Mi"}},
        "volumeMounts": [mount, {"name": "job", "mountPath": "/job", "readOnly": True}],
    }
    # Only the authority's certificate: the server's key is not the job's business.
    volume["secret"]["items"] = [{"key": "ca.crt", "path": "ca.crt"}]
    job: Object = {
        "backoffLimit": 6,
        "template": {
            "metadata": {"labels": labels.labels(_BUCKETS, OBJECTS)},
            "spec": pod(
                _BUCKETS,
                _JOB_USER,
                [container],
                [volume, {"name": "job", "configMap": {"name": _BUCKETS}}],
                restartPolicy="Never",
            ),
        },
    }
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _metadata(_BUCKETS), "data": wanted},
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": _metadata(_BUCKETS) | {"name": naming.name(_BUCKETS, digest)},
            "spec": job,
        },
        {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": _metadata(_BUCKETS),
            "spec": {
                "schedule": "17 * * * *",
                "concurrencyPolicy": "Forbid",
                "successfulJobsHistoryLimit": 1,
                "failedJobsHistoryLimit": 2,
                "jobTemplate": {"spec": job},
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
            _ADMINISTRATOR: {
                "ROOT_ACCESS_KEY": _ADMINISTRATOR,
                "ROOT_SECRET_KEY": args.secret(f"data-{OBJECTS}-{_ADMINISTRATOR}"),
            },
        }
        before: list[pulumi.Resource] = [space]
        for secret, content in secrets.items():
            obj = {"apiVersion": "v1", "kind": "Secret", "metadata": _metadata(secret), "stringData": content}
            before.append(Manifest(f"{name}-{secret}", obj, self.child(space)))
        signed = certificate(OBJECTS, OBJECTS, args.issuer, simulated=args.simulated)
        before.append(Manifest(f"{name}-Certificate", signed, self.child(space)))
        for obj in server(args):
            protect = obj["kind"] == "PersistentVolumeClaim"
            before.append(Manifest(f"{name}-{obj['kind']}", obj, self.child(*before, protect=protect)))
        for obj in bucket_jobs(args):
            before.append(Manifest(f"{name}-buckets-{obj['kind']}", obj, self.child(*before)))
        self.register_outputs({"endpoint": ENDPOINT})
