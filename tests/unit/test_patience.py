import asyncio

import pulumi
import pytest

from infra import patience

NOT_YET = 'Internal error occurred: failed calling webhook "pools.metallb.io": connection refused'
DENIED = 'admission webhook "pools.metallb.io" denied the request: overlapping'


@pytest.fixture
def asked(monkeypatch):
    """Return a function: what is said to an operation that failed with these errors, and the seconds waited."""
    waited = []

    async def sleep(seconds):
        waited.append(seconds)

    monkeypatch.setattr(patience.asyncio, "sleep", sleep)
    monkeypatch.setattr(pulumi.log, "info", lambda _: None)

    def ask(*errors):
        args = pulumi.ErrorHookArgs("urn", "", "pool", "type", failed_operation="create", errors=list(errors))
        return asyncio.run(patience.again(args)), waited

    return ask


def test_a_webhook_that_does_not_answer_yet_is_waited_for(asked):
    assert asked(NOT_YET) == (True, [patience.PAUSES[0]])
    assert asked(NOT_YET, NOT_YET) == (True, list(patience.PAUSES[:2]))


def test_a_webhook_that_refuses_is_not_asked_again(asked):
    assert asked(DENIED) == (False, [])
    assert asked(DENIED, NOT_YET) == (False, [])


def test_a_webhook_that_never_answers_is_an_error(asked):
    assert asked(*[NOT_YET] * (len(patience.PAUSES) + 1)) == (False, [])
