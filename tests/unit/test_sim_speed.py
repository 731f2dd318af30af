"""The tuning of the SDK takes hold where the SDK itself looks, and changes nothing else."""

import asyncio
import gc

import pulumi
import pulumi.runtime.resource
import pulumi.runtime.rpc_manager
import pytest
from pulumi.runtime.settings import _get_rpc_manager
from pulumi.runtime.stack import wait_for_rpcs

from infra.speed import tune


class Engine:
    def __init__(self):
        self.logged = []

    def Log(self, request):
        self.logged.append(request.message)


@pytest.fixture
def engine(monkeypatch):
    own = Engine()
    monkeypatch.setattr(pulumi.log, "get_engine", lambda: own)
    monkeypatch.setattr(pulumi.log, "debug", pulumi.log.debug)  # both are restored after the test
    _get_rpc_manager().clear()
    yield own
    _get_rpc_manager().clear()
    gc.enable()


async def _tune():
    tune()


def test_debug_messages_stay_here_and_others_arrive(engine):
    pulumi.runtime.resource.log.debug("before")
    asyncio.run(_tune())
    pulumi.runtime.resource.log.debug("after")
    pulumi.runtime.rpc_manager.log.debug("after")
    pulumi.log.info("kept")
    assert engine.logged == ["before", "kept"]
    assert not gc.isenabled()


def test_the_sdk_waits_for_calls_that_have_not_begun_yet(engine, monkeypatch):
    """Without the tuning the SDK goes on to outputs first, and looks at all of them after every answer."""
    looks = []
    real = asyncio.wait

    async def look(tasks, **options):
        looks.append(len(tasks))
        return await real(tasks, **options)

    async def program(*, tuned):
        looks.clear()
        if tuned:
            tune()
        for number in range(5):

            async def call(number=number):
                await asyncio.sleep(number / 100)

            asyncio.ensure_future(_get_rpc_manager().do_rpc("test", call)())  # noqa: RUF006
            pulumi.Output.from_input(asyncio.sleep(number / 100))
        await wait_for_rpcs()
        return len(looks)

    monkeypatch.setattr(asyncio, "wait", look)
    plain = asyncio.run(program(tuned=False))
    assert asyncio.run(program(tuned=True)) < plain
