"""Kinds of data sets: what is taken of each, what is left out, and what a restore is counted by."""

import contextlib
import dataclasses
import json
from datetime import UTC, datetime

import pytest
from backup_cases import NOW

from infra.backup import recovery
from infra.backup.kinds import bucket, objects, postgresql, routers
from infra.backup.kinds.postgresql import Base, needed, newest_base, whole
from infra.backup.source import TREE, pack, tree_facts, unpack
from infra.backup.store import Listed
from infra.errors import IntegrityError, ToolError

LIVE = {
    "apiVersion": "postgresql.cnpg.io/v1",
    "metadata": {"name": "identity-db", "namespace": "identity"},
    "spec": {
        "instances": 3,
        "imageName": "image:1",
        "storage": {"size": "1Gi"},
        "bootstrap": {"initdb": {"database": "app"}},
        "plugins": [{"name": "x", "isWALArchiver": True}],
        "managed": {"roles": [{"name": "reader"}]},
        "postgresql": {"parameters": {"archive_timeout": "5min"}, "synchronous": {"number": 1}},
    },
}


def test_a_restored_cluster_is_made_as_the_one_that_serves_but_archives_nothing():
    made = recovery.recovered(
        LIVE, "new", "space", "identity-db", to=None, point="20261126T120000Z", base="b1"
    )
    spec = made["spec"]
    assert spec["imageName"] == "image:1" and spec["storage"] == {"size": "1Gi"} and spec["instances"] == 1
    assert made["metadata"]["annotations"] == {"cnpg.io/skipWalArchiving": "enabled"}
    assert "plugins" not in spec and "roles" not in spec["managed"]
    assert spec["postgresql"] == {"parameters": {"archive_timeout": "5min"}}
    assert spec["bootstrap"] == {
        "recovery": {
            "source": "copies",
            "database": "app",
            "recoveryTarget": {"targetName": "tinh-20261126T120000Z", "backupID": "b1"},
        }
    }
    (source,) = spec["externalClusters"]
    assert source["plugin"]["parameters"] == {"barmanObjectName": "new-copies", "serverName": "identity-db"}
    assert LIVE["spec"]["instances"] == 3  # not changed


@pytest.mark.parametrize(
    ("to", "point", "target"),
    [(None, "", None), (NOW, "20261126T120000Z", {"targetTime": "2026-11-26T12:00:00.000000+00:00"})],
)
def test_the_moment_that_is_asked_for_goes_before_the_backups_own(to, point, target):
    made = recovery.recovered(LIVE, "new", "space", "identity-db", to=to, point=point, base="b1")
    assert made["spec"]["bootstrap"]["recovery"].get("recoveryTarget") == target


