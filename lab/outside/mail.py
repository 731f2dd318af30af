"""Simulator of the Government's mail system: takes mail over SMTP with STARTTLS and keeps each message as a file.

Runs on a machine of role `outside` with the machine's own Python (3.11), nothing but the standard library::

    python3 mail.py PORT CERTIFICATE KEY FOLDER

Nothing is delivered and nobody is asked who they are. Mail is refused in clear text (RFC 3207), so that a relay that
forgets TLS is seen. Each file is `<number>.eml` with the envelope in its first lines (`X-Envelope-*`).
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys
from pathlib import Path

_LARGEST = 26_214_400
_HELLO = ("EHLO", "HELO")


class Session:
    """One connection: reads commands, answers, and keeps what comes after DATA."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        tls: ssl.SSLContext,
        folder: Path,
    ) -> None:
        self.reader, self.writer, self.tls, self.folder = reader, writer, tls, folder
        self.encrypted = False
        self.sender, self.recipients = "", list[str]()

    async def answer(self, *lines: str) -> None:
        """Send a reply: all lines but the last are continued (`250-`)."""
        for number, line in enumerate(lines, start=1):
            code, _, text = line.partition(" ")
            self.writer.write(f"{code}{' ' if number == len(lines) else '-'}{text}\r\n".encode())
        await self.writer.drain()

    async def run(self) -> None:
        """Talk until the client quits or goes away."""
        await self.answer("220 simulator of the Government's mail system")
        while line := await self.reader.readline():
            verb, _, rest = line.decode("ascii", "replace").strip().partition(" ")
            verb = verb.upper()
            if verb == "QUIT":
                await self.answer("221 bye")
                return
            await self._command(verb, rest)

    async def _command(self, verb: str, rest: str) -> None:
        if verb in _HELLO:
            offered = [] if self.encrypted else ["250 STARTTLS"]
            await self.answer("250 simulator", *offered, f"250 SIZE {_LARGEST}")
        elif verb == "STARTTLS" and not self.encrypted:
            await self.answer("220 go on")
            await self.writer.start_tls(self.tls)
            self.encrypted = True
        elif verb in ("NOOP", "RSET"):
            self.sender, self.recipients = "", []
            await self.answer("250 ok")
        elif not self.encrypted:
            await self.answer("530 5.7.0 STARTTLS first")
        elif verb == "MAIL":
            self.sender, self.recipients = _address(rest), []
            await self.answer("250 ok")
        elif verb == "RCPT":
            self.recipients.append(_address(rest))
            await self.answer("250 ok")
        elif verb == "DATA" and self.recipients:
            await self.answer("354 end with a dot")
            self._keep(await self._message())
            await self.answer("250 kept")
        else:
            await self.answer("502 5.5.1 not understood")

    async def _message(self) -> bytes:
        lines = []
        while (line := await self.reader.readline()) not in (b".\r\n", b""):
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        return b"".join(lines)

    def _keep(self, message: bytes) -> None:
        number = len(list(self.folder.glob("*.eml"))) + 1
        host = self.writer.get_extra_info("peername")[0]
        head = f"X-Envelope-From: {self.sender}\r\nX-Envelope-To: {', '.join(self.recipients)}\r\n"
        part = self.folder / f"{number:06}.part"
        part.write_bytes(f"{head}X-Envelope-Client: {host}\r\n".encode() + message)
        part.rename(part.with_suffix(".eml"))


def _address(rest: str) -> str:
    return rest.partition("<")[2].partition(">")[0]


async def serve(port: int, certificate: Path, key: Path, folder: Path) -> None:
    """Listen over both families until cancelled.

    Args:
        port: TCP port.
        certificate: PEM, with the name that the relay verifies.
        key: PEM.
        folder: where messages are kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await Session(reader, writer, tls, folder).run()
        writer.close()

    # `None` listens on every address of both families.
    server = await asyncio.start_server(connected, None, port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4])))
