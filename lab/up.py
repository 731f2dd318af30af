"""Brings the lab up, down and shows it: networks, machines, day 0 by Ansible, images, cluster.

Every step looks first and does only what is missing, so that an interrupted run is simply repeated.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from infra import paths, private, timings
from infra.backup import keys as backup_keys
from infra.errors import HostError, RefusedError, TinhError, ToolError
from infra.model.backup import load_policy
from infra.model.base import read_yaml
from infra.model.net import DualPrefix
from infra.model.province import load_record
from infra.model.site import Machine, Role, Site, SiteKind, has_network, lab_record, load_site
from infra.render.inventory import inventory
from lab import doctor, pki, podman, topology

Tell = Callable[[str], None]
#: Artifacts that Ansible puts on machines.
ARTIFACTS = ("kubernetes", "etcd", "cni-plugins", "registry", "manifest-kube-router")
REGISTRY_PORT = 5000


def image_ref(rootfs: Path) -> str:
    """Return the name under which podman keeps the machines' root file system; changes with its content."""
    return f"localhost/tinh/machine:{rootfs.name.rsplit('-', 1)[-1]}"


def _check_kind(name: str) -> Site:
    site = load_site(name)
    if site.kind is not SiteKind.LAB:
        raise TinhError(
            f"site {name!r} is of kind {site.kind}, not lab",
            where=str(paths.SITES / name / "site.yaml"),
            fix="`tinh lab` works on sites of kind lab only",
        )
    return site


def _record(site: str) -> Path:
    return paths.state(site).root / "lab.json"


def settle(name: str, counts: dict[Role, int] | None = None, *, outside: bool | None = None) -> Site:
    """Choose the lab's pool and machine counts once, record them, and return the site.

    Args:
        name: site of kind lab.
        counts: machine counts per role; none: as before.
        outside: whether there are routers and hosts outside the data centre; none: as before.

    Raises:
        HostError: no pool is free, or the recorded one is used by somebody else now.
    """
    default = DualPrefix.model_validate(read_yaml(paths.SITES / name / "site.yaml")["pool"])
    file = _record(name)
    record = lab_record(name)
    instance = paths.instance()
    ours = set(podman.listing("network", instance))
    if not ours:
        used = podman.prefixes_in_use()
        wanted = DualPrefix.model_validate(record["pool"]) if "pool" in record else None
        clash = topology.clashes(wanted, used) if wanted else []
        if wanted and clash and paths.state(name).cluster.exists():
            raise HostError(
                f"the lab's prefixes {wanted.ipv6}, {wanted.ipv4} are used by something else: {clash[0]}",
                where=f"instance {instance}, {file}",
                fix="free it (`podman network ls`, `ip route`), or choose another by `tinh lab reset`",
            )
        pool = wanted if wanted and not clash else topology.free_pool(default, used)
        if pool is None:
            raise HostError(
                f"no free pool of the size of {default.ipv4} is left on this machine",
                where="`podman network ls` and `ip route`",
                fix="remove labs that are not needed: `tinh lab down` in their checkout",
            )
        record["pool"] = pool.model_dump(mode="json")
    if counts:
        record["counts"] = {str(k): v for k, v in counts.items()}
    if outside is not None:
        record["outside"] = outside
    _keep(name, record)
    return load_site(name)


def choose_epoch(name: str, epoch: str) -> None:
    """Record which epoch of its province a lab plays, whatever `province.yaml` calls the current one.

    Raises:
        TinhError: the province has no such epoch, or the site is no lab.
    """
    _check_kind(name)
    load_record(name).at(epoch)
    _keep(name, lab_record(name) | {"epoch": epoch})


def _keep(name: str, record: dict[str, object]) -> None:
    file = _record(name)
    part = file.with_suffix(".part")
    part.write_text(json.dumps(record, indent=1))
    part.replace(file)


@contextmanager
def _phase(site: str, name: str, tell: Tell) -> Generator[None]:
    tell(name)
    start = time.monotonic()
    yield
    timings.record(site, f"lab.{name}", time.monotonic() - start, cold=False)


