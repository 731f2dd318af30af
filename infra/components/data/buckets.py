"""Buckets of the object storage: their accounts and policies, and the job that makes them and locks what is in them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pulumi

from infra import labels, naming
from infra.components.data.certificate import host, mounted
from infra.components.manifest import Object
from infra.components.workload.allow import OBJECTS
from infra.components.workload.pod import pod

ENDPOINT = f"https://{host(OBJECTS, OBJECTS)}"
#: Secret with the only account that may make buckets.
ADMINISTRATOR = "administrator"
#: Account that reads every bucket: copies to another place.
READER = "backup-reader"
#: Account that removes versions which are no longer locked, and can do nothing else.
PRUNER = "backup-pruner"
_BUCKETS = "buckets"
#: The user of the sidecar's image, whose Python runs the job.
_JOB_USER = 26
_JOB = Path(__file__).with_name("buckets_job.py")
#: Days in which versions without a lock are looked for: at the deployment all that can matter, each hour some.
_ALL, _RECENT = 3650, 1

_USE = ("GetObject", "GetObjectVersion", "GetObjectAttributes", "GetObjectTagging")
_LIST = ("ListBucket", "ListBucketVersions", "GetBucketLocation", "GetBucketVersioning")
_WRITE = ("PutObject", "PutObjectTagging", "AbortMultipartUpload", "ListMultipartUploadParts")
#: Actions on the bucket itself; the engine refuses a policy that names them for objects.
_BUCKET_ONLY = frozenset({*_LIST, "ListBucketMultipartUploads"})


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


def metadata(name: str) -> Object:
    """Return the metadata of an object of the storage's namespace."""
    return {"name": name, "namespace": OBJECTS, "labels": labels.labels(name, OBJECTS)}


def _job(image: str, days: int) -> Object:
    """Return the spec of a Job.

    Args:
        image: has Python with boto3.
        days: how far back versions without a lock are looked for.
    """
    volume, mount = mounted(OBJECTS)
    # Only the authority's certificate: the server's key is not the job's business.
    volume["secret"]["items"] = [{"key": "ca.crt", "path": "ca.crt"}]
    keys = {"AWS_ACCESS_KEY_ID": "ROOT_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY": "ROOT_SECRET_KEY"}
    container = {
        "name": _BUCKETS,
        "image": image,
        "command": ["/venv/bin/python3", "/job/job.py", "/job/buckets.json", "/tls/ca.crt", str(days)],
        "env": [
            {"name": name, "valueFrom": {"secretKeyRef": {"name": ADMINISTRATOR, "key": key}}}
            for name, key in keys.items()
        ],
        "resources": {"requests": {"cpu": "20m", "memory": "96Mi"}, "limits": {"memory": "192Mi"}},
        "volumeMounts": [mount, {"name": "job", "mountPath": "/job", "readOnly": True}],
    }
    volumes = [volume, {"name": "job", "configMap": {"name": _BUCKETS}}]
    return {
        "backoffLimit": 6,
        "template": {
            "metadata": {"labels": labels.labels(_BUCKETS, OBJECTS)},
            "spec": pod(_BUCKETS, _JOB_USER, [container], volumes, restartPolicy="Never"),
        },
    }


def jobs(image: str, buckets: Sequence[BucketArgs]) -> list[Object]:
    """Return the declaration, the Job that makes the buckets now, and the CronJob that keeps them and locks versions.

    The Job's name follows its input: another declaration is another Job.

    Args:
        image: has Python with boto3.
        buckets: what is declared.
    """
    wanted = {"buckets.json": declaration(buckets), "job.py": _JOB.read_text("utf-8")}
    digest = hashlib.sha256(repr((image, sorted(wanted.items()))).encode()).hexdigest()[:8]
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(_BUCKETS), "data": wanted},
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": metadata(_BUCKETS) | {"name": naming.name(_BUCKETS, digest)},
            "spec": _job(image, _ALL),
        },
        {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": metadata(_BUCKETS),
            "spec": {
                "schedule": "17 * * * *",
                "concurrencyPolicy": "Forbid",
                "successfulJobsHistoryLimit": 1,
                "failedJobsHistoryLimit": 2,
                "jobTemplate": {"spec": _job(image, _RECENT)},
            },
        },
    ]
