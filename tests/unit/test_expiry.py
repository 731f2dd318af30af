"""When certificates end: what is red, and what is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infra.expiry import judge

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
ALARM = timedelta(days=14)
READY = {"type": "Ready", "status": "True"}


def certificate(left: timedelta | None, condition: dict[str, str] = READY, **spec: str) -> dict[str, Any]:
    status: dict[str, Any] = {"conditions": [condition]}
    if left is not None:
        status["notAfter"] = (NOW + left).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "spec": {"dnsNames": ["id.x"], "duration": "2160h0m0s", "renewBefore": "720h0m0s"} | spec,
        "status": status,
    }


@pytest.mark.parametrize(
    ("left", "red"),
    [
        (timedelta(days=60), False),
        (timedelta(days=14), False),
        (timedelta(days=14, seconds=-1), True),
        (timedelta(seconds=-1), True),
    ],
)
def test_a_certificate_is_red_when_it_ends_sooner_than_the_alarm(left: timedelta, red: bool) -> None:
    (found,) = judge([certificate(left)], ALARM, NOW)
    assert (found.red, str(found).startswith("RED")) == (red, red)


def test_a_certificate_of_an_hour_that_is_renewed_in_time_is_not_red() -> None:
    short = {"duration": "1h0m0s", "renewBefore": "59m0s"}
    assert [
        found.red
        for minutes in (58, 30, 29)
        for found in judge([certificate(timedelta(minutes=minutes), **short)], ALARM, NOW)
    ] == [False, False, True]


def test_a_certificate_that_was_never_issued_is_red_and_says_why() -> None:
    failed = {"type": "Ready", "status": "False", "message": "the authority refuses"}
    (found,) = judge([certificate(None, failed)], ALARM, NOW)
    assert found.red
    assert "the authority refuses" in str(found)
    (silent,) = judge([{"spec": {"dnsNames": ["a"]}}], ALARM, NOW)
    assert silent.red
    assert "not issued yet" in str(silent)


def test_a_failing_renewal_is_said_before_it_is_red() -> None:
    failed = {"type": "Ready", "status": "False", "message": "renewal fails"}
    (found,) = judge([certificate(timedelta(days=20), failed)], ALARM, NOW)
    assert not found.red
    assert "renewal fails" in str(found)


def test_what_ends_first_is_shown_first() -> None:
    found = judge([certificate(timedelta(days=d)) for d in (50, 3, 20)] + [certificate(None)], ALARM, NOW)
    assert [one.left.days if one.left else None for one in found] == [None, 3, 20, 50]
