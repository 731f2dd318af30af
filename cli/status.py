"""`tinh status`: what is deployed on a site, who holds locks, what is published, what is not as it ought to be."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import click

from cli.options import json_option, site_option

if TYPE_CHECKING:
    from infra.model.site import Site
    from infra.paths import SiteState


@click.command()
@site_option
@json_option
def command(site: str, as_json: bool) -> int:
    """Show layers, locks, published names, health, certificates, drills; exit 3 when one of them is red."""
    from cli.runner import select
    from infra.errors import Exit

    target, stacks = select(site)
    report = collect(target, [stack.name for stack in stacks])
    click.echo(json.dumps(report, indent=2) if as_json else text(report))
    red = report["health"] or report["drills"] or any(one["red"] for one in report["certificates"])
    return Exit.CHANGES if red else Exit.OK


def collect(site: Site, layers: list[str]) -> dict[str, Any]:
    """Return the state of a site as plain data.

    Args:
        site: the site.
        layers: stacks that ought to be there; others that exist (tenants) are added.
    """
    from cli import backend
    from infra import contract, paths

    state = paths.state(site.name)
    names = [*layers, *(name for name in backend.stacks(state) if name not in layers)]
    platforms = backend.read_stack(state, f"platforms.{site.name}")
    output = platforms.outputs.get(contract.OUTPUT) if platforms else None
    cluster = _cluster(site)
    return {
        "site": site.name,
        "kind": site.kind.value,
        "instance": paths.instance(),
        "state": str(state.root),
        "cluster": cluster,
        "stacks": [_stack(state, name) for name in names],
        "published": contract.read(contract.PlatformsContract, output, f"platforms.{site.name}").urls
        if output
        else {},
        "health": _health(site) if output and cluster["reachable"] else [],
        "certificates": _certificates(site) if output and cluster["reachable"] else [],
        "drills": _drills(site),
    }


def _certificates(site: Site) -> list[dict[str, Any]]:
    """Return when each certificate ends; what cannot be asked is red."""
    from datetime import UTC, datetime

    from infra import expiry
    from infra.errors import ToolError
    from infra.model.certificates import length
    from infra.model.site import SiteKind

    if site.kind is SiteKind.SIM:  # nothing issues certificates there
        return []
    try:
        found = expiry.certificates(site)
    except ToolError as error:
        return [{"names": [], "ends": None, "red": True, "says": error.what, "text": f"RED {error.what}"}]
    judged = expiry.judge(found, length(site.certificates.alarm), datetime.now(UTC))
    return [one.data() | {"text": str(one)} for one in judged]


def _health(site: Site) -> list[dict[str, str]]:
    """Return what is not as it ought to be: nodes, databases, servers, volumes."""
    from infra import health
    from infra.errors import TinhError
    from infra.model.site import SiteKind

    if site.kind is SiteKind.SIM:  # no container runs there
        return []
    try:
        found = health.look(site)
    except TinhError as error:
        found = [health.Finding("cluster", f"its health is not known: {error.what}", error.fix)]
    return [one.data() | {"text": str(one)} for one in found]


def _drills(site: Site) -> dict[str, str]:
    """Return data set -> why a restore of it has to be proven; looks at receipts only."""
    from datetime import UTC, datetime

    from infra.backup.drill import last_passed, overdue
    from infra.backup.sets import data_sets
    from infra.model.site import SiteKind

    if site.kind is SiteKind.SIM:  # nothing runs there that could be lost
        return {}
    return overdue(data_sets(site), last_passed(site.name), datetime.now(UTC))


def _cluster(site: Site) -> dict[str, Any]:
    from cli.runner import tool_path
    from infra.cluster import check_cluster
    from infra.errors import TinhError

    os.environ["PATH"] = tool_path()  # for kubectl
    try:
        return {"reachable": True, "uid": check_cluster(site)}
    except TinhError as error:
        return {"reachable": False, "problem": error.what}


def _stack(state: SiteState, name: str) -> dict[str, Any]:
    from cli import backend, locks

    found = backend.read_stack(state, name)
    update = backend.last_update(state, name)
    holder = locks.holder(state, name)
    return {
        "name": name,
        "deployed": found is not None,
        "resources": len(found.records) if found else 0,
        "protected": len(found.protected) if found else 0,
        "pending": [str(resource) for resource in found.pending] if found else [],
        "last": {"kind": update.kind, "result": update.result, "at": update.ended.isoformat()}
        if update
        else None,
        "lock": str(holder) if holder else None,
        "pulumi_locks": [
            {"owner": str(lock), "alive": locks.alive(lock.pid, lock.since) if locks.is_ours(lock) else None}
            for lock in backend.locks(state, name)
        ],
    }


def text(report: dict[str, Any]) -> str:
    """Return a report as text for people."""
    cluster = report["cluster"]
    reach = f"reachable, {cluster['uid']}" if cluster["reachable"] else f"not reachable: {cluster['problem']}"
    lines = [f"site {report['site']} ({report['kind']}), instance {report['instance']}", f"cluster: {reach}"]
    for stack in report["stacks"]:
        lines.append(_stack_line(stack))
        if stack["pending"]:
            lines.append(f"  interrupted, repaired by the next `tinh up`: {', '.join(stack['pending'])}")
        if stack["lock"]:
            lines.append(f"  locked by {stack['lock']}")
        for lock in stack["pulumi_locks"]:
            fix = "" if lock["alive"] else f"; if it is dead: tinh unlock {stack['name']}"
            if not (lock["alive"] and stack["lock"]):
                lines.append(f"  Pulumi's lock: {lock['owner']}{fix}")
    lines += [f"{platform:12} {url}" for platform, url in report["published"].items()]
    lines += [click.style(finding["text"], fg="red") for finding in report["health"]]
    lines += [certificate["text"] for certificate in report["certificates"]]
    lines += [
        click.style(f"restore of {name} {why}: tinh drill run", fg="red")
        for name, why in report["drills"].items()
    ]
    return "\n".join(lines)


def _stack_line(stack: dict[str, Any]) -> str:
    if not stack["deployed"]:
        return f"{stack['name']:24} not deployed"
    last = stack["last"]
    run = f"{last['kind']} {last['result']} at {last['at']}" if last else "never run"
    return f"{stack['name']:24} {stack['resources']:4} resources, {stack['protected']} protected; {run}"
