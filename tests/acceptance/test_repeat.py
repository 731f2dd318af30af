"""Doing it again changes nothing."""

from tests.acceptance.conftest import SITE, tinh


def test_diff_right_after_up_reports_no_change(lab):
    result = tinh("diff", "--site", SITE)
    assert result.returncode == 0, result.stdout[-3000:]


def test_day_0_a_second_time_changes_nothing_on_any_machine(lab, tmp_path):
    from infra.ansible import play
    from lab.up import hosts_of

    recap = play("site.yml", hosts_of(lab.site), log=tmp_path / "log")
    assert recap.changed_tasks == []
    assert set(recap.ok) == {m.name for m in lab.site.all_machines()}
