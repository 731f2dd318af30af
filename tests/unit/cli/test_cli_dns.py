"""`tinh dns`: what parents are told, and the three steps of a roll-over."""

import json

import pytest
from click.testing import CliRunner

from cli.main import group
from infra import dnssec
from infra.errors import Exit, TinhError


def run(*words):
    result = CliRunner().invoke(group, ["dns", *words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_parents_are_told_of_public_zones_and_of_all_when_asked(state):
    public = run("ds").output.splitlines()
    assert [line.split()[0] for line in public] == [
        "lab.tinh.test.",
        f"{'0.' * 26}7.7.d.f.ip6.arpa.",
        "0.77.10.in-addr.arpa.",
    ]
    every = json.loads(run("ds", "--all", "--json").output)
    assert every[:3] == public
    assert "units.lab.tinh.test." in {line.split()[0] for line in every}


def test_a_roll_over_is_told_step_by_step_and_its_end_is_asked_for(state):
    (old,) = dnssec.keys("lab")
    said = run("roll").output
    assert f"tinh dns retire {old.tag}" in said
    assert len(run("ds").output.splitlines()) == 6  # both keys
    with pytest.raises(TinhError, match="not a terminal"):
        run("retire", str(old.tag))
    assert "signs no more" in run("retire", str(old.tag), "--yes").output
    assert len(run("ds").output.splitlines()) == 3


def test_the_last_key_cannot_be_retired(state):
    (key,) = dnssec.keys("lab")
    with pytest.raises(TinhError) as refused:
        run("retire", str(key.tag), "--yes")
    assert refused.value.code is Exit.REFUSED
    assert dnssec.keys("lab") == (key,)


def test_no_key_is_printed(state):
    output = run("ds").output + run("roll").output
    assert "PRIVATE" not in output
