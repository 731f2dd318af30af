"""Streams of a real NATS server: saved, counted by a server of our own, put back. Needs the toolchain's nats-server."""

import asyncio
import contextlib
import json

import pytest
from backup_cases import needs, program_of

from infra.backup import streams
from infra.backup.kinds import stream
from infra.backup.source import Ground
from infra.errors import IntegrityError, ToolError
from infra.model.site import load_site

pytestmark = [pytest.mark.slow, needs("nats-server")]


@pytest.fixture
def live(tmp_path, monkeypatch, state):
    """A server that serves: two streams with messages, one with a consumer that has acknowledged some."""
    monkeypatch.setattr(stream, "program", lambda name: program_of("nats-server", name))
    place = tmp_path / "live"
    place.mkdir()
    with stream.own_server(place) as server:

        @contextlib.contextmanager
        def served(site, account):
            yield server

        monkeypatch.setattr(stream, "served", served)
        run(server, fill)
        yield server


def run(server, what):
    """Run a coroutine with an account of the server, and return what it returns."""

    async def connected():
        async with streams.connected(server, "test") as bus:
            return await what(bus)

    return asyncio.run(connected())


async def fill(bus):
    js = bus.client.jetstream()
    await js.add_stream(name="orders", subjects=["orders.>"])
    await js.add_stream(name="idle", subjects=["idle"], retention="workqueue")
    for number in range(2500):
        await js.publish(f"orders.{number % 7}", f"order {number}".encode(), headers={"number": str(number)})
    await js.delete_msg("orders", 5)
    reader = await js.pull_subscribe("orders.>", durable="desk")
    for message in await reader.fetch(10):
        await message.ack_sync()


def publish(server, text, subject="orders.new"):
    async def one(bus):
        return (await bus.client.jetstream().publish(subject, text.encode())).seq

    return run(server, one)


def save(tmp_path, server, name="saved"):
    folder = tmp_path / name
    folder.mkdir()
    asyncio.run(stream._save(server, "test", folder))
    return folder


def test_all_streams_are_saved_with_their_consumers_and_counted_alike_each_time(tmp_path, live):
    folder = save(tmp_path, live)
    facts = stream.count(folder)
    assert facts["messages"] == 2499 and set(facts["streams"]) == {"orders", "idle"}
    orders = facts["streams"]["orders"]
    assert (orders["messages"], orders["first"], orders["last"]) == (2499, 1, 2500)
    assert orders["consumers"] == {"desk": {"delivered": 11, "acknowledged": 11}}
    assert stream.count(folder) == facts
    assert {file.suffix for file in folder.iterdir()} == {
        ".snapshot",
        ".json",
    }  # nothing is left of the server


def test_a_changed_or_missing_message_moves_the_digest(tmp_path, live):
    first = stream.count(save(tmp_path, live, "first"))["streams"]["orders"]

    async def remove(bus):
        await bus.client.jetstream().delete_msg("orders", 1234)

    run(live, remove)
    second = stream.count(save(tmp_path, live, "second"))["streams"]["orders"]
    assert second["messages"] == first["messages"] - 1 and second["digest"] != first["digest"]


def test_an_account_without_streams_is_a_backup_too(tmp_path):
    assert stream.count(tmp_path) == {"messages": 0, "streams": {}}


def test_what_is_damaged_is_not_opened(tmp_path, live):
    folder = save(tmp_path, live)
    file = folder / "orders.snapshot"
    whole = file.read_bytes()
    half = len(whole) // 2
    for hurt in (whole[:half], whole[:half] + bytes([whole[half] ^ 0xFF]) + whole[half + 1 :], b""):
        file.write_bytes(hurt)
        with pytest.raises((IntegrityError, ToolError)):
            stream.count(folder)


def test_old_messages_do_not_expire_while_they_are_counted(tmp_path, live):
    async def short(bus):
        js = bus.client.jetstream()
        await js.add_stream(name="short", subjects=["short"], max_age=2)
        await js.publish("short", b"soon gone")

    run(live, short)
    folder = save(tmp_path, live)

    async def later():
        await asyncio.sleep(2.5)

    asyncio.run(later())
    assert stream.count(folder)["streams"]["short"]["messages"] == 1


def test_streams_come_back_in_place_and_what_they_were_stays_aside(tmp_path, live):
    folder = save(tmp_path, live)
    facts = stream.count(folder)
    publish(live, "later")

    async def harm(bus):
        js = bus.client.jetstream()
        await js.purge_stream("orders", keep=1)
        await js.delete_stream("idle")
        await js.add_stream(name="newer", subjects=["newer"])

    run(live, harm)
    aside = tmp_path / "aside"
    aside.mkdir()
    assert stream.put_back(load_site("lab"), "probe-events", folder, aside) == (2, ["newer"])
    again = stream.count(save(tmp_path, live, "again"))
    assert {name: again["streams"][name] for name in facts["streams"]} == facts["streams"]
    assert publish(live, "and on it goes") == 2501  # its subjects are its own again
    assert stream.count(aside)["streams"]["orders"]["messages"] == 1
    assert json.loads((aside / "orders.json").read_text())["config"]["subjects"] == ["orders.>"]


@pytest.mark.parametrize("how", ["damaged", "ctrl-c"])
def test_what_fails_puts_back_what_was_there(tmp_path, live, monkeypatch, how):
    folder = save(tmp_path, live)
    publish(live, "acknowledged after the backup")
    before = stream.count(save(tmp_path, live, "before"))
    load, tried = streams.Account.load, []

    async def stop(self, config, state, file):
        if file.name == "orders.snapshot" and not tried:
            tried.append(file)
            raise KeyboardInterrupt
        return await load(self, config, state, file)

    aside = tmp_path / "aside"
    aside.mkdir()
    with monkeypatch.context() as patch:
        if how == "damaged":
            file = folder / "orders.snapshot"
            file.write_bytes(file.read_bytes()[:2000])
        else:
            patch.setattr(streams.Account, "load", stop)
        with pytest.raises((IntegrityError, ToolError, KeyboardInterrupt)):
            stream.put_back(load_site("lab"), "probe-events", folder, aside)
    assert stream.count(save(tmp_path, live, "after")) == before
    assert publish(live, "goes on") == 2502


def test_a_wrong_password_is_said(live):
    import dataclasses

    with pytest.raises(ToolError, match="does not let drill in"):
        run(dataclasses.replace(live, password="wrong"), fill)


def test_taken_as_every_other_data_set(tmp_path, live):
    from infra.backup.sets import choose, data_sets

    site = load_site("lab")
    (data_set,) = choose(data_sets(site), ["probe-events"], "test")
    with stream.take(Ground(site, data_set, "20261126T120000Z", print)) as taken:
        assert [item.name for item in taken.items] == [
            "idle.json", "idle.snapshot", "orders.json", "orders.snapshot",
        ]  # fmt: skip
        assert taken.facts["messages"] == 2499
        back = tmp_path / "back"
        back.mkdir()
        for item in taken.items:
            with item.open() as source:
                (back / item.name).write_bytes(source.read())
    assert stream.count(back) == taken.facts
