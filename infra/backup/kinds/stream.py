"""Streams (NATS JetStream): all of an application's account with their consumers, each as of one moment.

What was read is opened at once by a server of our own, which counts it: what cannot be opened is no backup.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import ssl
import subprocess
import tempfile
import time
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra import paths, private
from infra.backup.kubectl import Kubectl
from infra.backup.programs import free_port, program
from infra.backup.source import Facts, Ground, Taken, file_item, private_folder
from infra.backup.store import secret_of
from infra.backup.streams import Account, Server, connected
from infra.errors import TinhError, ToolError
from infra.model.site import Site

#: Service of the servers, its namespace and port; the name in their certificate.
SERVICE = "streams"
HOST = f"{SERVICE}.{SERVICE}.svc"
PORT = 4222
#: Of each stream: what a server opens, and what it is.
SAVED, KNOWN = ".snapshot", ".json"
#: Seconds for a server of our own to begin.
OPEN = 60
#: How a server of our own takes streams: nothing is removed, copied or asked for elsewhere while it is counted.
ALONE: dict[str, Any] = {"num_replicas": 1, "max_age": 0, "allow_direct": True}
ELSEWHERE = ("placement", "mirror", "sources", "republish")


@contextlib.contextmanager
def take(ground: Ground) -> Generator[Taken, None, None]:
    """See `KindModule`.

    Raises:
        TinhError: the server is not there, or what it gives cannot be opened.
    """
    name = ground.data_set.name
    with private_folder(ground.site.name) as work:
        at = datetime.now(UTC)
        with served(ground.site, name) as server:
            asyncio.run(_save(server, name, work))
        yield Taken([file_item(file.name, file) for file in sorted(work.iterdir())], at, count(work))


def count(folder: Path) -> Facts:
    """Return of each stream how many messages there are, the first and the last one, consumers, and a digest.

    Raises:
        IntegrityError: a server does not open it.
        HostError: the toolchain's server is missing.
    """
    known = read_known(folder)
    if not known:
        return {"messages": 0, "streams": {}}
    with own_server(folder) as server:
        streams = asyncio.run(_count(server, known, folder))
    return {"messages": sum(stream["messages"] for stream in streams.values()), "streams": streams}


def read_known(folder: Path) -> dict[str, Any]:
    """Return stream -> `config` and `state`, as they are recorded beside what was saved."""
    files = sorted(folder.glob(f"*{KNOWN}"))
    return {file.name.removesuffix(KNOWN): json.loads(file.read_text("utf-8")) for file in files}


@contextlib.contextmanager
def served(site: Site, account: str) -> Generator[Server, None, None]:
    """Return the site's server as an application's account, reached through the API server.

    Raises:
        HostError: the site has no key for it.
        ToolError: it is not there.
    """
    key = secret_of(site, account, "the streams")
    tls = ssl.create_default_context(cafile=str(paths.state(site.name).pki / "ca.crt"))
    with Kubectl(site).forwarded(SERVICE, PORT, "the message bus") as port:
        yield Server(url=f"tls://127.0.0.1:{port}", user=account, password=key, tls=tls, host=HOST)


async def _save(server: Server, account: str, folder: Path) -> None:
    async with connected(server, f"account {account}") as bus:
        for name in await bus.names():
            known = await bus.save(name, folder / f"{name}{SAVED}")
            (folder / f"{name}{KNOWN}").write_text(json.dumps(known, indent=1, sort_keys=True), "utf-8")


async def _count(server: Server, known: dict[str, Any], folder: Path) -> dict[str, Any]:
    async with connected(server, "a server of our own") as bus:
        return {
            name: await _count_one(bus, name, one, folder / f"{name}{SAVED}") for name, one in known.items()
        }


async def _count_one(bus: Account, name: str, known: dict[str, Any], file: Path) -> dict[str, Any]:
    config = {key: value for key, value in known["config"].items() if key not in ELSEWHERE} | ALONE
    state = await bus.load(config, known["state"], file)
    return {
        "messages": state["messages"],
        "first": state["first_seq"],
        "last": state["last_seq"],
        "digest": await bus.digest(name, state),
        "consumers": {
            consumer["name"]: {
                "delivered": consumer["delivered"]["stream_seq"],
                "acknowledged": consumer["ack_floor"]["stream_seq"],
            }
            for consumer in await bus.consumers(name)
        },
    }


@contextlib.contextmanager
def own_server(place: Path) -> Generator[Server, None, None]:
    """Run a server on loopback with a folder of its own, which is removed in the end.

    Raises:
        HostError: the toolchain has not got it.
        ToolError: it does not begin.
    """
    port, key = free_port(), secrets.token_urlsafe(24)
    with tempfile.TemporaryDirectory(dir=place) as name:
        folder = Path(name)
        settings = {
            "host": "127.0.0.1",
            "port": port,
            "jetstream": {"store_dir": str(folder / "data"), "max_memory_store": 1 << 20, "max_file_store": 1 << 42},
            "authorization": {"user": "drill", "password": key},
        }  # fmt: skip
        private.write(folder / "nats.conf", json.dumps(settings).encode())
        log = folder / "log"
        words = [program("nats-server"), "--config", str(folder / "nats.conf")]
        with log.open("wb") as out, subprocess.Popen(words, stdout=out, stderr=out) as process:
            server = Server(url=f"nats://127.0.0.1:{port}", user="drill", password=key)
            try:
                _wait(server, process, log)
                yield server
            finally:
                process.kill()


def _wait(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    async def look() -> None:
        async with connected(server, "a server of our own") as bus:
            await bus.names()

    end = time.monotonic() + OPEN
    while True:
        try:
            return asyncio.run(look())
        except TinhError:
            if process.poll() is not None or time.monotonic() > end:
                said = log.read_text("utf-8", "replace").strip()[-300:]
                raise ToolError(
                    f"a NATS server of our own does not begin: {said}", where=str(log.parent), fix="see what it says"
                ) from None  # fmt: skip
        time.sleep(0.2)


def put_back(site: Site, account: str, folder: Path, aside: Path) -> tuple[int, list[str]]:
    """Let streams take the place of those that serve, one after the other.

    Nobody writes into a stream from before it is saved aside until its successor is there: a publisher gets no
    acknowledgement meanwhile and tries again. What fails, Ctrl-C too, puts back what was there.

    Args:
        site: the site.
        account: whose streams.
        folder: what came back.
        aside: gets what was there.

    Returns:
        How many were put back, and those that serve and that the backup does not know: they are left alone.
    """
    known = read_known(folder)

    async def replace() -> list[str]:
        async with connected(server, f"account {account}") as bus:
            for name, one in known.items():
                await _replace(bus, one, folder / f"{name}{SAVED}", aside)
            return [name for name in await bus.names() if name not in known]

    with served(site, account) as server:
        return len(known), asyncio.run(replace())


async def _replace(bus: Account, known: dict[str, Any], file: Path, aside: Path) -> None:
    name = known["config"]["name"]
    old = await bus.find(name)
    if old is None:
        await bus.load(known["config"], known["state"], file)
        return
    saved = None
    try:
        if old["config"].get("subjects"):
            await bus.update(old["config"] | {"subjects": [f"tinh.closed.{name}"]})
        was = await bus.save(name, aside / f"{name}{SAVED}")
        was["config"] = old["config"]
        (aside / f"{name}{KNOWN}").write_text(json.dumps(was, indent=1, sort_keys=True), "utf-8")
        saved = was
        await bus.delete(name)
        await bus.load(known["config"], known["state"], file)
    except BaseException:
        if saved:
            await bus.delete(name)
            await bus.load(old["config"], saved["state"], aside / f"{name}{SAVED}")
        else:
            await bus.update(old["config"])
        raise
