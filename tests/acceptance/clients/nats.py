"""Runs in a pod before the lines of a test: as much of NATS' protocol as the tests need.

Source: https://docs.nats.io/reference/reference-protocols/nats-protocol
"""

import json
import socket
import ssl
from pathlib import Path

STREAM = {"name": "T", "subjects": ["t.*"], "storage": "file"}
ACCESS = "/access/probe-events-access"


def read(key):
    return Path(ACCESS, key).read_text()


class Nats:
    """A connection; `state` is the answer to the first PING."""

    def __init__(self, user, password, tls=True, family=0):
        host, port = read("url").removeprefix("tls://").rsplit(":", 1)
        family, *_, address = socket.getaddrinfo(host, int(port), family, socket.SOCK_STREAM)[0]
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.settimeout(10)
        self.sock.connect(address)
        self.sock.recv(65536)  # INFO, which comes before TLS
        if tls:
            context = ssl.create_default_context(cafile=f"{ACCESS}/ca.crt")
            self.sock = context.wrap_socket(self.sock, server_hostname=host)
        hello = {"user": user, "pass": password, "verbose": False, "tls_required": tls}
        self.send(f"CONNECT {json.dumps(hello)}\r\nPING\r\n")
        self.file = self.sock.makefile("rb")
        self.state = self.line()

    def send(self, text):
        self.sock.sendall(text.encode())

    def line(self):
        try:
            return self.file.readline().decode(errors="replace").strip()
        except OSError as error:
            return type(error).__name__

    def request(self, subject, body):
        """Return the answer to a request."""
        text = json.dumps(body)
        self.send(f"SUB inbox 1\r\nPUB {subject} inbox {len(text)}\r\n{text}\r\n")
        while True:
            line = self.line()
            if line.startswith("MSG"):
                return json.loads(self.line())
            if not line.startswith(("INFO", "PONG", "+OK")):
                return {"error": line}
