"""What stays and what goes: never the last good backup, never what a kept one adds to."""

from datetime import timedelta

from backup_cases import NOW, RULE, entry
from hypothesis import given
from hypothesis import strategies as st

from infra.backup.retention import drop, keep
from infra.model.backup import Retention

DAY = 24 * 60
rules = st.builds(Retention, **{name: st.integers(0, 5) for name in Retention.model_fields})
ages = st.lists(st.integers(0, 400 * DAY), unique=True, min_size=1, max_size=30)


@st.composite
def backups(draw):
    """Chains of increments: each backup adds to the one before it or is complete."""
    found = []
    for ago in sorted(draw(ages), reverse=True):
        found.append(entry(ago, parent=found[-1] if found and draw(st.booleans()) else None))
    return found


@given(backups(), rules, st.data())
def test_the_newest_good_one_stays_and_nothing_kept_misses_a_part(found, rule, data):
    bad = set(data.draw(st.lists(st.sampled_from([e.id for e in found]))))
    stay = keep(found, rule, NOW, lambda e: e.id not in bad)
    good = [e for e in found if e.id not in bad]
    if good:
        assert max(good, key=lambda e: e.at).id in stay
    assert all(e.parent in stay for e in found if e.id in stay and e.parent)
    locked = NOW - timedelta(days=rule.locked_days)
    assert {e.id for e in found if e.at >= locked} <= stay
    assert {e.id for e in drop(found, rule, NOW, lambda e: e.id not in bad)} == {e.id for e in found} - stay


@given(backups(), rules)
def test_what_was_cleared_out_needs_no_clearing_out(found, rule):
    stay = keep(found, rule, NOW)
    left = [e for e in found if e.id in stay]
    assert keep(left, rule, NOW) == stay


def test_periods_keep_their_last_one():
    found = [entry(days * DAY + hour * 60) for days in range(100) for hour in (0, 6)]
    stay = {e.id for e in found if e.id in keep(found, RULE, NOW)}
    days = sorted({name[:8] for name in stay}, reverse=True)
    # all of two days, the last of a third, of two weeks and two months
    assert days == ["20261126", "20261125", "20261124", "20261122", "20261031"]
    assert sum(name.startswith("20261126") for name in stay) == 2


def test_a_damaged_backup_stands_for_no_period():
    found = [entry(days * DAY) for days in range(5)]
    rule = Retention(locked_days=0, all_days=0, daily=1, weekly=0, monthly=0)
    assert keep(found, rule, NOW + timedelta(days=1)) == {found[0].id}
    bad = found[0].id
    assert keep(found, rule, NOW + timedelta(days=1), lambda e: e.id != bad) == {found[1].id}
