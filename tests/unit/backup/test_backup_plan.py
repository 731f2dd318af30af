"""Restore and standing: which backup from which copy, what is lost, and when it is red."""

from datetime import timedelta

import pytest
from backup_cases import NOW, RULE, copy, data_set, entry
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from infra import receipt
from infra.backup.catalogue import chain, differences, parse_time, read_entry, standing
from infra.backup.plan import PrunePlan, plan_restore
from infra.backup.retention import drop
from infra.backup.sets import Kind
from infra.errors import Exit, TinhError

KEY = Ed25519PrivateKey.generate()


def test_an_entry_comes_back_from_its_signed_form_and_a_forged_one_does_not():
    one = entry(5)
    document = receipt.sign(one.body(), KEY)
    assert read_entry(document, "backup1", receipt.public_text(KEY)) == one
    with pytest.raises(TinhError, match="another key") as error:
        read_entry(document, "backup1", receipt.public_text(Ed25519PrivateKey.generate()))
    assert error.value.code is Exit.INTEGRITY


def test_the_newest_good_backup_is_taken_from_the_first_copy_that_has_it():
    old, new = entry(50), entry(5)
    plan = plan_restore(data_set(), [copy(old, new), copy(old, new, name="offsite1")], NOW, into="x")
    assert (plan.entry, plan.source, plan.loss) == (new, "backup1", timedelta(minutes=5))
    hurt = copy(old, new, damaged=new.blobs)
    assert plan_restore(data_set(), [hurt, copy(old, new, name="offsite1")], NOW).source == "offsite1"
    assert plan_restore(data_set(), [hurt, copy(old, name="offsite1")], NOW).entry == old


def test_a_damaged_part_makes_all_that_adds_to_it_unusable():
    full = entry(50)
    more = entry(5, parent=full)
    assert plan_restore(data_set(), [copy(full, more)], NOW).parts == (full, more)
    with pytest.raises(TinhError, match="no good backup"):
        plan_restore(data_set(), [copy(full, more, damaged=full.blobs)], NOW)
    with pytest.raises(TinhError, match="no good backup"):
        plan_restore(data_set(), [copy(more)], NOW)
    with pytest.raises(TinhError, match="is missing"):
        chain([more], more.id)


@pytest.mark.parametrize(("ago", "wanted"), [(60, 120), (45, 60), (120, 120)])
def test_most_data_come_back_as_they_were_backed_up_last_before_the_moment(ago, wanted):
    found = {minutes: entry(minutes) for minutes in (120, 59, 30)}
    found[60] = entry(60) if wanted == 60 else found[120]
    plan = plan_restore(data_set(), [copy(*found.values())], NOW, to=NOW - timedelta(minutes=ago))
    assert plan.entry.at <= plan.moment and plan.loss >= timedelta(minutes=ago)


def test_postgresql_comes_back_as_of_any_moment_after_a_complete_backup():
    full = entry(60, data_set="db")
    one, two = entry(40, data_set="db", parent=full), entry(20, data_set="db", parent=None)
    two = two.model_copy(update={"parent": one.id})
    db = data_set(Kind.POSTGRESQL, "db")
    found = [copy(full, one, two)]
    at = {
        ago: plan_restore(db, found, NOW, to=NOW - timedelta(minutes=ago)).entry
        for ago in (60, 50, 40, 30, 20)
    }
    assert at == {60: full, 50: one, 40: one, 30: two, 20: two}
    for ago in (61, 10):  # before the first complete one, after the end
        with pytest.raises(TinhError, match="no good backup of db for") as error:
            plan_restore(db, found, NOW, to=NOW - timedelta(minutes=ago))
        assert "3 from 2026-11-26T11:00" in error.value.where
    with pytest.raises(TinhError, match="future"):
        plan_restore(db, found, NOW, to=NOW + timedelta(minutes=1))


def test_the_plan_says_what_is_overwritten_and_lost():
    text = plan_restore(data_set(), [copy(entry(90))], NOW, into="etcd", in_place=True).text()
    assert "the 90 min since then" in text and "replaced:  etcd as it is now" in text and "backup1" in text
    assert "replaced:  nothing" in plan_restore(data_set(), [copy(entry(90))], NOW, into="new").text()


def red(*copies, point=60, asked=2):
    return standing("etcd", point, copies, asked, NOW).problems


def test_a_data_set_is_red_when_it_is_late_lost_damaged_or_has_too_few_copies():
    new = entry(30)
    assert red(copy(new), copy(new, name="offsite1")) == ()
    assert "no good backup" in red(copy(), copy(name="offsite1"))
    assert red(copy(entry(61)), copy(entry(61), name="o")) == ("the newest is 61 min old, allowed 60 min",)
    assert red(copy(new)) == ("1 of 2 copies are up to date",)
    assert red(copy(new), copy(entry(30 + 91), name="o")) == ("1 of 2 copies are up to date",)
    hurt = copy(new, damaged=new.blobs)
    assert f"damaged at backup1: {new.id}" in red(hurt, copy(new, name="offsite1"))
    found = standing("etcd", 60, [hurt, copy(new, name="offsite1")], 1, NOW)
    assert found.holders == ("offsite1",) and found.total == 200 and found.count == 1


def test_facts_that_differ_are_named_by_their_path():
    before = {"tables": {"a": {"rows": 1, "sum": "5"}, "b": {"rows": 0}}, "marker": "x"}
    assert differences(before, before) == []
    now = {"tables": {"a": {"rows": 2, "sum": "5"}}, "marker": "x", "more": 1}
    assert differences(before, now) == [
        "more: recorded nothing, found 1",
        "tables.a.rows: recorded 1, found 2",
        "tables.b: recorded {'rows': 0}, found nothing",
    ]


def test_the_clearing_out_names_what_goes():
    found = [entry(days * 24 * 60) for days in range(40)]
    gone = drop(found, RULE, NOW)
    text = PrunePlan("backup1", {"etcd": gone}, {"etcd": len(found) - len(gone)}).text()
    assert gone and gone[0].id in text and "stay" in text
    assert "nothing is older" in PrunePlan("backup1", {"etcd": []}, {"etcd": 1}).text()


@pytest.mark.parametrize("text", ["2026-11-26T17:00:00Z", "2026-11-26T17:00:00", "2026-11-27T00:00:00+07:00"])
def test_moments_are_utc_unless_they_say_otherwise(text):
    assert parse_time(text, "--to").timestamp() == 1795712400


def test_what_is_no_moment_is_said():
    with pytest.raises(TinhError, match="'yesterday' is no time"):
        parse_time("yesterday", "--to")
