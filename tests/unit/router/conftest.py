"""Doors of routers: something on this machine that accepts connections, or does not."""

from __future__ import annotations

import contextlib
import socket

import pytest

LOOPBACK = "127.0.0.1"


@pytest.fixture
def ssh(tmp_path):
    """An ssh configuration by which all routers accept connections, but for `refusing` and `silent`."""
    with contextlib.ExitStack() as stack:
        accepting = stack.enter_context(socket.create_server((LOOPBACK, 0), backlog=128))
        refusing = stack.enter_context(socket.socket())
        refusing.bind((LOOPBACK, 0))
        silent = stack.enter_context(socket.create_server((LOOPBACK, 0), backlog=0))
        for _ in range(3):  # with its queue full, the kernel answers no more
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(silent.getsockname())
        ports = {"refusing": refusing, "silent": silent, "*": accepting}
        config = tmp_path / "config"
        config.write_text(
            "".join(
                f"Host {name}\n  HostName {LOOPBACK}\n  Port {door.getsockname()[1]}\n"
                for name, door in ports.items()
            )
        )
        yield config
