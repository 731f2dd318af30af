"""Which data sets a site has, and mistakes in its rules."""

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
    assert sets.unbacked(lab) == ["identity-volume (volume)"]
    assert [item.name for item in data_sets(lab) if item.namespace] == ["identity-db"]


def test_timers_run_what_is_due(tmp_path):
    from infra.render.timers import render_timers

    files = render_timers("lab", "main", tmp_path / "tinh", tmp_path)
    assert set(files) == {
        f"tinh-{job}.{kind}" for job in ("backup", "drill") for kind in ("service", "timer")
    }
    assert f"ExecStart={tmp_path}/tinh drill run --due --site lab\n" in files["tinh-drill.service"]
    assert all(text.endswith("\n") for text in files.values())
