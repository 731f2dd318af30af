"""What the bench makes on the lab, and how it reads what came of it; without a lab."""

import json

import pytest
import yaml

from infra.contract import DataContract
from infra.model.data import load_data
from tests.bench import failover, gateway, outage, restore
from tests.bench.database import settled
from tests.bench.manifests import client_pod, door, holding, objects
from tests.bench.measure import MeasureError
from tests.known import Known, plain

IMAGE = "postgres:15"


def promise(site):
    return DataContract(
        authority="CERTIFICATE", objects="https://o", streams="", mail="", classes=load_data(site).classes
    )


# --- the database


def test_the_bench_database_is_the_products_with_nothing_of_pulumi_left(lab):
    made = objects(lab, holding(IMAGE), promise(lab), "key", 2, "1Gi")
    kinds = [obj["kind"] for obj in made]
    assert kinds[0] == "Namespace"
    assert kinds[-3:] == ["Secret", "ObjectStore", "Cluster"]
    text = yaml.safe_dump(made)  # nothing but plain values
    assert "pulumi.com" not in text
    cluster = made[-1]["spec"]
    assert (cluster["instances"], cluster["imageName"]) == (2, IMAGE)
    assert cluster["postgresql"]["pg_hba"] == ["hostnossl all all all reject"]
    assert made[-2]["spec"]["configuration"]["destinationPath"] == "s3://bench-data-db-archive/"
    assert made[-3]["stringData"]["secret_access_key"] == "key"
    deny = [
        obj for obj in made if obj["kind"] == "NetworkPolicy" and obj["metadata"]["name"] == "default-deny"
    ]
    assert len(deny) == 1


def test_only_the_benchs_namespace_is_let_into_the_object_storage():
    (rule,) = door()["spec"]["ingress"]
    assert door()["metadata"]["namespace"] == "objects"
    (peer,) = rule["from"]
    assert peer == {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "bench-data"}}}


def test_a_known_value_is_changed_and_taken_out():
    assert plain({"a": [Known(1).apply(lambda one: one + 1), "b"]}) == {"a": [2, "b"]}


def test_a_client_has_the_certificate_but_not_the_authoritys_key():
    spec = client_pod("x", IMAGE, "db", ["true"], [], PGUSER={"secretKeyRef": {"name": "s", "key": "k"}})[
        "spec"
    ]
    (authority,) = spec["volumes"]
    assert authority["secret"]["items"] == [{"key": "ca.crt", "path": "ca.crt"}]
    env = {item["name"]: item for item in spec["containers"][0]["env"]}
    assert env["PGSSLMODE"]["value"] == "verify-full"
    assert env["PGUSER"]["valueFrom"] == {"secretKeyRef": {"name": "s", "key": "k"}}


def pod(uid, ready=True, **metadata):
    state = [{"type": "Ready", "status": str(ready)}]
    return {"metadata": {"uid": uid, **metadata}, "status": {"conditions": state}}


def cluster(ready=2, current="db-1", target="db-1"):
    return {"status": {"readyInstances": ready, "currentPrimary": current, "targetPrimary": target}}


def test_a_cluster_has_settled_when_all_are_ready_and_the_old_state_is_gone():
    both = [pod("a"), pod("b")]
    assert settled(cluster(), both, 2)
    assert settled(cluster(), both, 2, gone="c", primary="db-1")
    assert not settled(cluster(), both, 2, gone="a"), "the pod that was killed is still shown"
    assert not settled(cluster(), both, 2, primary="db-2")
    assert not settled(cluster(target="db-2"), both, 2), "it is being switched"
    assert not settled(cluster(), [pod("a"), pod("b", ready=False)], 2)
    assert not settled(cluster(), [pod("a"), pod("b", deletionTimestamp="now")], 2)
    assert not settled(cluster(ready=1), both, 2)
    assert not settled({}, [], 2)


def test_rows_of_losing_a_primary_are_held_against_their_goals():
    found = [failover.Round(9.0, 20.0), failover.Round(11.0, 61.0)]
    assert [row.met for row in failover.rows("switchover", found)] == [False, False]
    assert [row.met for row in failover.rows("failover", found)] == [True, False]


