import asyncio

import pulumi
import pytest

from infra import patience

NOT_YET = 'Internal error occurred: failed calling webhook "pools.metallb.io": connection refused'
LOST = (
    "Failed to fetch OpenAPI schema from the API server: unexpected error when reading response body. Please retry. "
    "Original error: read tcp [fd00::1]:56016->[fd00::a]:6443: read: connection reset by peer"
)
DENIED = 'admission webhook "pools.metallb.io" denied the request: overlapping'


@pytest.fixture
def asked(monkeypatch):
    """Return a function: what is said to an operation that failed with these errors, and the seconds waited."""
    waited = []

    async def sleep(seconds):
        waited.append(seconds)

    monkeypatch.setattr(patience.asyncio, "sleep", sleep)
    monkeypatch.setattr(pulumi.log, "info", lambda _: None)

    def ask(*errors, kind="kubernetes:core/v1:Service"):
        args = pulumi.ErrorHookArgs("urn", "", "pool", kind, failed_operation="create", errors=list(errors))
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


def test_an_api_server_that_is_lost_for_a_moment_is_waited_for(asked):
    assert asked(LOST) == (True, [patience.PAUSES[0]])


def test_a_router_that_refuses_connections_fails_at_once(asked):
    assert asked("ssh: connection refused", kind="tinh:network:Router") == (False, [])
