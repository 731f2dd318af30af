"""An application's bucket: what was changed or deleted comes back, as new versions; nothing that was there is lost."""

import json

import pytest

from infra import paths
from tests.acceptance.clients.pods import PROBE, python_pod, running
from tests.acceptance.conftest import SITE, tinh
from tests.acceptance.test_backup import backups_of, ok, pull

BUCKET = f"{PROBE}-files"
#: Objects of these tests; others of the bucket are left alone by the checks.
KEPT = {"backup/a": "first", "backup/deep/er/ü": "x" * 100_000, "backup/same": "unchanged"}


@pytest.fixture(scope="module")
def client(lab):
    with running(lab, [python_pod("backup-client", [f"{BUCKET}-access"])]) as pods:
        yield pods["backup-client"]


def write(client, objects, gone=()):
    """Put objects as the application, and delete some."""
    client.python("s3", f"""
s3 = client("{BUCKET}-access")
for key, body in {objects!r}.items():
    s3.put_object(Bucket="{BUCKET}", Key=key, Body=body.encode())
for key in {list(gone)!r}:
    s3.delete_object(Bucket="{BUCKET}", Key=key)
print(json.dumps(None))
""")  # fmt: skip


def look(client):
    """Return the newest versions, and how many versions and delete markers there are, below backup/."""
    return client.python("s3", f"""
s3 = client("{BUCKET}-access")
at = {{"Bucket": "{BUCKET}", "Prefix": "backup/"}}
keys = [item["Key"] for item in s3.list_objects_v2(**at).get("Contents", [])]
now = {{key: s3.get_object(Bucket="{BUCKET}", Key=key)["Body"].read().decode() for key in keys}}
pages = list(s3.get_paginator("list_object_versions").paginate(**at))
print(json.dumps({{
    "now": now,
    "versions": sorted(v["Key"] for page in pages for v in page.get("Versions", [])),
    "markers": sum(len(page.get("DeleteMarkers", [])) for page in pages),
}}))
""")  # fmt: skip


@pytest.fixture
def taken(lab, client):
    """The bucket with what is backed up, at both places."""
    before = look(client)["now"]
    write(client, {"backup/a": "older version"})
    write(client, KEPT, gone=before.keys() - KEPT.keys())
    ok("backup", "run", BUCKET)
    pull(lab)
    return lab


def test_in_place_changed_and_deleted_objects_come_back_and_no_version_is_lost(taken, client):
    assert look(client)["now"] == KEPT
    write(client, {"backup/a": "spoiled", "backup/new": "made later"}, gone=["backup/deep/er/ü"])
    spoiled = look(client)
    assert spoiled["now"] == {"backup/a": "spoiled", "backup/same": "unchanged", "backup/new": "made later"}
    result = ok("restore", BUCKET, "--in-place", "--to", backups_of(BUCKET)[-1]["at"], "--yes")
    print(result.stdout[-300:])
    assert f"bucket {BUCKET}: " in result.stdout and "marked as deleted" in result.stdout
    back = look(client)
    assert back["now"] == KEPT
    assert back["versions"].count("backup/same") == spoiled["versions"].count("backup/same")
    for key in ("backup/a", "backup/new", "backup/deep/er/ü"):
        assert back["versions"].count(key) >= spoiled["versions"].count(key), key


def test_only_what_is_new_is_sent_and_the_backup_before_still_comes_back(taken, client):
    first = backups_of(BUCKET)[-1]
    write(client, {"backup/a": "second"})
    assert ", 1 item(s)" in ok("backup", "run", BUCKET).stderr
    pull(taken)
    for name, entry, body in (("second", backups_of(BUCKET)[-1], "second"), ("first", first, "first")):
        place = paths.state(SITE).root / "restored" / f"bucket-{name}-{entry['id'].lower()}"
        ok("restore", BUCKET, "--as", place.name, "--to", entry["at"], "--yes")
        assert (place / "backup" / "a").read_text() == body
        assert (place / "backup" / "same").read_text() == KEPT["backup/same"]
        assert place.stat().st_mode & 0o077 == 0


def test_the_drill_proves_it_from_the_other_place(taken):
    ok("drill", "run", "--data-set", BUCKET, "--from", "offsite1")
    file = max((paths.state(SITE).root / "receipts").glob("drill-*.json"))
    (result,) = json.loads(file.read_text())["body"]["results"]
    assert (result["data_set"], result["passed"], result["wrong"]) == (BUCKET, True, [])
    assert result["compared"] == 3


def test_it_is_in_the_list_with_its_own_targets(taken):
    shown = tinh("backup", "list", "--json", "--site", SITE)  # others may be red by now
    rows = {row["data_set"]: row for row in json.loads(shown.stdout)}
    assert rows[BUCKET]["problems"] == [] and sorted(rows[BUCKET]["holders"]) == ["backup1", "offsite1"]
