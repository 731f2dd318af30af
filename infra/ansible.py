"""The only caller of ansible-runner."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from infra import paths
from infra.errors import ToolError


def _strategies() -> Path:
    found = find_spec("ansible_mitogen")
    assert found and found.submodule_search_locations  # noqa: S101 - a locked dependency
    return Path(found.submodule_search_locations[0], "plugins", "strategy")


@dataclass
class Recap:
    """What a playbook run did.

    Args:
        ok: number of tasks that went well, per host.
        changed: number of tasks that changed something, per host.
        changed_tasks: which tasks changed something.
        stdout: what commands printed, by host and task.
    """

    ok: dict[str, int] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)
    changed_tasks: list[str] = field(default_factory=list)
    stdout: dict[tuple[str, str], str] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """A task that failed, or could not reach its host."""

    host: str
    task: str
    message: str
    unreachable: bool

    def __str__(self) -> str:
        """Return it as one line, but for the message's own lines."""
        return f"{self.host}: {self.task}: {self.message[-400:]}"


class PlayError(ToolError):
    """A playbook run that failed; `failures` says where and why, `recap` what went well all the same."""

    def __init__(
        self, what: str, failures: list[Failure], *, where: str, fix: str, recap: Recap | None = None
    ) -> None:
        super().__init__(what, where=where, fix=fix)
        self.failures, self.recap = failures, recap or Recap()


@contextlib.contextmanager
def _handlers_kept() -> Generator[None]:
    """Put signal handlers back: ansible-runner leaves its own behind, under which Ctrl-C does nothing any more."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def play(
    playbook: str,
    inventory: dict[str, Any],
    *,
    log: Path,
    tell: Callable[[str], None] = lambda _: None,
    strategy: str = "mitogen_linear",
    forks: int | None = None,
) -> Recap:
    """Run a playbook of `playbooks/` against an inventory; several may run at once, in threads.

    Inventory and variables live in a private temporary folder that is removed afterwards: ansible-runner
    would otherwise leave them on disk.

    Args:
        playbook: file name below `playbooks/`.
        inventory: as made by `infra.render.inventory`.
        log: file that gets Ansible's own output.
        tell: gets one line per play and task.
        strategy: in which order tasks go over hosts; with `mitogen_free` no host waits for another.
        forks: number of hosts worked on at the same time; none: what ansible.cfg says.

    Raises:
        PlayError: a task failed or a host was unreachable; host, task and message are named.
    """
    import ansible_runner

    failures: list[Failure] = []
    recap = Recap()

    def on_event(event: dict[str, Any]) -> bool:
        kind, data = event.get("event", ""), event.get("event_data", {})
        res, host, task = data.get("res") or {}, str(data.get("host")), str(data.get("task"))
        if kind == "playbook_on_task_start":
            tell(f"{data.get('play', '')}: {data.get('name') or data.get('task', '')}")
        elif kind == "runner_on_ok":
            if res.get("changed"):
                recap.changed_tasks.append(f"{host}: {task}")
            if "stdout" in res:
                recap.stdout[host, task] = str(res["stdout"])
        elif kind in ("runner_on_failed", "runner_on_unreachable") and not data.get("ignore_errors"):
            message = str(res.get("stderr") or res.get("msg") or res.get("stdout") or kind).strip()
            failures.append(Failure(host, task, message, kind == "runner_on_unreachable"))
        return True

    log.parent.mkdir(parents=True, exist_ok=True)
    private = Path(tempfile.mkdtemp(prefix="tinh-ansible-"))
    # Ansible forks may find no room for control sockets below a long home; keep them with the run
    (private / "cp").mkdir(mode=0o700)
    # A thread must not fork in Python (its process may have locks held by other threads, as gRPC's has); the way
    # that does not, gives events only at the end, which nobody watches there.
    aside = threading.current_thread() is not threading.main_thread()
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "ANSIBLE_CONFIG": str(paths.PLAYBOOKS / "ansible.cfg"),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(private / "cp"),
        "ANSIBLE_HOME": str(private / "home"),
        # Mitogen: one Python process per machine and run. Measured on the lab: 42 -> 12 s without changes.
        "ANSIBLE_STRATEGY_PLUGINS": str(_strategies()),
        "ANSIBLE_STRATEGY": strategy,
    }
    try:
        with _handlers_kept():
            result = ansible_runner.run(
                private_data_dir=str(private),
                project_dir=str(paths.PLAYBOOKS),
                playbook=playbook,
                inventory=inventory,
                envvars=environment,
                settings={"runner_mode": "subprocess" if aside else "pexpect"},
                forks=forks,
                quiet=True,
                event_handler=on_event,
                suppress_env_files=False,
            )
        with log.open("a") as file:
            file.write(Path(result.config.artifact_dir, "stdout").read_text(errors="replace"))
        stats = result.stats or {}
        recap.ok, recap.changed = dict(stats.get("ok", {})), dict(stats.get("changed", {}))
        if result.status == "canceled":
            raise KeyboardInterrupt
        if result.status != "successful":
            raise PlayError(
                "; ".join(str(failure) for failure in failures[:3]) or f"ansible ended with {result.status}",
                failures,
                where=f"playbooks/{playbook}",
                fix=f"full output: {log}; the run can be repeated, it continues where it stopped",
                recap=recap,
            )
        return recap
    finally:
        shutil.rmtree(private, ignore_errors=True)
