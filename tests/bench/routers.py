"""`python -m tests.bench.routers`: change the filter of every router of the lab, in four ways.

- `together`: as the provider does: validated, armed, loaded, confirmed over a new connection, all at once;
- `in turn`: the same, one after another;
- `one away`: together, while one router does not answer: what the others need;
- `plain Ansible`: what one would use instead: `copy` with `validate`, then `nft -f`; nothing undoes a mistake.

The filter is that which each router has, so nothing changes but the time when it was loaded.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from infra import dnssec, paths
from infra.errors import TinhError
from infra.model.network import RouterRole
from infra.model.site import load_site
from infra.network.of_site import authority_of, fabric_of, host_name, options_of
from infra.providers.router.transport import AnsibleRouters, UnreachableError, of_site
from infra.render.router import Renderer
from tests.bench.figures import Row
from tests.bench.measure import MeasureError, Sample, run

FILE = "nftables.conf"
SECONDS = 60
WAYS = ("together", "in turn", "one away", "plain Ansible")


@dataclass(frozen=True)
class Result:
    """One way: how long it took for how many routers."""

    way: str
    routers: int
    sample: Sample

    def data(self) -> dict[str, object]:
        """Return what goes into the report."""
        return {"way": self.way, "routers": self.routers, **self.sample.data()}


def filters(site: str) -> dict[str, str]:
    """Return ssh name of each router -> its filter."""
    place = load_site(site)
    fabric = fabric_of(site)
    authority = authority_of(place, fabric.network, dnssec.keys(site))
    renderer = Renderer(fabric, options_of(place, authority))
    return {host_name(d, place): renderer.device_files(d)[FILE] for d in fabric.devices}


def change(routers: AnsibleRouters, host: str, text: str) -> bool:
    """Change one router; return whether it answered."""
    try:
        routers.apply(host, {FILE: text}, force=[FILE], seconds=SECONDS)
    except UnreachableError:
        return False
    return True


def together(site: str, texts: dict[str, str]) -> int:
    """Change all at once; return how many answered."""
    routers = of_site(site)
    with ThreadPoolExecutor(len(texts)) as pool:
        return sum(pool.map(lambda item: change(routers, *item), texts.items()))


def in_turn(site: str, texts: dict[str, str]) -> int:
    """Change one after another; return how many answered."""
    routers = of_site(site)
    return sum(change(routers, *item) for item in texts.items())


def plain(site: str, texts: dict[str, str]) -> int:
    """Change all with a playbook as one would write it; return how many there are."""
    ssh = paths.state(site).ssh / "config"
    tasks = [
        {
            "ansible.builtin.copy": {
                "content": "{{ text }}", "dest": "/etc/nftables.conf", "mode": "0755", "validate": "nft -c -f %s",
            }
        },
        {"ansible.builtin.command": "nft -f /etc/nftables.conf"},
    ]  # fmt: skip
    variables = {"ansible_ssh_common_args": f"-F {ssh}", "ansible_python_interpreter": "/usr/bin/python3"}
    hosts = {host: {"text": text} for host, text in texts.items()}
    with tempfile.TemporaryDirectory(prefix="tinh-bench-") as folder:
        book, inventory = Path(folder, "play.yml"), Path(folder, "hosts.json")
        book.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
        inventory.write_text(json.dumps({"all": {"hosts": hosts, "vars": variables}}))
        program = Path(sys.prefix, "bin", "ansible-playbook")
        env = os.environ | {"ANSIBLE_PIPELINING": "true", "ANSIBLE_HOME": folder}
        words = [program, "-i", inventory, "-f", str(len(texts)), book]
        done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MeasureError(done.stdout[-2000:] + done.stderr[-2000:])
    return len(texts)


@contextmanager
def away(machine: str) -> Iterator[None]:
    """Have a machine of the lab not answer on its console."""
    from lab import topology

    word = ["podman", "exec", topology.prefix(paths.instance()) + machine, "ip", "link", "set", "console"]
    subprocess.run([*word, "down"], check=True)
    try:
        yield
    finally:
        subprocess.run([*word, "up"], check=True)


def measure(site: str, rounds: int) -> list[Result]:
    """Return every way, side by side: each round does all of them."""
    texts = filters(site)
    last = [host_name(d, load_site(site)) for d in fabric_of(site).devices if d.role is not RouterRole.CORE][
        -1
    ]
    times: dict[str, list] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            words = [sys.executable, "-m", "tests.bench.routers", "--site", site, "--only", way]
            if way == "one away":
                with away(last):
                    times[way].append(run(words, dict(os.environ), paths.REPO))
            else:
                times[way].append(run(words, dict(os.environ), paths.REPO))
    return [
        Result(way, len(texts) - (way == "one away"), Sample(tuple(found))) for way, found in times.items()
    ]


def rows(found: Sequence[Result]) -> list[Row]:
    """Return the lines of all ways, held against the last one."""
    *ours, plainly = found
    return [
        Row(
            section="routers", what=f"change the filter of {each.routers} routers: {each.way}", unit="s",
            values=each.sample.times, instead=plainly.sample.times, way=plainly.way,
        )
        for each in ours
    ]  # fmt: skip


@click.command()
@click.option("--site", default="lab", show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--only", type=click.Choice(WAYS), help="Do it once in this way and measure nothing.")
def main(site: str, rounds: int, only: str | None) -> None:
    """Measure changing the routers of a lab."""
    ways: dict[str, Callable[[str, dict[str, str]], int]] = {
        "together": together, "one away": together, "in turn": in_turn, "plain Ansible": plain,
    }  # fmt: skip
    try:
        if only:
            texts = filters(site)
            done = ways[only](site, texts)
            if done != len(texts) - (only == "one away"):
                raise MeasureError(f"{only}: {done} of {len(texts)} routers were changed")
            return
        for result in measure(site, rounds):
            click.echo(json.dumps(result.data()))
    except (MeasureError, TinhError) as error:
        click.echo(f"error: could not measure: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
