"""Data services: who may do what with which store, and that nothing is served in clear text."""

from __future__ import annotations

import json
from typing import Any

import pulumi
import pytest
import yaml

from infra.components.data import buckets, cache, database, mail, streams
from infra.components.data.access import access
from infra.components.data.buckets import PRUNER, READER, BucketArgs, policy
from infra.components.data.database import Database, DatabaseArgs
from infra.components.workload import allow
from infra.contract import DataContract
from infra.errors import TinhError
from infra.model.data import DataStore, Holding, holdings, load_data
from infra.model.platform import load_platform
from infra.model.site import Site
from infra.model.users import name_of, users
from stacks import data as layer
from tests.conftest import Deploy, Engine

#: Stands for a secret Output, which only exists while a stack is declared.
KEY: Any = None
STORE = {
    "name": "files",
    "engine": "bucket",
    "holds": {"vi": "Tệp", "en": "Files"},
    "data_class": "important",
    "sharing": "own",
    "personal_data": "none",
    "owner": {"code": "stttt", "name": {"vi": "Sở", "en": "Department"}},
    "recovery": {"point": 5, "time": 60},
}


def store(**changes: object) -> DataStore:
    return DataStore.model_validate(STORE | changes)


def held(engine: str, **changes: object) -> Holding:
    image = {"image": "postgres:15"} if engine == "postgresql" else {}
    return Holding("portal", store(engine=engine, **image, **changes))


def bucket(**changes: Any) -> BucketArgs:
    given = {
        "name": "portal-files",
        "secret": KEY,
        "lock_days": 0,
        "removable": True,
    }
    return BucketArgs(**given | {"tags": {}} | changes)


def allowed(document: dict[str, Any], account: str) -> set[str]:
    return {
        action.removeprefix("s3:")
        for statement in document["Statement"]
        if statement["Principal"]["AWS"] == [account]
        for action in statement["Action"]
    }


@pytest.fixture
def contract(lab: Site) -> DataContract:
    return DataContract(
        authority="CERTIFICATE",
        objects="https://objects.objects.svc",
        streams="tls://streams.streams.svc:4222",
        mail="mail.mail.svc",
        classes=load_data(lab).classes,
    )


# --- buckets


def test_an_application_uses_its_bucket_and_cannot_destroy_versions_or_change_rules() -> None:
    actions = allowed(policy(bucket()), "portal-files")
    assert {"GetObject", "PutObject", "DeleteObject", "ListBucket"} <= actions
    forbidden = {"DeleteObjectVersion", "DeleteBucket", "PutObjectRetention", "BypassGovernanceRetention"}
    assert not actions & forbidden
    assert not {action for action in actions if "Policy" in action or action.startswith("PutBucket")}


def test_an_archive_is_written_and_never_taken_away_by_who_writes_it() -> None:
    assert "DeleteObject" not in allowed(policy(bucket(removable=False)), "portal-files")


def test_copies_only_read_and_the_pruner_only_removes_versions() -> None:
    document = policy(bucket())
    assert not {a for a in allowed(document, READER) if not a.startswith(("Get", "List"))}
    assert {a for a in allowed(document, PRUNER) if not a.startswith(("GetBucket", "List"))} == {
        "DeleteObjectVersion"
    }


def test_actions_are_on_the_resource_that_they_belong_to() -> None:
    for statement in policy(bucket())["Statement"]:
        of_bucket = statement["Resource"] == ["arn:aws:s3:::portal-files"]
        for action in statement["Action"]:
            assert action.removeprefix("s3:").startswith(("ListBucket", "GetBucket")) == of_bucket, action


def test_no_account_is_an_administrator() -> None:
    users = json.loads(buckets.accounts({"a": "1", "b": "2"}))["accessAccounts"]
    assert {name: user["role"] for name, user in users.items()} == {"a": "user", "b": "user"}


def test_another_declaration_is_another_job() -> None:
    def name(*declared: BucketArgs) -> str:
        return buckets.jobs("client:1", declared)[1]["metadata"]["name"]

    assert name(bucket()) == name(bucket())
    assert name(bucket()) != name(bucket(lock_days=1))


def test_a_databases_archive_is_locked_as_its_class_says(lab: Site) -> None:
    facts = load_data(lab)
    archive = layer.bucket(held("postgresql"), facts, KEY)
    assert (archive.name, archive.removable) == ("portal-files-archive", False)
    assert archive.lock_days == facts.classes["important"].lock_days  # ty: ignore[invalid-argument-type]
    own = layer.bucket(held("bucket", lock_days=9), facts, KEY)
    assert (own.name, own.removable, own.lock_days) == ("portal-files", True, 9)
    assert own.tags["tinh/data-class"] == "important"


