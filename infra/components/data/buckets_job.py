"""Runs in the cluster: makes buckets, and keeps them, as they are declared. Never takes data away.

Python 3.11 with boto3 (the image of the Barman Cloud sidecar), called as `job.py DECLARATION AUTHORITY DAYS`: how far
back versions without a lock are looked for. The declaration is a file of JSON::

    {"endpoint": URL, "buckets": [{"name": ..., "policy": {...}, "lock_days": days or 0, "tags": {...}}]}

The engine's own default retention does not do what S3's does: it locks everything for some days after it was set, and
nothing afterwards (versitygw 1.7.0, auth/object_lock.go). So each version is locked by itself here, from when it was
written, which is why this runs again and again.
"""

from __future__ import annotations

import datetime as dt
import json
import sys
import time
from pathlib import Path
from typing import Any

COMPLIANCE = "COMPLIANCE"
"""Lock that nobody can shorten, not even the administrator (S3 object lock)."""
#: Seconds until an account that was made a moment ago is known: the kubelet brings the file of accounts to a server
#: that runs within its sync period (one minute) and what its cache adds. And seconds between two tries.
KNOWN, AGAIN = 180, 3


def client(endpoint: str, authority: str) -> Any:  # noqa: ANN401 - boto3 makes its classes at run time
    """Return the S3 client of the administrator, whose keys are in the environment."""
    import boto3  # ty: ignore[import-not-found] - in the image only
    from botocore.config import Config  # ty: ignore[import-not-found]

    config = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 10, "mode": "standard"})
    return boto3.client("s3", endpoint_url=endpoint, verify=authority, region_name="us-east-1", config=config)


def make(s3: Any, bucket: dict[str, Any]) -> None:  # noqa: ANN401
    """Make a bucket with versions, and let in who may use it."""
    name = bucket["name"]
    if name not in {item["Name"] for item in s3.list_buckets()["Buckets"]}:
        # Object lock can only be had from the beginning; it brings versions with it.
        s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    tags = [{"Key": key, "Value": value} for key, value in bucket["tags"].items()]
    s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": tags})
    let_in(s3, name, json.dumps(bucket["policy"]))


def let_in(s3: Any, name: str, policy: str) -> None:  # noqa: ANN401
    """Set a bucket's policy, as soon as the server knows all accounts that it names."""
    end = time.monotonic() + KNOWN
    while True:
        try:
            s3.put_bucket_policy(Bucket=name, Policy=policy)
        except s3.exceptions.ClientError as error:
            # versitygw 1.7.0, auth/bucket_policy.go: one code for mistakes of every sort, told apart by its text.
            unknown = "Invalid principal" in error.response["Error"].get("Message", "")
            if not unknown or time.monotonic() > end:
                raise
        else:
            return
        time.sleep(AGAIN)


def lock(s3: Any, bucket: dict[str, Any], now: dt.datetime, look_back: float) -> int:  # noqa: ANN401
    """Lock every version that is younger than the lock and has none; return how many.

    Args:
        s3: the client.
        bucket: its declaration.
        now: the time.
        look_back: days; older versions were locked by an earlier run and are not asked for again.
    """
    life = dt.timedelta(days=bucket["lock_days"])
    oldest = now - min(life, dt.timedelta(days=look_back))
    locked = 0
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket["name"]):
        for version in page.get("Versions", []):
            at = {"Bucket": bucket["name"], "Key": version["Key"], "VersionId": version["VersionId"]}
            if version["LastModified"] <= oldest or _locked(s3, at):
                continue
            until = version["LastModified"] + life
            s3.put_object_retention(**at, Retention={"Mode": COMPLIANCE, "RetainUntilDate": until})
            locked += 1
    return locked


def _locked(s3: Any, at: dict[str, str]) -> bool:  # noqa: ANN401
    """Return whether a version has a lock; HEAD does not tell of versions that are not the newest."""
    try:
        return bool(s3.get_object_retention(**at)["Retention"])
    except s3.exceptions.ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchObjectLockConfiguration":
            raise
        return False


def main(declaration: Path, authority: str, look_back: float) -> None:
    """Make and lock all buckets."""
    wanted = json.loads(declaration.read_text("utf-8"))
    s3 = client(wanted["endpoint"], authority)
    for bucket in wanted["buckets"]:
        make(s3, bucket)
        start = time.monotonic()
        count = lock(s3, bucket, dt.datetime.now(dt.UTC), look_back) if bucket["lock_days"] else 0
        print(f"{bucket['name']}: {count} versions locked in {time.monotonic() - start:.1f} s", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
