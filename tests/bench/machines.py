"""The machines of a site over SSH, and its cluster."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from infra import paths
from infra.backup.kubectl import Kubectl
from infra.model.site import Site
from tests.bench.measure import MeasureError


def find_tools() -> None:
    """Have the toolchain's programs found: the check of a cluster asks for kubectl by name."""
    from cli.runner import tool_path

    os.environ["PATH"] = tool_path()


def kubectl_of(site: Site) -> Kubectl:
    """Return a site's cluster."""
    find_tools()
    return Kubectl(site)


def ssh(site: Site, machine: str) -> tuple[str, ...]:
    """Return what begins a command on a machine."""
    return ("ssh", "-F", str(paths.state(site.name).ssh / "config"), "-o", "BatchMode=yes", machine)


def on(site: Site, machine: str, command: str, stdin: Path | None = None, seconds: float = 120) -> str:
    """Return what a shell command prints.

    Raises:
        MeasureError: it failed or took too long.
    """
    data = stdin.read_bytes() if stdin else b""
    try:
        done = subprocess.run(
            [*ssh(site, machine), command], input=data, capture_output=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise MeasureError(f"{machine}: no end within {seconds:.0f} s: {command[:100]}") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip()[-400:]
        raise MeasureError(f"{machine}: {command[:100]}: {said or f'exit {done.returncode}'}")
    return done.stdout.decode("utf-8", "replace")


def piped(first: Iterable[str], second: Iterable[str]) -> None:
    """Run two commands, one into the other.

    Raises:
        MeasureError: one of them failed.
    """
    with (
        subprocess.Popen([*first], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as source,
        subprocess.Popen([*second], stdin=source.stdout, stderr=subprocess.PIPE) as sink,
    ):
        assert source.stdout and source.stderr
        source.stdout.close()
        said = sink.communicate()[1] + source.stderr.read()
        source.wait()
    if source.returncode or sink.returncode:
        raise MeasureError(said.decode("utf-8", "replace").strip()[-400:] or "a pipe broke")