def test_what_holds_several_stores_is_handled_as_the_most_important_one() -> None:
    assert layer.strictest((held("bucket"), held("bucket", data_class="core"))) == "core"
    assert layer.strictest(()) == "other"


def test_an_application_cannot_have_a_platforms_name(lab: Site) -> None:
    facts = load_data(lab)
    with pytest.raises(TinhError, match="identity is the name of 2"):
        users(lab, [load_platform("identity")] * 2, facts)
    assert [name_of(user) for user in users(lab, [], facts)] == ["probe"]


# --- databases


def declare(site: Site, contract: DataContract, **changes: Any) -> None:
    given: dict[str, Any] = {
        "holding": held("postgresql"),
        "instances": 2,
        "size": "1Gi",
        "memory": "256Mi",
        "database": "plone",
        "data": pulumi.Output.from_input(contract),
        "secret": lambda name: pulumi.Output.secret(f"secret of {name}"),
        "simulated": False,
    }
    Database("portal-files", DatabaseArgs(**given | changes))


@pytest.fixture
def engine(deploy: Deploy, lab: Site, contract: DataContract) -> Engine:
    return deploy(lambda: declare(lab, contract, readers=("reporting",), poolers=1))


def test_a_database_is_archived_within_its_recovery_point(engine: Engine) -> None:
    spec = engine.one("Cluster", "portal-files").inputs["spec"]
    assert spec["postgresql"]["parameters"] == {"archive_timeout": "5min"}
    (plugin,) = spec["plugins"]
    assert plugin["isWALArchiver"] is True
    assert plugin["parameters"]["barmanObjectName"] == "portal-files"


@pytest.mark.parametrize(("point", "minutes"), [(0, 1), (1, 1), (5, 5), (1440, 60)])
def test_the_archive_follows_the_recovery_point(point: int, minutes: int) -> None:
    database_of = held("postgresql", recovery={"point": point, "time": 1})
    assert database.archive_minutes(database_of.store) == minutes


def test_the_archive_is_its_own_bucket_and_production_deletes_nothing(engine: Engine) -> None:
    spec = engine.one("ObjectStore", "portal-files").inputs["spec"]
    assert spec["configuration"]["destinationPath"] == "s3://portal-files-archive/"
    assert spec["configuration"]["endpointCA"] == {"name": "portal-files-archive", "key": "ca.crt"}
    assert "retentionPolicy" not in spec


def test_base_backups_come_when_the_class_says_and_outlive_their_schedule(engine: Engine) -> None:
    spec = engine.one("ScheduledBackup", "portal-files").inputs["spec"]
    assert (spec["schedule"], spec["method"], spec["immediate"]) == ("0 0 18 * * *", "plugin", True)
    assert spec["backupOwnerReference"] == "none"


def test_readers_cannot_write_and_their_password_is_a_secret(engine: Engine) -> None:
    (role,) = engine.one("Cluster", "portal-files").inputs["spec"]["managed"]["roles"]
    assert (role["name"], role["inRoles"]) == ("reporting", ["pg_read_all_data"])
    secret = engine.one("Secret", role["passwordSecret"]["name"])
    assert "secret of" not in str(secret.inputs)


def test_clients_of_the_pooler_use_tls(engine: Engine) -> None:
    spec = engine.one("Pooler", "portal-files-pooler").inputs["spec"]
    assert spec["pgbouncer"]["parameters"]["client_tls_sslmode"] == "require"


def test_the_servers_certificate_has_the_poolers_names(
    engine: Engine, deploy: Deploy, lab: Site, contract: DataContract
) -> None:
    names = engine.one("Cluster", "portal-files").inputs["spec"]["certificates"]["serverAltDNSNames"]
    assert "portal-files-pooler.portal.svc" in names
    without = deploy(lambda: declare(lab, contract))
    assert "certificates" not in without.one("Cluster", "portal-files").inputs["spec"]


def test_writes_are_synchronous_only_where_asked_and_possible(
    deploy: Deploy, lab: Site, contract: DataContract
) -> None:
    asked = held("postgresql", synchronous=True)
    both = deploy(lambda: declare(lab, contract, holding=asked))
    assert both.one("Cluster", "portal-files").inputs["spec"]["postgresql"]["synchronous"]["number"] == 1
    alone = deploy(lambda: declare(lab, contract, holding=asked, instances=1))
    assert "synchronous" not in alone.one("Cluster", "portal-files").inputs["spec"]["postgresql"]


