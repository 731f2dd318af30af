import json

import pytest

from cli.progress import Live, Plain
from cli.pulumi_events import (
    Failed,
    Finished,
    Message,
    Resource,
    Started,
    Summary,
    Tally,
    follow,
    parse_event,
)

URN = "urn:pulumi:base.sim::tinh::tinh:edge:Dns$kubernetes:core/v1:Service::dns"
STACK = "urn:pulumi:base.sim::tinh::pulumi:pulumi:Stack::tinh-base.sim"


def line(**event):
    return json.dumps({"sequence": 1, "timestamp": 2} | event)


def step(op, urn=URN, old=None, new=None):
    return {"metadata": {"op": op, "urn": urn, "type": "t", "old": old, "new": new}}


@pytest.mark.parametrize(
    ("text", "event"),
    [
        (line(resourcePreEvent=step("create")), Started("create", Resource(URN))),
        (line(resOutputsEvent=step("create")), Finished("create", Resource(URN))),
        (
            line(resOutputsEvent=step("same", STACK, {"outputs": {"a": 1}}, {"outputs": {"a": 2}})),
            Finished("same", Resource(STACK), True),
        ),
        (line(resOpFailedEvent=step("update")), Failed("update", Resource(URN))),
        (
            line(summaryEvent={"resourceChanges": {"create": 1}, "result": "failed"}),
            Summary({"create": 1}, False),
        ),
        (
            line(diagnosticEvent={"severity": "error", "message": "no\n", "urn": URN}),
            Message("error", "no", Resource(URN)),
        ),
        (
            line(diagnosticEvent={"severity": "info", "message": "waiting", "urn": URN, "ephemeral": True}),
            Message("status", "waiting", Resource(URN)),
        ),
        (line(diagnosticEvent={"severity": "debug", "message": "props=secret"}), None),
        (line(diagnosticEvent={"severity": "error", "message": "update failed\n"}), None),
        (
            line(
                diagnosticEvent={
                    "severity": "warning",
                    "message": "using pulumi-x from $PATH at /a expected /b",
                }
            ),
            None,
        ),
        (line(diagnosticEvent={"severity": "info", "message": " \n"}), None),
        (line(preludeEvent={"config": {}}), None),
        (line(cancelEvent={}), None),
    ],
)
def test_each_event_is_understood(text, event):
    assert parse_event(text) == event


def test_resources_are_named_for_people():
    assert str(Resource(URN)) == "Service dns"
    assert Resource(STACK).is_stack
    assert not Resource(URN).is_stack


def test_a_name_with_colons_stays_whole():
    urn = "urn:pulumi:s::tinh::kubernetes:rbac/v1:ClusterRole::system::view"
    assert Resource(urn).name == "system::view"


def test_a_line_is_read_only_when_it_is_whole(tmp_path):
    file = tmp_path / "events.jsonl"
    events = follow(file)
    assert next(events) is None  # not there yet
    text = line(resourcePreEvent=step("create", URN + "-Tỉnh")).replace("\\u1ec9", "ỉ").encode()
    cut = text.index("ỉ".encode()) + 1  # in the middle of a character
    file.write_bytes(text[:cut])
    assert next(events) is None
    with file.open("ab") as stream:
        stream.write(text[cut:] + b"\n")
    assert next(events) == Started("create", Resource(URN + "-Tỉnh"))
    assert next(events) is None


def feed(*events):
    tally = Tally()
    for event in events:
        tally.feed(event)
    return tally


def test_a_tally_counts_what_changes():
    tally = feed(Summary({"same": 3, "read": 1, "create": 2, "create-replacement": 1}, True))
    assert tally.changed == 3
    assert tally.text() == "2 create, 1 create-replacement, 1 read, 3 same"


def test_nothing_changed_is_zero():
    assert feed(Finished("same", Resource(STACK)), Summary({"same": 3}, True)).changed == 0
    assert feed().text() == "no resources"


def test_what_is_running_is_known_until_it_ends():
    one, two = Resource("urn:pulumi:s::tinh::t::one"), Resource("urn:pulumi:s::tinh::t::two")
    tally = feed(Started("create", one), Started("create", two), Finished("create", one))
    assert list(tally.running) == [two.urn]
    tally.feed(Failed("create", two))
    assert not tally.running


def test_plain_output_has_a_line_per_change_and_repeats_no_warning(capsys):
    view, tally = Plain("up"), Tally()
    with view.showing("base.sim"):
        for event in (
            Started("create", Resource(URN)),
            Finished("create", Resource(URN)),
            Finished("same", Resource(URN + "2")),
            Message("warning", "old API", Resource(URN)),
            Message("warning", "old API", Resource(URN)),
            Failed("update", Resource(URN)),
        ):
            view.event(event, tally)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "up base.sim"
    assert lines[1].startswith("base.sim  + Service dns (")
    assert lines[2] == "base.sim  warning: Service dns: old API"
    assert lines[3] == "base.sim  failed: update Service dns"
    assert len(lines) == 4


def test_live_output_shows_what_is_waited_for():
    from io import StringIO

    from rich.console import Console

    console = Console(file=StringIO(), force_terminal=True, width=120)
    view, tally = Live("up", console), Tally()
    with view.showing("base.sim"):
        for number in range(10):
            event = Started("create", Resource(f"{URN}{number}"))
            tally.feed(event)
            view.event(event, tally)
        view.event(Message("status", "[1/2] Waiting for an address", Resource(f"{URN}0")), tally)
    shown = console.file.getvalue()
    assert "+ Service dns0" in shown
    assert "Waiting for an address" in shown
    assert "and 2 more" in shown
