"""The only caller of ansible-runner."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
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
    """What a playbook run did: per host counts of ok and changed tasks, and which tasks changed."""

    ok: dict[str, int] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)
    changed_tasks: list[str] = field(default_factory=list)


def play(
    playbook: str,
    inventory: dict[str, Any],
    *,
    log: Path,
    tell: Callable[[str], None] = lambda _: None,
) -> Recap:
    """Run a playbook of `playbooks/` against an inventory.

    Inventory and variables live in a private temporary folder that is removed afterwards: ansible-runner
    would otherwise leave them on disk.

    Args:
        playbook: file name below `playbooks/`.
        inventory: as made by `infra.render.inventory`.
        log: file that gets Ansible's own output.
        tell: gets one line per play and task.

    Raises:
        ToolError: a task failed or a host was unreachable; host, task and message are named.
    """
    import ansible_runner

    failures: list[str] = []
    recap = Recap()

    def on_event(event: dict[str, Any]) -> bool:
        kind, data = event.get("event", ""), event.get("event_data", {})
        if kind == "playbook_on_task_start":
            tell(f"{data.get('play', '')}: {data.get('name') or data.get('task', '')}")
        elif kind == "runner_on_ok" and (data.get("res") or {}).get("changed"):
            recap.changed_tasks.append(f"{data.get('host')}: {data.get('task')}")
        elif kind in ("runner_on_failed", "runner_on_unreachable") and not data.get("ignore_errors"):
            res = data.get("res") or {}
            message = str(res.get("stderr") or res.get("msg") or res.get("stdout") or kind).strip()
            failures.append(f"{data.get('host')}: {data.get('task')}: {message[-400:]}")
        return True

    log.parent.mkdir(parents=True, exist_ok=True)
    private = Path(tempfile.mkdtemp(prefix="tinh-ansible-"))
    # Ansible forks may find no room for control sockets below a long home; keep them with the run
    (private / "cp").mkdir(mode=0o700)
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "ANSIBLE_CONFIG": str(paths.PLAYBOOKS / "ansible.cfg"),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(private / "cp"),
        "ANSIBLE_HOME": str(private / "home"),
        # Mitogen: one Python process per machine and run. Measured on the lab: 42 -> 12 s without changes.
        "ANSIBLE_STRATEGY_PLUGINS": str(_strategies()),
        "ANSIBLE_STRATEGY": "mitogen_linear",
    }
    try:
        result = ansible_runner.run(
            private_data_dir=str(private),
            project_dir=str(paths.PLAYBOOKS),
            playbook=playbook,
            inventory=inventory,
            envvars=environment,
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
            raise ToolError(
                "; ".join(failures[:3]) or f"ansible ended with {result.status}",
                where=f"playbooks/{playbook}",
                fix=f"full output: {log}; the run can be repeated, it continues where it stopped",
            )
        return recap
    finally:
        shutil.rmtree(private, ignore_errors=True)
