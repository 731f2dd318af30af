"""The way to a router: what the provider needs of it, and ansible-runner over SSH, which gives it."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from infra import paths
from infra.errors import ToolError
from infra.providers.router.files import FILES

if TYPE_CHECKING:
    from infra.ansible import PlayError

PLAYBOOK = "router_config.yml"
AGENT = Path("roles", "router_config", "files", "agent.py")
#: What ssh says when it has not come as far as running a command.
_FIRST_CONTACT = (
    "connect to host",
    "Could not resolve hostname",
    "banner exchange",
    "kex_exchange_identification",
    "Host key verification failed",
    "Permission denied",
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


@dataclass(frozen=True)
class AnsibleRouters:
    """Routers by ansible-runner over SSH, one run per router and call: one that hangs delays no other.

    Args:
        ssh: ssh configuration that names them, their keys and how to log in.
        log: file that gets Ansible's own output.
        variables: further variables of Ansible.
    """

    ssh: Path
    log: Path
    variables: Mapping[str, Any] = field(default_factory=dict)

    def read(self, host: str, names: Collection[str]) -> Observed:
        """See `Routers`."""
        return self._play(host, "show", {"files": _wire(names)})

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
        return self._play(host, "apply", request)

    def _play(self, host: str, verb: str, request: Mapping[str, Any]) -> Observed:
        from infra.ansible import PlayError, play

        variables = {
            # A connection that the change has cut must end, not hang.
            "ansible_ssh_common_args": f"-F {self.ssh} -o ServerAliveInterval=5 -o ServerAliveCountMax=3",
            "ansible_python_interpreter": "/usr/bin/python3",
            "router_verb": verb,
            # Not as text: Ansible would look for its own templates in a router's configuration.
            "router_request": base64.b64encode(json.dumps(request).encode()).decode(),
            **self.variables,
        }
        inventory = {"all": {"hosts": {host: {}}, "vars": variables}}
        try:
            recap = play(PLAYBOOK, inventory, log=self.log)
        except PlayError as error:
            raise self._explained(host, error, request.get("seconds", 0)) from None
        answer = json.loads(next(text for (_, task), text in recap.stdout.items() if task.endswith(verb)))
        return Observed({name: _text(text) for name, text in answer["files"].items()}, answer["running"])

    def _explained(self, host: str, error: PlayError, seconds: int) -> ToolError:
        """Return what the failure of a run means for the router."""
        for failure in error.failures:
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
                return UnreachableError(
                    f"router {host} does not answer; it was left alone: {failure.message}",
                    where=f"router {host}, {self.ssh}",
                    fix="bring it back or correct its address; the others are not affected",
                )
            return ToolError(
                f"router {host}: {failure.message}",
                where=f"router {host}",
                fix=f"correct the file that is named; full output: {self.log}",
            )
        return ToolError(f"router {host}: {error.what}", where=error.where, fix=error.fix)


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
