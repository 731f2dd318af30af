"""Which data sets a site has, and mistakes in its rules."""

import shutil

import pytest
import yaml

from infra import paths
from infra.backup.sets import Kind, choose, data_sets
from infra.errors import TinhError
from infra.model.backup import load_policy


def test_stores_of_platforms_come_first_and_every_set_has_targets(lab):
    found = data_sets(lab)
    assert (
        found[0].name == "identity-db"
        and found[0].kind is Kind.POSTGRESQL
        and found[0].namespace == "identity"
    )
    assert {"etcd", "cluster-objects", "pulumi-state", "site-data", "routers"} <= {
        item.name for item in found
    }
    assert all(item.point > 0 and item.time > 0 and item.drill_days > 0 for item in found)


def test_applications_are_backed_up_as_platforms_are_but_their_caches(lab):
    found = {item.name: item for item in data_sets(lab)}
    files = found["probe-files"]
    assert (files.kind, files.namespace, files.point, files.time) == (Kind.BUCKET, "probe", 60, 60)
    assert found["probe-events"].kind is Kind.STREAM
    assert "probe-cache" not in found


@pytest.fixture
def facts(lab, tmp_path, monkeypatch):
    """Changes the lab's data services."""
    shutil.copytree(paths.SITES / "lab", tmp_path / "lab")
    monkeypatch.setattr(paths, "SITES", tmp_path)
    file = tmp_path / "lab" / "data.yaml"

    def change(how):
        data = yaml.safe_load(file.read_text("utf-8"))
        how(data["applications"][0])
        file.write_text(yaml.safe_dump(data), "utf-8")

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a["data"][0].pop("recovery"), "applications.0.data.0.recovery: Field required"),
        (lambda a: a["data"][0].update(recovery={"point": 0, "time": 9}), "recovery.point of a bucket cannot be 0"),
        (lambda a: a["data"][2].update(recovery={"point": 0, "time": 9}), "recovery.point of a stream cannot be 0"),
        (lambda a: a["data"][0].update(recovery={"point": 5, "time": 0}), "data.0.recovery.time"),
        (lambda a: a["data"][1].update(name="files"), "two data stores have the same name"),
    ],
)  # fmt: skip
def test_mistakes_about_an_applications_stores_are_named(lab, facts, change, message):
    facts(change)
    with pytest.raises(TinhError, match=message) as error:
        data_sets(lab)
    assert error.value.where.endswith("lab/data.yaml") and error.value.fix


def test_an_applications_store_cannot_take_the_name_of_a_set_of_the_site(lab, facts):
    def change(application):
        application["name"] = "site"
        application["data"][0]["name"] = "data"

    facts(change)
    with pytest.raises(TinhError, match="would be data set site-data") as error:
        data_sets(lab)
    assert "applications, site" in error.value.where


def test_a_site_without_a_network_has_no_routers(sim):
    assert "routers" not in {item.name for item in data_sets(sim)}


def test_an_unknown_data_set_is_named_with_the_known_ones(lab):
    found = data_sets(lab)
    assert choose(found, [], "x") == found
    assert [item.name for item in choose(found, ["etcd"], "x")] == ["etcd"]
    with pytest.raises(TinhError, match="no data set 'etc'") as error:
        choose(found, ["etc"], "x")
    assert "pulumi-state" in error.value.fix


@pytest.mark.parametrize("site", ["lab", "sim", "quang-binh"])
def test_the_rules_of_every_site_are_valid(site):
    policy = load_policy(site)
    assert policy.copies >= 2 and policy.sources


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["sets"].pop("etcd"), "missing or unknown: etcd"),
        (lambda d: d["sets"].update(other=d["sets"]["etcd"]), "missing or unknown: other"),
        (lambda d: d.update(recipients=["AGE-SECRET-KEY-1X"]), "no public key of age"),
        (lambda d: d.update(copies=0), "copies"),
        (lambda d: d["retention"].update(hourly=1), "retention.hourly"),
    ],
)
def test_mistakes_are_named(tmp_path, change, message):
    data = yaml.safe_load((paths.SITES / "lab" / "backup.yaml").read_text("utf-8"))
    change(data)
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "backup.yaml").write_text(yaml.safe_dump(data), "utf-8")
    with pytest.raises(TinhError, match=message):
        load_policy("lab", root=tmp_path)


def test_a_store_that_nothing_is_done_for_is_named(lab, monkeypatch):
    from infra.backup import sets

    platform = sets.load_platforms(lab)[0]
    store = platform.data[0]
    odd = [store.model_copy(update={"name": engine, "engine": engine}) for engine in ("volume", "cache")]
    changed = platform.model_copy(update={"data": [store, *odd]})
    monkeypatch.setattr(sets, "load_platforms", lambda site: [changed])
    assert "identity-volume (volume)" in sets.unbacked(lab)
    assert not [name for name in sets.unbacked(lab) if "cache" in name]
    assert [item.name for item in data_sets(lab) if item.namespace == "identity"] == ["identity-db"]


def test_timers_run_what_is_due(tmp_path):
    from infra.render.timers import render_timers

    files = render_timers("lab", "main", tmp_path / "tinh", tmp_path)
    assert set(files) == {
        f"tinh-{job}.{kind}" for job in ("backup", "drill") for kind in ("service", "timer")
    }
    assert f"ExecStart={tmp_path}/tinh drill run --due --site lab\n" in files["tinh-drill.service"]
    assert all(text.endswith("\n") for text in files.values())