def test_nothing_gets_out_of_the_sealed_namespace_but_to_api_and_names(lab):
    space, *policies = recovery.sealed_namespace(lab, "drill-identity-db", "identity-db")
    assert space["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    deny = next(p for p in policies if p["metadata"]["name"] == "default-deny")
    assert deny["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    api = {f"{a}/{n}" for a, n in ((lab.cluster.api.ipv6, 128), (lab.cluster.api.ipv4, 32))}
    for policy in policies:
        for rule in policy["spec"].get("egress", []):
            for peer in rule["to"]:
                outside = peer.get("ipBlock", {}).get("cidr")
                named = (
                    peer.get("namespaceSelector", {})
                    .get("matchLabels", {})
                    .get("kubernetes.io/metadata.name")
                )
                assert (
                    outside in api
                    or outside is None
                    or policy["metadata"]["name"] == "allow-postgresql-to-api-server"
                )
                # The archive that the sandbox restores from is the one way out.
                assert named in (None, "kube-system", "objects")
                assert outside or named or peer.get("podSelector"), policy


def test_policies_beside_have_names_of_their_own_and_go_with_the_cluster(lab):
    made = recovery.beside_policies(lab, "identity", "identity-db-restore")
    assert made and all(p["metadata"]["name"].startswith("identity-db-restore-") for p in made)
    assert all(p["metadata"]["labels"][recovery.TEMPORARY] == "identity-db-restore" for p in made)
    assert all(len(p["metadata"]["name"]) <= 63 for p in made)


def test_the_storage_of_a_restore_is_small_and_tight():
    secret, service, pod, store = recovery.store("space", "db", "image:1", "s3cr3t", "2Gi")
    assert secret["stringData"]["ACCESS_SECRET_KEY"] == "s3cr3t"
    assert service["spec"]["ipFamilyPolicy"] == "PreferDualStack"
    for container in (*pod["spec"]["containers"], *pod["spec"]["initContainers"]):
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["resources"]["limits"]["memory"]
    assert "s3cr3t" not in json.dumps(pod) + json.dumps(store)


def listed(*keys):
    return [Listed(key, 1, "m") for key in keys]


def wal(*segments):
    """WAL of places FE, FF, 100, ... of some timelines."""
    return [f"db/wals/{name[:16]}/{name}.zst" for name in segments]


INFO = "db/base/b1/backup.info"
FE, FF = "0000000100000000000000FE", "0000000100000000000000FF"
AFTER = [f"0000000200000001000000{n:02X}" for n in range(5)]


@pytest.mark.parametrize(
    ("keys", "complete"),
    [
        ([INFO, *wal(FE, FF, *AFTER)], True),
        ([INFO, *wal(FE)], True),
        ([INFO, *wal(FE, FF, *AFTER[:3], AFTER[4])], True),  # on its way
        ([], False),
        (wal(FE, FF, *AFTER), False),
        ([INFO, *wal(FF, *AFTER)], False),
        ([INFO, *wal(FE, *AFTER)], False),
        (["db/base/b2/backup.info", *wal(FE)], False),
    ],
)
def test_an_archive_that_has_lost_its_base_or_wal_is_not_whole(keys, complete):
    assert whole(listed(*keys), Base("b1", FE, NOW)) is complete


@pytest.mark.parametrize(
    ("keys", "last", "complete"),
    [
        ([INFO, *wal(FE, FF)], FF, True),
        ([INFO, *wal(FE)], FE, True),
        ([INFO, *wal(FE)], FF, False),
        ([INFO, *wal(FE, FF, *AFTER[:3]), "db/wals/00000002.history.zst"], AFTER[2], True),
        ([INFO, *wal(FE, FF, *AFTER[:3])], AFTER[2], False),  # nothing says where the timelines part
        ([INFO, *wal(FE, FF, AFTER[0], AFTER[2]), "db/wals/00000002.history"], AFTER[2], False),
    ],
)
def test_a_backup_has_all_wal_up_to_its_last_segment(keys, last, complete):
    assert whole(listed(*keys), Base("b1", FE, NOW), last) is complete


class Recorded:
    """A cluster whose operator has a record of one base backup, and makes another."""

    def __init__(self):
        self.backups = [self.done("b1")]

    def done(self, number):
        status = {"phase": "completed", "backupId": number, "beginWal": FE}
        status["stoppedAt"] = datetime.now(UTC).isoformat()
        return {"spec": {"cluster": {"name": "db"}}, "status": status}

    def json(self, *words):
        return self.backups[-1] if words[-1] != "backups.postgresql.cnpg.io" else {"items": self.backups}

    def apply(self, objs, *, create):
        assert create and objs[0]["kind"] == "Backup"
        self.backups.append(self.done("b2"))


@pytest.mark.parametrize(("keys", "base"), [([INFO, *wal(FE)], "b1"), ([], "b2")])
def test_a_base_backup_that_only_the_operator_remembers_is_made_anew(lab, keys, base):
    from infra.backup.sets import data_sets
    from infra.backup.source import Ground

    said = []
    data_set = dataclasses.replace(data_sets(lab)[0], name="db")
    ground = Ground(lab, data_set, "20261126T120000Z", said.append)
    assert postgresql._base(Recorded(), ground, listed(*keys)).id == base
    assert ("the archive has lost base backup b1" in "".join(said)) is (base == "b2")


GAP, CLOSED = listed(INFO, *wal(FE)), listed(INFO, *wal(FE, FF))
ANEW = listed("db/base/b2/backup.info", *wal(FF))


@pytest.mark.parametrize(
    ("archives", "base"),
    [([CLOSED, CLOSED], "b1"), ([GAP, GAP, ANEW], "b2"), ([GAP, GAP, GAP], None)],
)
def test_what_is_taken_is_whole_with_a_new_base_if_need_be_or_it_is_refused(lab, monkeypatch, archives, base):
    from infra.backup.sets import data_sets
    from infra.backup.source import Ground

    class Store:
        def list(self, *_):
            return archives.pop(0)

        def item(self, _, found):
            return found.key

    said = []
    ground = Ground(lab, dataclasses.replace(data_sets(lab)[0], name="db"), "20261126T120000Z", said.append)
    monkeypatch.setattr(postgresql, "Kubectl", lambda _: None)
    monkeypatch.setattr(postgresql, "opened", lambda *_: contextlib.nullcontext(Store()))
    monkeypatch.setattr(postgresql, "primary", lambda *_: "db-1")
    monkeypatch.setattr(postgresql, "ask", lambda *_: [[]])  # nothing is unannounced
    monkeypatch.setattr(postgresql, "measure", lambda *_: ({"markers": 1}, NOW, "0/1"))
    monkeypatch.setattr(postgresql, "archive", lambda *_: FF)
    monkeypatch.setattr(postgresql, "_base", lambda *_: Base("b1", FE, NOW))
    monkeypatch.setattr(postgresql, "_make_base", lambda *_: Base("b2", FF, NOW))
    if base is None:
        with pytest.raises(ToolError, match=f"not all WAL from {FF} to {FF}"), postgresql.take(ground):
            pass
    else:
        with postgresql.take(ground) as taken:
            assert taken.facts == {"markers": 1, "base": base} and taken.revision == "0/1"
            assert f"db/base/{base}/backup.info" in taken.items and wal(FF)[0] in taken.items
    assert ("a new one is made" in "".join(said)) is (base != "b1")
    assert archives == []


def test_of_an_archive_the_newest_base_and_all_wal_since_are_needed():
    base = Base("20261126T1", "000000010000000000000005", NOW)
    found = listed(
        "db/base/20261126T1/backup.info", "db/base/20261126T1/data.tar.lz4", "db/base/20261125T1/data.tar.lz4",
        "db/wals/0000000100000000/000000010000000000000004.zst",
        "db/wals/0000000100000000/000000010000000000000005.zst",
        "db/wals/0000000100000000/000000010000000000000006",
        "db/wals/0000000200000000/000000020000000000000007.zst", "db/wals/00000002.history.zst",
    )  # fmt: skip
    assert [item.key.rsplit("/", 1)[-1] for item in needed(found, base)] == [
        "backup.info", "data.tar.lz4", "000000010000000000000005.zst", "000000010000000000000006",
        "000000020000000000000007.zst", "00000002.history.zst",
    ]  # fmt: skip


def test_only_completed_base_backups_of_the_cluster_count():
    def backup(phase, ended, cluster="db", **more):
        status = {
            "phase": phase,
            "backupId": ended,
            "beginWal": "0" * 24,
            "stoppedAt": f"2026-11-26T{ended}:00:00Z",
        }
        return {"spec": {"cluster": {"name": cluster}}, "status": status | more}

    found = [
        backup("completed", "10"),
        backup("completed", "11"),
        backup("failed", "12"),
        backup("completed", "13", "other"),
    ]
    newest = newest_base([*found, {"spec": {"cluster": {"name": "db"}}}], "db")
    assert newest and newest.id == "11" and newest.stopped == datetime(2026, 11, 26, 11, tzinfo=UTC)
    assert newest_base([], "db") is None


def obj(name="x", kind="Secret", **metadata):
    return {"kind": kind, "metadata": {"name": name, "namespace": "n", **metadata}, "status": {"a": 1}}


def test_only_objects_that_nobody_makes_anew_are_taken():
    assert objects.orphan(obj(managedFields=[{"manager": "kubectl"}]))
    assert not objects.orphan(obj(managedFields=[{"manager": "pulumi-kubernetes-1a2b"}]))
    assert not objects.orphan(obj(ownerReferences=[{"kind": "Cluster"}]))
    assert not objects.orphan(obj("kube-root-ca.crt", "ConfigMap"))
    cleaned = objects.clean(obj(uid="u", resourceVersion="1", labels={"a": "b"}))
    assert cleaned == {"kind": "Secret", "metadata": {"name": "x", "namespace": "n", "labels": {"a": "b"}}}


def test_trees_are_counted_by_names_and_contents(tmp_path):
    source = tmp_path / "source"
    (source / "a").mkdir(parents=True)
    (source / "a" / "one").write_text("1")
    (source / "two").write_text("2")
    pack(tmp_path / TREE, [("top", source), ("none", tmp_path / "none")], lambda name: name.endswith("two"))
    unpack(tmp_path / TREE, tmp_path / "out")
    facts = tree_facts(tmp_path / "out")
    assert (facts["files"], facts["bytes"]) == (1, 1)
    (tmp_path / "out" / "top" / "a" / "one").rename(tmp_path / "out" / "top" / "a" / "other")
    assert tree_facts(tmp_path / "out")["digest"] != facts["digest"]
    (tmp_path / TREE).write_bytes(b"no tar")
    with pytest.raises(IntegrityError, match="cannot be unpacked"):
        unpack(tmp_path / TREE, tmp_path / "again")


def test_buckets_and_routers_are_counted_from_what_came_back(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_text("123")
    assert bucket.count(tmp_path)["objects"] == 1 and bucket.count(tmp_path)["bytes"] == 3
    (tmp_path / "r" / "routers" / "core1").mkdir(parents=True)
    (tmp_path / "r" / "routers" / "core1" / "frr.conf").write_text("x")
    pack(tmp_path / TREE, [("routers", tmp_path / "r" / "routers")])
    assert routers.count(tmp_path)["routers"] == ["core1"]


def test_base_backups_are_asked_for_by_the_plugin():
    made = postgresql.backup_object("db-1", "db", "space")
    assert made["spec"] == {
        "cluster": {"name": "db"},
        "method": "plugin",
        "pluginConfiguration": {"name": "barman-cloud.cloudnative-pg.io"},
    }


def test_private_folders_of_killed_commands_are_removed(state):
    from infra import paths
    from infra.backup.source import private_folder

    home = paths.state("lab").backup
    home.mkdir()
    dead = home / "work-4194999-x"  # above the largest process id
    dead.mkdir()
    with private_folder("lab") as first:
        (first / "secret").write_text("x")
        with private_folder("lab") as second:
            assert not dead.exists() and first.exists() and first != second
            assert second.stat().st_mode & 0o777 == 0o700
    assert list(home.iterdir()) == []
