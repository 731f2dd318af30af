"""Streams of an application's account at a NATS server: read out whole, put back, read message by message.

A stream is read out by the server itself, with its consumers, as of one moment: a tar that only a NATS server opens
(https://docs.nats.io/running-a-nats-service/nats_admin/jetstream_admin/disaster_recovery; nats-server 2.14,
server/jetstream_api.go: STREAM.SNAPSHOT, STREAM.RESTORE, DIRECT.GET). It keeps its name: none takes it under another.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import ssl
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.errors import IntegrityError, ToolError

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

Object = dict[str, Any]

#: Seconds for an answer; for the next piece of a stream; until a stream that was sent is taken.
ANSWER, PIECE, TAKEN = 30, 60, 600
#: Bytes of a piece: well below what a server takes at once (1 MiB). Messages that are asked for at once.
CHUNK, BATCH = 128 << 10, 1000
#: Error code of the API: there is no such stream.
NO_STREAM = 10059
#: Headers of an answer that are about the asking.
_ASKING = ("Nats-Num-Pending", "Nats-Last-Sequence", "Nats-Stream")


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server, and whose account is meant.

    Args:
        url: where it is.
        user: of the account.
        password: of the user.
        tls: whom to trust; None: in clear, on loopback.
        host: name in its certificate.
    """

    url: str
    user: str
    password: str = field(repr=False)
    tls: ssl.SSLContext | None = None
    host: str | None = None