def up(
    name: str = "lab",
    counts: dict[Role, int] | None = None,
    tell: Tell = print,
    *,
    outside: bool | None = None,
) -> Site:
    """Bring the lab up, or what is missing of it.

    Args:
        name: site of kind lab.
        counts: machine counts per role; recorded, so that later runs keep them.
        outside: whether there is an outside (routers, hosts of the units); recorded like the counts.
        tell: gets one line per step.

    Raises:
        TinhError: see `up_machines`, `up_cluster`.
    """
    site = up_machines(name, counts, tell, outside=outside)
    up_cluster(site, tell)
    return site


def up_machines(
    name: str,
    counts: dict[Role, int] | None = None,
    tell: Tell = print,
    *,
    outside: bool | None = None,
) -> Site:
    """Bring up what comes before the cluster: networks, machines, their day 0, the registry with its images.

    Raises:
        HostError: the doctor found something missing, or prefixes are taken.
        RefusedError: a podman object of our name is not ours.
        ToolError: podman or Ansible failed.
    """
    _check_kind(name)
    check_host(tell)
    if counts and any(role is Role.CONTROL_PLANE and count % 2 == 0 for role, count in counts.items()):
        raise TinhError(
            f"{counts[Role.CONTROL_PLANE]} control planes cannot form a safe etcd majority",
            where="--control-planes", fix="use 1, 3 or 5",
        )  # fmt: skip
    site = settle(name, counts, outside=outside)
    from lab.toolchain import ensure

    start = time.monotonic()
    found = ensure("lab")
    timings.record(name, "toolchain.lab", time.monotonic() - start, cold=time.monotonic() - start > 60)
    with _phase(name, "keys and certificates", tell):
        make_keys(site)
    with _phase(name, "machines", tell):
        start_machines(site, found["rootfs-machine"], tell)
        ensure_outside(site, tell)
    with _phase(name, "day 0: machines", tell):
        _play("machines.yml", site, tell)
    with _phase(name, "images", tell):
        push_images(site, "lab", tell)
    return site


def up_cluster(site: Site, tell: Tell = print) -> None:
    """Make the cluster on machines that are up, or what is missing of it. May run in a thread.

    Raises:
        RefusedError: another cluster was recorded for this site.
        ToolError: Ansible failed.
    """
    with _phase(site.name, "day 0: cluster", tell):
        _play("cluster.yml", site, tell)
    with _phase(site.name, "kubeconfig", tell):
        fetch_kubeconfig(site)
    _converged(site.name).write_text(fingerprint(site, hosts_of(site)))


def hosts_of(site: Site) -> dict[str, Any]:
    """Return Ansible's inventory of a site, with its keys from the state folder.

    Raises:
        TinhError: a tool is missing in the cache.
    """
    from lab.toolchain import artifact

    state = paths.state(site.name)
    return inventory(
        site, ssh=state.ssh, pki=state.pki, artifacts={name: str(artifact(name)) for name in ARTIFACTS},
        locked_days=load_policy(site.name).retention.locked_days,
    )  # fmt: skip


def _play(playbook: str, site: Site, tell: Tell) -> None:
    from infra.ansible import play

    play(playbook, hosts_of(site), log=paths.state(site.name).logs / "lab-ansible.log", tell=tell)


def is_up(name: str = "lab") -> bool:
    """Tell whether the lab runs as declared: machines running, cluster answering, nothing changed since."""
    if (
        not _record(name).exists()
        or not _converged(name).exists()
        or not paths.state(name).kubeconfig.exists()
    ):
        return False
    site = load_site(name)
    from infra.cluster import check_cluster
    from lab.toolchain import artifact

    try:
        if _converged(name).read_text() != fingerprint(site, hosts_of(site)):
            return False
        for container in _containers(site.all_machines(), site, artifact("rootfs-machine")):
            data = podman.inspect("container", container.name)
            if not data or not data["State"]["Running"]:
                return False
        check_cluster(site)
    except RefusedError:
        raise
    except TinhError:
        return False
    return True


