"""Programs of the toolchain that backups run as processes: age, etcd, nats-server."""

from __future__ import annotations

import functools
import socket

from infra.errors import HostError


@functools.cache
def program(name: str) -> str:
    """Return where a program is.

    Raises:
        HostError: the toolchain has not got it.
    """
    from lab.toolchain import bin_dir

    path = bin_dir() / name
    if not path.exists():
        raise HostError(f"there is no `{name}`", where=str(path), fix="tinh toolchain get --stage data")
    return str(path)


def free_port() -> int:
    """Return a port of loopback on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