def test_every_store_says_what_it_is(engine: Engine) -> None:
    for kind in ("Cluster", "ObjectStore", "ScheduledBackup", "Secret"):
        found = engine.objects(kind)
        assert found
        for item in found:
            assert item.inputs["metadata"]["labels"]["tinh/data-class"] == "important"
            assert item.inputs["metadata"]["labels"]["tinh/data-owner"] == "stttt"


# --- caches, streams, mail


def test_a_cache_has_one_account_without_dangerous_commands_and_no_clear_port() -> None:
    assert "port 0\n" in cache.settings("64Mi")
    assert "maxmemory 64mb" in cache.settings("64Mi")
    assert "maxmemory 2048mb" in cache.settings("2Gi")
    text = cache.users("portal-cache", "password")
    assert text.startswith("user default off\n")
    assert "-@admin -@dangerous" in text
    assert "password" not in text


def test_a_cache_is_open_to_its_application_only() -> None:
    (rule,) = cache.rules((held("cache"),))
    (ingress,) = rule.spec["ingress"]
    assert [peer["namespaceSelector"]["matchLabels"] for peer in ingress["from"]] == [
        {"kubernetes.io/metadata.name": "portal"}
    ]


def test_accounts_of_the_bus_share_nothing_and_there_is_no_anonymous_one() -> None:
    config = json.loads(streams.settings(1, "1Gi", {"a-x": "1", "b-y": "2"}, "p"))
    assert set(config["accounts"]) == {"SYS", "a-x", "b-y"}
    assert "no_auth_user" not in config
    assert not {"exports", "imports"} & set(config["accounts"]["a-x"])
    assert config["jetstream"]["max_file_store"] < 1 << 30
    assert "cluster" not in config


def test_servers_of_the_bus_know_one_another_by_name() -> None:
    config = json.loads(streams.settings(3, "1Gi", {}, "p"))
    assert len(config["cluster"]["routes"]) == 3
    assert "streams-2.peers.streams.svc" in config["cluster"]["routes"][2]


def test_without_users_nobody_is_let_in(lab: Site) -> None:
    facts = load_data(lab).mail
    assert facts
    assert [rule.name for rule in mail.rules(facts, [])] == ["to-smart-host"]
    assert "clients" not in [rule.name for rule in streams.rules([])]
    with pytest.raises(ValueError, match="names no namespace"):
        allow.from_namespaces("clients", {}, [], [1])


def test_mail_leaves_encrypted_in_the_sites_name_by_one_host_over_both_families(lab: Site) -> None:
    facts = load_data(lab).mail
    assert facts
    text = mail.main_cf(facts, lab.cluster.pods)
    settings = dict(line.split(" = ", 1) for line in text.splitlines() if " = " in line)
    assert settings["relayhost"] == "[mx.outside.test]:2525"
    assert settings["smtp_tls_security_level"] == "verify"
    assert settings["smtpd_tls_security_level"] == "encrypt"
    assert settings["mynetworks"] == "[fd00:10:244::]/56 10.244.0.0/16"
    assert "lab.tinh.test = OK" in settings["smtpd_sender_restrictions"]
    (out,) = [rule for rule in mail.rules(facts, ["portal"]) if rule.name == "to-smart-host"]
    (egress,) = out.spec["egress"]
    assert [peer["ipBlock"]["cidr"] for peer in egress["to"]] == ["fd77::28/128", "10.77.0.40/32"]


def test_what_an_application_is_given_fits_the_engine(contract: DataContract) -> None:
    assert access(held("bucket"), contract, "k")["bucket"] == "portal-files"
    assert access(held("postgresql"), contract, "k")["access_key_id"] == "portal-files-archive"
    assert access(held("cache"), contract, "k")["host"] == "portal-files.caches.svc"
    assert access(held("stream"), contract, "k")["url"] == contract.streams
    with pytest.raises(ValueError, match="nothing is shared about engine volume"):
        access(held("volume"), contract, "k")


def test_stores_are_found_by_engine() -> None:
    identity = load_platform("identity")
    (only,) = holdings([("identity", identity.data)], "postgresql", "bucket")
    assert (only.name, only.bucket, only.secret) == (
        "identity-db",
        "identity-db-archive",
        "data-identity-db-archive",
    )
    assert holdings([("identity", identity.data)], "cache") == ()


def test_settings_are_yaml_for_nats_too() -> None:
    assert yaml.safe_load(streams.settings(1, "1Gi", {}, "p"))["port"] == 4222
