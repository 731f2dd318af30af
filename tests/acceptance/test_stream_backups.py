"""An application's streams: what was acknowledged comes back with its consumers, in place and proven by the drill."""

import json

import pytest

from infra import paths
from tests.acceptance.clients.pods import PROBE, python_pod, running
from tests.acceptance.conftest import SITE
from tests.acceptance.test_backup import backups_of, ok, pull

EVENTS = f"{PROBE}-events"


@pytest.fixture(scope="module")
def bus(lab):
    """Runs lines of Python with a connection `bus` of the application; `ask` asks JetStream's API."""
    with running(lab, [python_pod("stream-client", [f"{EVENTS}-access"])]) as pods:

        def run(text):
            return pods["stream-client"].python("nats", f"""
bus = Nats(read("username"), read("password"))
ask = lambda subject, body={{}}: Nats(read("username"), read("password")).request("$JS.API." + subject, body)
say = lambda subject, body: Nats(read("username"), read("password")).request(subject, body)
{text}
""")  # fmt: skip

        yield run
        run('print(json.dumps(ask("STREAM.DELETE.BACKUP")))')


@pytest.fixture
def taken(lab, bus):
    """A stream with five messages and a consumer, at both places."""
    seen = bus("""
ask("STREAM.DELETE.BACKUP")
ask("STREAM.CREATE.BACKUP", {"name": "BACKUP", "subjects": ["backup.*"], "storage": "file"})
ask("CONSUMER.DURABLE.CREATE.BACKUP.desk", {
    "stream_name": "BACKUP", "config": {"durable_name": "desk", "ack_policy": "explicit"}})
print(json.dumps([say("backup.a", {"n": n}).get("seq") for n in range(5)]))
""")
    assert seen == [1, 2, 3, 4, 5]
    ok("backup", "run", EVENTS)
    pull(lab)
    return lab


def state(bus):
    return bus('print(json.dumps(ask("STREAM.INFO.BACKUP")["state"]))')


def test_in_place_messages_and_consumers_come_back(taken, bus):
    bus("""
ask("STREAM.PURGE.BACKUP")
ask("CONSUMER.DELETE.BACKUP.desk")
print(json.dumps(say("backup.b", {"n": 99}).get("seq")))
""")
    assert state(bus)["messages"] == 1
    result = ok("restore", EVENTS, "--in-place", "--to", backups_of(EVENTS)[-1]["at"], "--yes")
    assert f"account {EVENTS}: " in result.stdout
    assert (state(bus)["messages"], state(bus)["last_seq"], state(bus)["consumer_count"]) == (5, 5, 1)
    assert bus('print(json.dumps(say("backup.c", {"n": 6}).get("seq")))') == 6
    assert list((paths.state(SITE).root / "restored").glob(f"{EVENTS}-before-*/BACKUP.snapshot"))


def test_beside_it_is_files(taken):
    place = paths.state(SITE).root / "restored" / f"streams-{backups_of(EVENTS)[-1]['id'].lower()}"
    ok("restore", EVENTS, "--as", place.name, "--yes")
    assert json.loads((place / "BACKUP.json").read_text())["state"]["messages"] == 5
    assert (place / "BACKUP.snapshot").stat().st_size > 0


def test_the_drill_proves_it_from_the_other_place(taken):
    ok("drill", "run", "--data-set", EVENTS, "--from", "offsite1")
    file = max((paths.state(SITE).root / "receipts").glob("drill-*.json"))
    (result,) = json.loads(file.read_text())["body"]["results"]
    assert (result["data_set"], result["passed"], result["wrong"]) == (EVENTS, True, [])
    assert result["compared"] >= 7
