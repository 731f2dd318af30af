import pytest

from cli import up
from infra.errors import ToolError
from infra.stackinfo import StackInfo

STACK = StackInfo("base", "lab")
NOT_YET = 'Internal error occurred: failed calling webhook "pools.metallb.io": connection refused'
DENIED = 'admission webhook "pools.metallb.io" denied the request: overlapping'


class Runner:
    def __init__(self, *failures):
        self.failures, self.runs = list(failures), 0

    def up(self, stack):
        self.runs += 1
        if self.failures:
            raise ToolError(self.failures.pop(0))
        return "done"


class View:
    def note(self, text):
        self.text = text


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(up.time, "sleep", lambda _: None)


def test_a_webhook_that_does_not_answer_yet_is_waited_for():
    runner, view = Runner(NOT_YET, NOT_YET), View()
    assert up._up(runner, STACK, view) == "done"
    assert runner.runs == 3
    assert "again in" in view.text


def test_a_webhook_that_refuses_is_not_asked_again():
    runner = Runner(DENIED)
    with pytest.raises(ToolError, match="denied"):
        up._up(runner, STACK, View())
    assert runner.runs == 1


def test_a_webhook_that_never_answers_is_an_error():
    runner = Runner(*[NOT_YET] * 9)
    with pytest.raises(ToolError, match="failed calling webhook"):
        up._up(runner, STACK, View())
    assert runner.runs == len(up.WEBHOOK_PAUSES) + 1