@dataclass(frozen=True)
class Account:
    """An account, as long as the connection is there.

    Args:
        client: the connection.
        where: it is, for messages.
    """

    client: Client
    where: str

    async def names(self) -> list[str]:
        """Return the names of all streams."""
        return sorted(stream["config"]["name"] for stream in await self._listed("STREAM.LIST", "streams"))

    async def find(self, name: str) -> Object | None:
        """Return a stream's `config` and `state`; None: there is none."""
        return await self._ask(f"STREAM.INFO.{name}", {}, missing=NO_STREAM)

    async def consumers(self, name: str) -> list[Object]:
        """Return a stream's consumers that outlive their clients."""
        found = await self._listed(f"CONSUMER.LIST.{name}", "consumers")
        return [consumer for consumer in found if consumer["config"].get("durable_name")]

    async def update(self, config: Object) -> None:
        """Change a stream's configuration."""
        await self._ask(f"STREAM.UPDATE.{config['name']}", config)

    async def delete(self, name: str) -> None:
        """Delete a stream, if it is there."""
        await self._ask(f"STREAM.DELETE.{name}", {}, missing=NO_STREAM)

    async def save(self, name: str, file: Path) -> Object:
        """Write a stream with its consumers; return its `config` and `state` as of then.

        Raises:
            ToolError: the server does not give it, or not whole.
        """
        inbox = self.client.new_inbox()
        coming = await self.client.subscribe(inbox)
        wanted = {"deliver_subject": inbox, "chunk_size": CHUNK, "jsck": True}
        answer = await self._ask(f"STREAM.SNAPSHOT.{name}", wanted)
        assert answer  # noqa: S101 - no error is expected
        with file.open("wb") as out:
            while (piece := await coming.next_msg(PIECE)).data:
                out.write(piece.data)
                if piece.reply:
                    await self.client.publish(piece.reply)
        await coming.unsubscribe()
        if (status := _status(piece)) not in ("", "204"):
            raise ToolError(
                f"the server broke off: {status} {(piece.headers or {}).get('Description', '')}",
                where=f"stream {name}, {self.where}", fix="run the command again",
            )  # fmt: skip
        return {"config": answer["config"], "state": answer["state"]}

    async def load(self, config: Object, state: Object, file: Path) -> Object:
        """Put back a stream that is not there, with its consumers; return its `state`.

        Args:
            config: of the stream; may say other things than when it was saved, but its name.
            state: when it was saved.
            file: what `save` wrote.

        Raises:
            IntegrityError: the server does not take it.
        """
        name = config["name"]
        answer = await self._ask(f"STREAM.RESTORE.{name}", {"config": config, "state": state})
        assert answer  # noqa: S101 - no error is expected
        with file.open("rb") as source:
            while piece := source.read(CHUNK):
                said = (await self.client.request(answer["deliver_subject"], piece, timeout=PIECE)).data
                if said:
                    raise self._refused(name, json.loads(said))
        done = json.loads((await self.client.request(answer["deliver_subject"], b"", timeout=TAKEN)).data)
        if "error" in done:
            raise self._refused(name, done)
        return done["state"]

    async def digest(self, name: str, state: Object) -> str:
        """Return one digest of all messages of a stream that allows direct reading: place, time, subject, content."""
        seen, at, last = hashlib.sha256(), state["first_seq"], state["last_seq"]
        while at <= last:
            inbox = self.client.new_inbox()
            coming = await self.client.subscribe(inbox)
            wanted = {"seq": at, "batch": BATCH}
            await self.client.publish(f"$JS.API.DIRECT.GET.{name}", json.dumps(wanted).encode(), reply=inbox)
            came = 0
            while not _status(message := await coming.next_msg(PIECE)):
                headers = {k: v for k, v in (message.headers or {}).items() if k not in _ASKING}
                at, came = int(headers["Nats-Sequence"]) + 1, came + 1
                seen.update(json.dumps(headers, sort_keys=True).encode() + b"\n")
                seen.update(hashlib.sha256(message.data).digest())
            await coming.unsubscribe()
            if not came:  # the rest was removed
                break
        return seen.hexdigest()

    async def _listed(self, subject: str, what: str) -> list[Object]:
        found: list[Object] = []
        while answer := await self._ask(subject, {"offset": len(found)}):
            found += answer[what] or []
            if not answer[what] or len(found) >= answer["total"]:
                break
        return found

    async def _ask(self, subject: str, body: Object, missing: int = 0) -> Object | None:
        """Return the API's answer; None: its error is the one that was expected.

        Raises:
            ToolError: another error, or no answer.
        """
        from nats.errors import Error

        try:
            told = await self.client.request(f"$JS.API.{subject}", json.dumps(body).encode(), timeout=ANSWER)
        except Error as error:
            raise ToolError(
                f"the server does not answer {subject}: {type(error).__name__}", where=self.where,
                fix="see that layer `data` runs: tinh status",
            ) from None  # fmt: skip
        answer = json.loads(told.data)
        if error := answer.get("error"):
            if missing and error.get("err_code") == missing:
                return None
            raise ToolError(
                f"the server refuses {subject}: {error.get('description')}", where=self.where,
                fix="see that the stream and the server's volume are well",
            )  # fmt: skip
        return answer

    def _refused(self, name: str, answer: Mapping[str, Any]) -> IntegrityError:
        return IntegrityError(
            f"the server does not take stream {name}: {answer['error'].get('description')}", where=self.where,
            fix="take another copy or an older backup",
        )  # fmt: skip


def _status(message: Msg) -> str:
    """Return the status of a message that only says how things are; empty: it is one with content."""
    return (message.headers or {}).get("Status", "")


@contextlib.asynccontextmanager
async def connected(server: Server, where: str) -> AsyncGenerator[Account, None]:
    """Connect to a server.

    Args:
        server: which, and as whom.
        where: for messages.

    Raises:
        ToolError: it does not let us in.
    """
    from nats.aio.client import Client
    from nats.errors import Error

    async def quiet(error: Exception) -> None:
        del error  # whoever asks is told

    client = Client()
    try:
        await client.connect(
            server.url, user=server.user, password=server.password, tls=server.tls, tls_hostname=server.host,
            allow_reconnect=False, connect_timeout=10, error_cb=quiet,
        )  # fmt: skip
    except (Error, OSError) as error:
        raise ToolError(
            f"the server does not let {server.user} in: {error or type(error).__name__}", where=where,
            fix="see that layer `data` runs: tinh status",
        ) from None  # fmt: skip
    try:
        yield Account(client, where)
    except Error as error:
        raise ToolError(
            f"the connection broke: {type(error).__name__}", where=where, fix="run the command again"
        ) from None
    finally:
        await client.close()
