"""The way to a router: what the provider needs of it, and ansible-runner over SSH, which gives it."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from infra import ansible, paths
from infra.errors import ToolError
from infra.providers.router.batch import Batches
from infra.providers.router.files import FILES

PLAYBOOK = "router_config.yml"
AGENT = Path("roles", "router_config", "files", "agent.py")
#: Seconds for a router to accept a connection; the kernel asks three times in them.
KNOCK = 5
#: What ssh, and Mitogen of it, says when it has not come as far as running a command.
_FIRST_CONTACT = (
    "connect to host",
    "Could not resolve hostname",
    "banner exchange",
    "kex_exchange_identification",
    "Host key verification failed",
    "Permission denied",
    "Connection timed out.",  # with its full stop: ssh says it without one of a connection that it had
    "EOF on stream; last 100 lines received",
    "Channel was disconnected while connection attempt was in progress",
    "Host key checking is enabled",
    "SSH authentication is incorrect",
    "SSH password was requested",
)


class UnreachableError(ToolError):
    """The router did not answer, so nothing was changed on it."""


@dataclass(frozen=True)
class Observed:
    """What a router has.

    Args:
        files: name -> text of the file; None when it is missing.
        running: name -> what runs, as the daemon prints it, where that can differ from the file.
    """

    files: dict[str, str | None]
    running: dict[str, str]


class Routers(Protocol):
    """All routers of a site. Calls come from several threads."""

    def read(self, host: str, names: Collection[str]) -> Observed:
        """Return what a router has.

        Raises:
            UnreachableError: it does not answer.
            ToolError: it cannot be read.
        """
        ...

    def apply(
        self, host: str, texts: Mapping[str, str | None], *, force: Collection[str], seconds: int
    ) -> Observed:
        """Make files what is asked, all or none, and return what the router has then.

        Args:
            host: the router.
            texts: name -> text; None gives a file back as it was when it was first taken over.
            force: names of the files to be loaded even if they are what is asked already.
            seconds: the router undoes the change by itself unless it is reached anew within this time.

        Raises:
            UnreachableError: it does not answer; nothing was changed.
            ToolError: a text is not valid (nothing was changed), or the change was undone.
        """
        ...


class AnsibleRouters:
    """Routers by ansible-runner over SSH; calls that come together share a run, in which no host waits for another.

    Args:
        ssh: ssh configuration that names them, their keys and how to log in.
        log: file that gets Ansible's own output.
        variables: further variables of Ansible.
    """

    def __init__(self, ssh: Path, log: Path, variables: Mapping[str, Any] | None = None) -> None:
        self.ssh, self.log, self.variables = ssh, log, variables or {}
        self._batches = Batches(self._run)

    def read(self, host: str, names: Collection[str]) -> Observed:
        """See `Routers`."""
        return self._call(host, "show", {"files": _wire(names)})

    def apply(
        self, host: str, texts: Mapping[str, str | None], *, force: Collection[str], seconds: int
    ) -> Observed:
        """See `Routers`."""
        request = {
            "files": _wire(texts),
            "texts": {name: texts[name] for name in FILES if name in texts},
            "force": sorted(force),
            "seconds": seconds,
            "agent": (paths.PLAYBOOKS / AGENT).read_text("utf-8"),
        }
        return self._call(host, "apply", request)

    def _call(self, host: str, verb: str, request: Mapping[str, Any]) -> Observed:
        # Here and not in the run: of a router that is gone nobody else has to wait for the end.
        if silence := _knock(self.ssh, host):
            raise self._unreachable(host, silence)
        # Not as text: Ansible would look for its own templates in a router's configuration.
        wire = base64.b64encode(json.dumps(request).encode()).decode()
        try:
            recap, reason = self._batches.call(verb, host, wire), ""
        except ansible.PlayError as error:
            if mine := [failure for failure in error.failures if failure.host == host]:
                raise self._explained(mine[0], request.get("seconds", 0)) from None
            # What went wrong on others is no reason here.
            recap, reason = error.recap, "" if error.failures else error.what
        answer = _answer(recap, host, verb)
        if answer is None:
            raise ToolError(
                f"router {host}: {reason or 'Ansible ended without its answer'}",
                where=f"router {host}",
                fix=f"full output: {self.log}; run it again (a change that was begun undoes itself)",
            )
        return Observed({name: _text(text) for name, text in answer["files"].items()}, answer["running"])

    def _run(self, verb: str, requests: Mapping[str, str]) -> ansible.Recap:
        """Do a verb on several routers.

        Raises:
            PlayError: it failed on some of them.
        """
        variables = {
            # A connection that the change has cut must end, not hang.
            "ansible_ssh_common_args": f"-F {self.ssh} -o ServerAliveInterval=5 -o ServerAliveCountMax=3",
            # Seconds until a command can run. ssh itself gives up on a router after 10 s; Python there, and this
            # machine when it is busy with many of them, may need longer.
            "ansible_ssh_timeout": 30,
            "ansible_python_interpreter": "/usr/bin/python3",
            "router_verb": verb,
            **self.variables,
        }
        hosts = {host: {"router_request": request} for host, request in requests.items()}
        inventory = {"all": {"hosts": hosts, "vars": variables}}
        return ansible.play(PLAYBOOK, inventory, log=self.log, strategy="mitogen_free", forks=len(hosts))

    def _explained(self, failure: ansible.Failure, seconds: int) -> ToolError:
        """Return what the failure of a task means for its router.

        Args:
            failure: of the router's first task that failed.
            seconds: after which a change undoes itself; 0: nothing was to be changed.
        """
        host = failure.host
        # Only if the first contact failed is it certain that nothing was begun.
        begun = seconds and not any(words in failure.message for words in _FIRST_CONTACT)
        if failure.task.endswith("confirm") or (failure.unreachable and begun):
            return ToolError(
                f"router {host} was not reached anew after the change, which undoes itself within "
                f"{seconds} s: {failure.message}",
                where=f"router {host}",
                fix="correct what cuts management off (filter, routes, its address); run `up` again",
            )
        if failure.unreachable:
            return self._unreachable(host, failure.message)
        return ToolError(
            f"router {host}: {failure.message}",
            where=f"router {host}",
            fix=f"correct the file that is named; full output: {self.log}",
        )

    def _unreachable(self, host: str, why: str) -> UnreachableError:
        return UnreachableError(
            f"router {host} does not answer; it was left alone: {why}",
            where=f"router {host}, {self.ssh}",
            fix="bring it back or correct its address; the others are not affected",
        )


def _knock(ssh: Path, host: str) -> str:
    """Return why nothing accepts connections where ssh would connect to; empty when something does.

    Raises:
        ToolError: ssh does not understand its configuration.
    """
    door = _door(ssh, host)
    if door is None:
        return ""
    try:
        socket.create_connection(door, KNOCK).close()
    except OSError as error:
        return f"{door[0]} port {door[1]}: {error.strerror or error}"
    return ""


def _door(ssh: Path, host: str) -> tuple[str, int] | None:
    """Return the address and the TCP port that ssh would connect to; None when it goes by another machine.

    Raises:
        ToolError: ssh does not understand its configuration.
    """
    done = subprocess.run(
        ["ssh", "-G", "-F", str(ssh), host],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise ToolError(
            f"router {host}: {done.stderr.strip()}", where=str(ssh), fix="correct the ssh configuration"
        )
    option = dict(line.partition(" ")[::2] for line in done.stdout.splitlines())
    if "proxyjump" in option or "proxycommand" in option:
        return None
    return option["hostname"], int(option["port"])


def _answer(recap: ansible.Recap, host: str, verb: str) -> dict[str, Any] | None:
    """Return what the agent on a router said; None when it did not, or when its change was not confirmed."""
    said = {task.split(" : ")[-1]: text for (name, task), text in recap.stdout.items() if name == host}
    answer = json.loads(said[verb]) if verb in said else None
    return None if answer and answer.get("token") and "confirm" not in said else answer


def _text(text: str | None) -> str | None:
    """Return what a router has in a file as text that Pulumi can keep: bytes that are none are marked."""
    return None if text is None else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _wire(names: Collection[str]) -> dict[str, Any]:
    """Return what the agent has to know of files, in the order in which they are loaded."""
    return {name: file.wire() for name, file in FILES.items() if name in names}


def of_site(site: str) -> AnsibleRouters:
    """Return the routers of a site, by the ssh configuration in its state folder."""
    state = paths.state(site)
    return AnsibleRouters(ssh=state.ssh / "config", log=state.logs / "routers.log")