def check_host(tell: Tell) -> None:
    """Run the doctor, mend what can be mended.

    Raises:
        HostError: something that the lab cannot do without is missing; all of it is listed.
    """
    findings = doctor.judge(doctor.probe())
    bad = doctor.missing(findings)
    if bad:
        lines = "; ".join(f"{f.check}: {f.found} ({f.follows})" for f in bad)
        raise HostError(
            f"the lab cannot run on this host: {lines}",
            where="`tinh lab doctor` shows every check",
            fix="; ".join(f.fix for f in bad) + "; or use the stand-in: `tinh sim up`",
        )
    for line in doctor.mend(findings):
        tell(f"host: {line}")


def make_keys(site: Site) -> None:
    """Make the site's CA, server certificates, encryption key and SSH keys once."""
    state = paths.state(site.name)
    pki.ensure_ca(state.pki, f"tinh {site.name} CA")
    for machine in site.by_role(Role.REGISTRY):
        names = (machine.name, f"{machine.name}.{site.zone}", *machine.primary.pair())
        pki.ensure_certificate(state.pki, machine.name, machine.name, names=names)
    pki.ensure_encryption_config(state.pki / "encryption.yaml")
    pki.ensure_ssh(state.ssh, {m.name: list(m.primary.pair()) for m in machines_of(site)})
    backup_keys.make(site)


def machines_of(site: Site) -> list[Machine]:
    """Return every machine of the lab: the site's, and the routers outside its data centre."""
    if not has_network(site.name):
        return site.all_machines()
    from lab.outside.up import outside_of

    return [*site.all_machines(), *outside_of(site).machines]


def ensure_outside(site: Site, tell: Tell) -> None:
    """Have the machines outside the data centre run and wired, where the site has a network."""
    if has_network(site.name):
        from lab.outside.up import ensure

        ensure(site, tell)


def _containers(machines: Iterable[Machine], site: Site, rootfs: Path) -> list[topology.Container]:
    return topology.containers(machines, site, paths.instance(), str(paths.REPO), image_ref(rootfs))


def start_machines(site: Site, rootfs: Path, tell: Tell, machines: Sequence[Machine] | None = None) -> None:
    """Create networks and system containers that are missing and wait until SSH answers.

    Args:
        site: the site.
        rootfs: artifact of the machines' root file system.
        tell: gets one line per step.
        machines: these; none: the site's own.
    """
    machines = site.all_machines() if machines is None else machines
    instance, image = paths.instance(), image_ref(rootfs)
    labels = topology.labels(instance, site.name, str(paths.REPO))
    if not podman.exists_image(image):
        tell("importing the machines' root file system")
        podman.import_rootfs(rootfs / "rootfs.tar", image)
    used = {segment for machine in machines for segment in machine.addresses}
    networks = [network for network in topology.networks(site, instance) if network.segment in used]
    for network in networks:
        if podman.create_network(network, labels):
            tell(f"network {network.name}: {network.prefix.ipv6}, {network.prefix.ipv4}")
    ssh = paths.state(site.name).ssh
    for container in _containers(machines, site, rootfs):
        mounts = [
            (ssh / "authorized_keys", "/root/.ssh/authorized_keys"),
            (ssh / "hosts" / container.machine.name, "/etc/ssh/tinh"),
        ]
        what = podman.start_container(container, image, mounts)
        if what != "running":
            tell(f"machine {container.machine.name}: {what}")
    for network in networks:  # podman makes a bridge with the first machine on it
        podman.join_host(network)
    for machine in machines:
        wait_port(str(machine.primary.ipv6), 22, machine.name)