# --- backup


def test_throughput_is_compared_and_a_drill_read():
    times = {
        "base": [2.0], "plain base": [1.0], "sealed": [1.0], "plain sealed": [1.0], "bringing": [0.5],
        "restore": [4.0], "plain back": [1.0], "bringing back": [1.2],
    }  # fmt: skip
    rows = restore.rows(100_000_000, times)
    assert [round(row.ratio, 2) for row in rows] == [0.5, 1.0, 2.0, 0.25, 0.83]
    assert [row.met for row in rows] == [False, True, True, False, True]
    assert rows[0].values == (50.0,)


def test_a_drill_that_proves_nothing_is_no_measurement():
    good = {"data_set": "db", "seconds": 90, "allowed_seconds": 60, "compared": 5, "wrong": []}
    row = restore.drill_row({"results": [good]}, "db")
    assert (row.values, row.met) == ((90.0,), False)
    with pytest.raises(MeasureError, match="rows: 5, found 4"):
        restore.drill_row({"results": [good | {"wrong": ["rows: 5, found 4"]}]}, "db")
    with pytest.raises(MeasureError):
        restore.drill_row({"results": [good]}, "other")


# --- gateway


def test_both_names_and_the_backend_are_plain_objects(lab):
    base = {"issuer": "site-ca", "gateway": "edge", "gateway_namespace": "edge"}
    made = gateway.objects(lab, base)
    yaml.safe_dump(made)
    guarded = [obj["metadata"]["name"] for obj in made if obj["kind"] == "EnvoyExtensionPolicy"]
    assert guarded == ["b-guarded"]
    routes = [obj for obj in made if obj["kind"] == "HTTPRoute"]
    assert [route["spec"]["hostnames"] for route in routes] == [[lab.public_name(n)] for n in gateway.NAMES]
    config = next(obj for obj in made if obj["kind"] == "ConfigMap" and "envoy.json" in obj.get("data", {}))
    json.loads(config["data"]["envoy.json"])


def test_addresses_of_both_families_are_written_with_a_port():
    assert gateway.pair("10.0.0.1", 80) == "10.0.0.1:80"
    assert gateway.pair("fd77::1", 443) == "[fd77::1]:443"


def test_a_run_with_other_answers_than_the_page_is_no_measurement():
    good = {"requests": 500, "seconds": 10.0, "errors": 0, "status": {"200": 500}}
    assert gateway.rate(good, "x") == 50
    for bad in ({"errors": 1}, {"status": {"200": 499, "503": 1}}, {"status": {}}):
        with pytest.raises(MeasureError, match="x: "):
            gateway.rate(good | bad, "x")


def test_ways_are_held_against_the_backend_of_the_same_family():
    seen = {("directly", "ipv6"): [100.0], ("directly", "ipv4"): [200.0]}
    seen |= {(name, family): [50.0] for name in gateway.NAMES for family in gateway.FAMILIES}
    assert [row.ratio for row in gateway.rows(seen)] == [0.5, 0.25, 0.5, 0.25]


# --- network


def flow(family, longest, answered=100):
    return {"flow": ["a", "b", "udp", family], "sent": 100, "answered": answered, "longest": longest}


def test_the_longest_outage_of_a_family_counts():
    flows = [flow("ipv6", 0.5), flow("ipv6", 0.7), flow("ipv4", 2.0)]
    assert outage.longest(flows, "ipv6") == 0.7
    with pytest.raises(MeasureError, match="10 answers to 100"):
        outage.longest([flow("ipv6", 0.0, answered=10)], "ipv6")
    with pytest.raises(MeasureError, match="ipv4"):
        outage.longest([flow("ipv6", 0.5)], "ipv4")


def test_lines_and_core_routers_have_goals_of_their_own():
    found = {("core router lost", "ipv6"): [2.0], ("line down", "ipv4"): [2.0]}
    assert [row.met for row in outage.rows(found)] == [True, False]
