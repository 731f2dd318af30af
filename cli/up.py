"""`tinh up`: all layers of a site, in order."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING

import click

from cli.options import layer_option, need_terminal, site_option

if TYPE_CHECKING:
    from collections.abc import Generator

    from cli.progress import Plain
    from cli.runner import Runner
    from infra.model.site import Site
    from infra.stackinfo import StackInfo


@click.command()
@site_option
@layer_option
@click.option("--yes", is_flag=True, help="Do not show a preview and do not ask.")
@click.pass_context
def command(context: click.Context, site: str, layers: Sequence[str], yes: bool) -> None:
    """Deploy all layers of a site in order.

    May be interrupted and repeated at any time: it continues where it stopped. A lab or sim that is not up is
    brought up first. Where no site is named and this host cannot run the lab, the sim is offered instead (with
    --yes: used).
    """
    from cli.progress import watcher
    from cli.runner import Runner, select
    from infra.model.site import SiteKind
    from stacks.layers import WITHOUT_CLUSTER

    if not yes:
        need_terminal("give --yes")
    if context.get_parameter_source("site") is click.core.ParameterSource.DEFAULT:
        site = _possible(site, yes)
    target, stacks = select(site, layers)
    view = watcher("up")
    with _machines(target, stacks[-1].layer, view) as cluster:
        for before, group in groupby(stacks, lambda stack: stack.layer in WITHOUT_CLUSTER):
            part = list(group)
            if not before:
                cluster()
            runner = None
            for stack in part:
                _supply(target, stack.layer, view)
                runner = runner or Runner(target, view, "tinh up", part)
                _deploy(runner, stack, view, yes)
    if stacks[-1].layer == "platforms":
        click.echo(published(target))
    if target.kind is SiteKind.SIM:
        from lab.sim.engine import SIMULATED

        click.echo(SIMULATED)


def _possible(site: str, yes: bool) -> str:
    """Return the site, or the sim's name where this host cannot run the lab.

    Raises:
        click.Abort: the sim was offered and not wanted.
    """
    from infra import paths
    from lab import doctor
    from lab.sim.engine import SITE

    if paths.state(site).kubeconfig.exists():  # it runs already, or did
        return site
    missing = doctor.missing(doctor.judge(doctor.probe()))
    if not missing:
        return site
    click.echo("This host cannot run the lab (`tinh lab doctor` shows every check):", err=True)
    for finding in missing:
        click.echo(f"  {finding.check}: {finding.found}; {finding.follows}; {finding.fix}", err=True)
    click.echo(f"The stand-in, site {SITE}, has a real control plane and runs no container.", err=True)
    if not yes:
        click.confirm(f"Deploy to site {SITE} instead?", abort=True)
    return SITE


@contextmanager
def _machines(site: Site, last: str, view: Plain) -> Generator[Callable[[], None], None, None]:
    """Bring a lab or sim up; yield what waits for its cluster.

    A lab's cluster is made while layers that need none are deployed, and the tools and images of layers up to
    the last one are built meanwhile.
    """
    from infra import paths
    from infra.model.site import SiteKind

    if site.kind is SiteKind.SIM:
        from lab.sim.engine import Sim

        Sim().up(progress=view.note)
    if site.kind is not SiteKind.LAB:
        yield lambda: None
        return
    logs = paths.state(site.name).logs
    logs.mkdir(exist_ok=True, mode=0o700)
    with (logs / "toolchain.log").open("wb") as log:
        # In this process group, so that Ctrl-C reaches it too: it stops cleanly and can be resumed.
        tools = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "toolchain", "get", "--stage", last],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        with _lab(site, view) as cluster:
            yield cluster
    except BaseException:
        tools.terminate()
        raise
    finally:
        tools.wait()


@contextmanager
def _lab(site: Site, view: Plain) -> Generator[Callable[[], None], None, None]:
    """Bring a lab's machines up and begin with its cluster; yield what waits for it."""
    from concurrent.futures import ThreadPoolExecutor

    from lab import up as lab

    if lab.is_up(site.name):
        lab.ensure_outside(site, view.note)
        yield lambda: None
        return
    made = lab.up_machines(site.name, tell=view.note)
    # What goes wrong beside it does not stop it: an interrupted kubeadm would have to begin anew.
    with ThreadPoolExecutor(1) as pool:
        making = pool.submit(lab.up_cluster, made, view.note)
        yield making.result
        making.result()  # what went wrong is said, also where no layer has waited for it


def _supply(site: Site, layer: str, view: Plain) -> None:
    """Make sure that the tools, manifests and, in a lab, images of a layer are there."""
    from infra.model.site import SiteKind
    from lab.toolchain import ensure
    from lab.toolchain.catalogue import STAGES, load

    if layer not in STAGES:
        return
    catalogue = load()
    names = catalogue.select(layer)
    if site.kind is SiteKind.LAB:
        ensure(names)
        from lab.up import push_images

        push_images(site, layer, view.note)
    else:
        # No machine here runs an image: only what runs on this host, and what Pulumi reads.
        tools = [catalogue[name] for name in names]
        ensure([tool.name for tool in tools if tool.host or tool.kind in ("manifest", "files")])


def _deploy(runner: Runner, stack: StackInfo, view: Plain, yes: bool) -> None:
    with runner.locked(stack):
        if not yes:
            with view.showing(stack.name):
                runner.prepare(stack)
                planned = runner.preview(stack)
            if not planned.tally.changed:
                view.note(f"{stack.name}: no changes")
                return
            click.echo(planned.log.read_text("utf-8"))
            click.confirm(f"Deploy {stack.name} ({planned.tally.text()})?", abort=True)
        with view.showing(stack.name):
            runner.prepare(stack)
            outcome = runner.up(stack)
        view.done(outcome)


def published(site: Site) -> str:
    """Return what a site publishes and how to reach it, for people; empty when it publishes nothing."""
    from cli import backend
    from infra import contract, paths
    from infra.stackinfo import StackInfo

    stack = StackInfo("platforms", site.name)
    state = backend.read_stack(paths.state(site.name), stack.name)
    if state is None or contract.OUTPUT not in state.outputs:
        return ""
    found = contract.read(contract.PlatformsContract, state.outputs[contract.OUTPUT], stack.name)
    lines = []
    for platform, url in found.urls.items():
        lines.append(f"{platform:12} {url}")
        password = paths.state(site.name).root / "secrets" / f"{platform}-admin"
        if password.exists():
            lines.append(f"{'':12} first administrator's password: {password}")
    lines.append(f"names are answered by {found.dns_ipv6} and {found.dns_ipv4}")
    lines.append(f"certificates are signed by {paths.state(site.name).pki / 'ca.crt'}")
    return "\n".join(lines)
