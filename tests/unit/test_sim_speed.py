"""The SDK's debug messages are switched off where the SDK itself looks them up."""

import pulumi
import pulumi.runtime.resource
import pulumi.runtime.rpc_manager

from infra.speed import quiet_sdk


class Engine:
    def __init__(self):
        self.logged = []

    def Log(self, request):
        self.logged.append(request.message)


def test_debug_messages_stay_here_and_others_arrive(monkeypatch):
    engine = Engine()
    monkeypatch.setattr(pulumi.log, "get_engine", lambda: engine)
    monkeypatch.setattr(pulumi.log, "debug", pulumi.log.debug)  # restored after the test
    pulumi.runtime.resource.log.debug("before")
    quiet_sdk()
    pulumi.runtime.resource.log.debug("after")
    pulumi.runtime.rpc_manager.log.debug("after")
    pulumi.log.info("kept")
    assert engine.logged == ["before", "kept"]
