"""`tinh ipv6`: whether everything that is published is the same over IPv4 and IPv6, as a signed document."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.options import public_key, site_option

if TYPE_CHECKING:
    from infra.model.site import Machine, Site

#: Ports that nobody outside may reach at the front door: shells, the API, etcd, kubelets, databases, storage.
CLOSED = (22, 25, 111, 179, 2379, 5432, 6379, 6443, 8080, 9443, 10250, 30000)
CA = "/usr/local/share/ca-certificates/tinh-site.crt"
ROUNDS = 5


@click.group()
def command() -> None:
    """The same over both families: look from outside, sign what was seen, check it offline."""


@command.command()
@site_option
@click.option("--name", "names", multiple=True, help="Only this label, such as `id`; may be repeated.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the document; default: `certificates` in the site's state.",
)
def certify(site: str, names: Sequence[str], output: Path | None) -> int:
    """Look at every published name from clients with IPv4, IPv6 and both; exit 3 when something is not alike."""
    from datetime import UTC, datetime

    from infra import paths, receipt
    from infra.errors import Exit
    from infra.model.platform import load_platforms
    from infra.model.site import SiteKind, load_site
    from infra.parity.agent import FAMILIES
    from infra.parity.document import body, render
    from infra.parity.judge import judge

    target = load_site(site)
    published = [
        {"name": target.public_name(label), "path": platform.probe}
        for platform in load_platforms(target)
        for label in platform.public_names
        if not names or label in names
    ]
    _known(target, names, [item["name"] for item in published])
    client = _client(target)
    doors = {
        family: [
            str(getattr(address, family)) for address in (target.front_door.gateway, target.front_door.dns)
        ]
        for family in FAMILIES
    }
    seen = ask(
        target,
        client,
        {"names": published, "ca": CA, "doors": doors, "closed": CLOSED, "rounds": ROUNDS},
    )
    gateway = {family: [found[0]] for family, found in doors.items()}
    simulated = "the Internet is simulated by a machine of the lab" if target.kind is SiteKind.LAB else ""
    at = datetime.now(UTC)
    content = body(site, client.name, at, judge(seen, gateway), simulated=simulated)
    key = receipt.province_key(site)
    folder = output or paths.state(site).root / "certificates"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"ipv6-{site}-{at:%Y%m%dT%H%M%SZ}.json"
    file.write_text(json.dumps(receipt.sign(content, key), indent=1, ensure_ascii=False) + "\n", "utf-8")
    mark = receipt.fingerprint(receipt.public_text(key))
    file.with_suffix(".html").write_text(render(content, mark), "utf-8")
    _show(content)
    click.echo(f"{file}, and .html beside it; signed by key {mark}")
    return Exit.OK if content["alike"] else Exit.CHANGES


@command.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--key", help="The province's public key (base64), or any document that it has signed.")
def verify(file: Path, key: str | None) -> int:
    """Check FILE offline: it is as it was signed (exit 7 if not); exit 3 when it says that something is not alike."""
    from infra import receipt
    from infra.errors import Exit, TinhError
    from infra.parity.document import KIND

    document = receipt.read(file)
    content = receipt.verify(document, str(file), public_key(key))
    if content.get("kind") != KIND:
        raise TinhError(
            f"a document of kind {content.get('kind')!r}, not {KIND!r}",
            where=str(file),
            fix="give a file of `tinh ipv6 certify`",
        )
    _show(content)
    mark = receipt.fingerprint(document["signature"]["key"])
    whose = (
        "the key that was given" if key else "nobody was named: compare it with what the province publishes"
    )
    click.echo(f"unchanged since {content['at']}; signed by key {mark} ({whose})")
    return Exit.OK if content["alike"] else Exit.CHANGES


def ask(site: Site, client: Machine, request: dict[str, Any]) -> dict[str, Any]:
    """Have the agent look from a client.

    Raises:
        ToolError: the client does not answer or the agent failed.
    """
    from infra.errors import ToolError
    from infra.parity import agent
    from lab.up import ssh_command

    text = Path(agent.__file__).read_text("utf-8")
    words = [*ssh_command(site, client.name), shlex.join(["python3", "-I", "-c", text])]
    done = subprocess.run(
        words, input=json.dumps(request), capture_output=True, text=True, timeout=900, check=False
    )
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise ToolError(
            f"nothing was seen: {done.stderr.strip()[-300:] or f'exit {done.returncode}'}",
            where=f"machine {client.name}",
            fix="`tinh lab status` shows which machines run",
        ) from None


def _client(site: Site) -> Machine:
    from infra.errors import TinhError
    from infra.model.site import Role

    clients = site.by_role(Role.INTERNET)
    if not clients:
        raise TinhError(
            f"site {site.name} has no client outside",
            where=f"stacks/sites/{site.name}/site.yaml: machines",
            fix="add a machine of role internet, from which the published names are looked at",
        )
    return clients[0]


def _known(site: Site, wanted: Sequence[str], found: Sequence[str]) -> None:
    from infra.errors import TinhError

    missing = [label for label in wanted if site.public_name(label) not in found]
    if missing or not found:
        raise TinhError(
            f"not published: {', '.join(missing) or 'nothing is'}",
            where=f"platforms of site {site.name}",
            fix="leave --name out for all that is published, or name a label of a platform that is switched on",
        )


def _show(content: dict[str, Any]) -> None:
    wrong = [check for check in content["checks"] if not check["ok"]]
    for check in wrong:
        click.echo(f"not alike: {check['subject']}: {check['check']}: {check['found']}")
    subjects = len({check["subject"] for check in content["checks"]} - {"closed ports"})
    click.echo(
        f"{content['site']}: {len(content['checks']) - len(wrong)} of {len(content['checks'])} checks hold for "
        f"{subjects} name(s)"
    )