def wait_port(host: str, port: int, what: str, *, seconds: float = 60) -> None:
    """Wait until a TCP port answers.

    Raises:
        ToolError: it did not within the time.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            with socket.create_connection((host, port), timeout=2):
                return
        except OSError as error:
            if time.monotonic() > deadline:
                raise ToolError(
                    f"{what} does not answer on port {port} after {seconds:.0f} s ({error})",
                    where=f"[{host}]:{port}",
                    fix=f"`tinh lab shell {what}` and `journalctl -b`",
                ) from None
            time.sleep(0.3)


def push_images(site: Site, stage: str, tell: Tell) -> None:
    """Push the images of a stage to the site's registry under their upstream names."""
    from lab.toolchain import images
    from lab.toolchain.push import push_all

    registry = site.by_role(Role.REGISTRY)[0].primary
    push_all(
        dict(images(stage)),
        f"[{registry.ipv6}]:{REGISTRY_PORT}",
        ca=paths.state(site.name).pki / "ca.crt",
        progress=lambda image, done, total: tell(f"image {image.ref} ({done} of {total})"),
    )


def fetch_kubeconfig(site: Site) -> None:
    """Fetch the administrator's kubeconfig and record the cluster's UID.

    Raises:
        RefusedError: another cluster was recorded for this site.
    """
    state = paths.state(site.name)
    first = site.by_role(Role.CONTROL_PLANE)[0]
    text = _ssh(site, first.name, "cat /etc/kubernetes/admin.conf")
    uid = _ssh(
        site,
        first.name,
        "kubectl --kubeconfig /etc/kubernetes/admin.conf get ns kube-system -o jsonpath={.metadata.uid}",
    ).strip()
    if state.cluster.exists():
        known = json.loads(state.cluster.read_text())["uid"]
        if known != uid:
            raise RefusedError(
                f"the machines carry cluster {uid}, but cluster {known} was recorded",
                where=str(state.cluster),
                fix="if the old cluster is really gone: `tinh lab reset`",
            )
    private.write(state.kubeconfig, text.encode())
    state.cluster.write_text(json.dumps({"uid": uid}) + "\n")


def ssh_command(site: Site, machine: str) -> list[str]:
    """Return the ssh command line for a machine of the site."""
    found = [m.name for m in machines_of(site)]
    if machine not in found:
        raise TinhError(
            f"unknown machine {machine!r}", where=f"site {site.name}", fix=f"use one of: {', '.join(found)}"
        )
    return ["ssh", "-F", str(paths.state(site.name).ssh / "config"), machine]


def _ssh(site: Site, machine: str, command: str) -> str:
    result = subprocess.run(
        [*ssh_command(site, machine), command], capture_output=True, text=True, timeout=60, check=False
    )
    if result.returncode:
        raise ToolError(
            f"{command!r} failed: {result.stderr.strip()[-300:]}", where=machine, fix="repeat `tinh lab up`"
        )
    return result.stdout


def down(name: str = "lab", tell: Tell = print) -> None:
    """Remove every machine, volume and network of the instance; keys and passphrase stay."""
    _check_kind(name)
    for kind in ("container", "network"):
        for item in podman.listing(kind, paths.instance()):
            podman.own(kind, item, {"tinh.checkout": str(paths.REPO), "tinh.site": name})
    gone = podman.remove_all(paths.instance())
    gone["firewall rules"] = podman.remove_leftover_rules()
    tell(", ".join(f"{count} {kind}" for kind, count in gone.items()) + " removed")
    # the cluster is gone: what describes it must not outlive it
    state = paths.state(name)
    for file in (state.kubeconfig, state.cluster, _converged(name), state.root / "outside"):
        file.unlink(missing_ok=True)
    shutil.rmtree(state.pulumi, ignore_errors=True)


def _converged(name: str) -> Path:
    return paths.state(name).root / "converged"


def fingerprint(site: Site, hosts: dict[str, object]) -> str:
    """Return a hash of everything that day 0 depends on: site, inventory with artifacts, playbooks."""
    digest = hashlib.sha256(site.model_dump_json().encode())
    digest.update(json.dumps(hosts, sort_keys=True).encode())
    for file in sorted(paths.PLAYBOOKS.rglob("*")):
        if file.is_file():
            digest.update(str(file.relative_to(paths.PLAYBOOKS)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
