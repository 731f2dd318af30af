"""The job that makes and locks buckets, with a recording S3 client."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any, ClassVar

import pytest

from infra.components.data import buckets_job

NOW = dt.datetime(2026, 11, 26, tzinfo=dt.UTC)
BUCKET: dict[str, Any] = {
    "name": "a-db-archive",
    "policy": {"Statement": []},
    "lock_days": 7,
    "tags": {"tinh/data-class": "core"},
}


class Storage:
    """Stands in for boto3's client; records calls."""

    def __init__(self, names: list[str], versions: list[dict[str, Any]] | None = None) -> None:
        self.names, self.versions, self.calls = names, versions or [], list[tuple[str, dict[str, Any]]]()

    def list_buckets(self) -> dict[str, Any]:
        return {"Buckets": [{"Name": name} for name in self.names]}

    def get_paginator(self, operation: str) -> Storage:
        assert operation == "list_object_versions"
        return self

    def paginate(self, **_: str) -> list[dict[str, Any]]:
        return [{"Versions": [item["version"] for item in self.versions]}, {}]

    class exceptions:
        class ClientError(Exception):
            response: ClassVar = {"Error": {"Code": "NoSuchObjectLockConfiguration"}}

    def get_object_retention(self, **at: str) -> dict[str, Any]:
        (found,) = [item for item in self.versions if item["version"]["VersionId"] == at["VersionId"]]
        if not found["locked"]:
            raise self.exceptions.ClientError
        return {"Retention": {"Mode": "COMPLIANCE"}}

    def __getattr__(self, name: str) -> Any:
        return lambda **given: self.calls.append((name, given))


def version(number: str, age: int, *, locked: bool = False) -> dict[str, Any]:
    written = NOW - dt.timedelta(days=age)
    return {"version": {"Key": "wal/1", "VersionId": number, "LastModified": written}, "locked": locked}


def test_a_new_bucket_has_lock_versions_tags_and_policy() -> None:
    storage = Storage(["other"])
    buckets_job.make(storage, BUCKET)
    calls = dict(storage.calls)
    assert calls["create_bucket"] == {"Bucket": "a-db-archive", "ObjectLockEnabledForBucket": True}
    assert calls["put_bucket_versioning"]["VersioningConfiguration"] == {"Status": "Enabled"}
    assert calls["put_bucket_tagging"]["Tagging"] == {"TagSet": [{"Key": "tinh/data-class", "Value": "core"}]}
    assert json.loads(calls["put_bucket_policy"]["Policy"]) == {"Statement": []}


def test_a_bucket_that_is_there_is_not_made_again() -> None:
    storage = Storage(["a-db-archive"])
    buckets_job.make(storage, BUCKET)
    assert "create_bucket" not in dict(storage.calls)


def test_young_versions_without_a_lock_are_locked_from_when_they_were_written() -> None:
    storage = Storage([], [version("new", 1), version("locked", 1, locked=True), version("old", 8)])
    assert buckets_job.lock(storage, BUCKET, NOW, 3650) == 1
    ((name, given),) = storage.calls
    assert (name, given["VersionId"]) == ("put_object_retention", "new")
    assert given["Retention"] == {"Mode": "COMPLIANCE", "RetainUntilDate": NOW + dt.timedelta(days=6)}


def test_what_an_earlier_run_has_locked_is_not_asked_for_again() -> None:
    storage = Storage([], [version("new", 0), version("yesterday's", 2)])
    assert buckets_job.lock(storage, BUCKET, NOW, 1) == 1
    assert [given["VersionId"] for _, given in storage.calls] == ["new"]


UNKNOWN = {"Code": "MalformedPolicy", "Message": "Invalid principal in policy"}


class Young(Storage):
    """Does not know an account at first; its errors are those of boto3."""

    class exceptions:
        class ClientError(Exception):
            def __init__(self, error: dict[str, str]) -> None:
                super().__init__(error)
                self.response = {"Error": error}

    def __init__(self, errors: list[dict[str, str]]) -> None:
        super().__init__(["a-db-archive"])
        self.errors = errors

    def put_bucket_policy(self, **given: str) -> None:
        self.calls.append(("put_bucket_policy", given))
        if self.errors:
            raise self.exceptions.ClientError(self.errors.pop(0))


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time that passes only while the job sleeps."""
    waits: list[float] = []
    monkeypatch.setattr(buckets_job.time, "sleep", waits.append)
    monkeypatch.setattr(buckets_job.time, "monotonic", lambda: sum(waits))
    return waits


def test_an_account_that_was_made_a_moment_ago_is_waited_for(slept: list[float]) -> None:
    storage = Young([UNKNOWN, UNKNOWN])
    buckets_job.make(storage, BUCKET)
    assert [name for name, _ in storage.calls].count("put_bucket_policy") == 3
    assert slept == [buckets_job.AGAIN] * 2


def test_an_account_that_never_comes_is_an_error_after_a_while(slept: list[float]) -> None:
    with pytest.raises(Young.exceptions.ClientError):
        buckets_job.make(Young([UNKNOWN] * 1000), BUCKET)
    assert buckets_job.KNOWN < sum(slept) <= buckets_job.KNOWN + 2 * buckets_job.AGAIN


def test_a_policy_that_is_wrong_in_another_way_is_an_error_at_once(slept: list[float]) -> None:
    wrong = {"Code": "MalformedPolicy", "Message": "Policy has invalid action"}
    with pytest.raises(Young.exceptions.ClientError):
        buckets_job.make(Young([wrong]), BUCKET)
    assert slept == []
