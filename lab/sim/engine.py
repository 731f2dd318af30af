"""Bring the sim up, resume or heal it, look at it, and take it down without leaving anything behind."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass

import requests
import yaml

from infra import paths, private, timings
from infra.errors import HostError, LockedError, ToolError
from infra.model.site import Role, Site, load_site
from lab import pki
from lab.sim import plan
from lab.sim.api import Api
from lab.sim.processes import Processes, memory, pick_ports

SITE = "sim"
#: Said with every output, so that nobody takes the stand-in for the data centre.
SIMULATED = (
    "site sim: nodes, pods and volumes are simulated by KWOK; no workload runs\n"
    "site sim: addresses of LoadBalancer Services are simulated by tinh, not MetalLB; nothing answers there"
)
#: Seconds until a step of the start counts as failed; 10 times what a loaded machine with 2 cores needs.
PATIENCE = 90.0

Progress = Callable[[str], None]


def _quiet(text: str) -> None:
    """Swallow progress."""


@dataclass(frozen=True)
class ProcessStatus:
    """One process as `tinh sim status` shows it."""

    name: str
    pid: int | None
    memory: int


@dataclass(frozen=True)
class Status:
    """The sim as a whole."""

    processes: list[ProcessStatus]
    url: str
    ready_nodes: int
    nodes: int

    @property
    def running(self) -> bool:
        """Whether every process runs."""
        return all(process.pid is not None for process in self.processes)


class Sim:
    """The sim of this instance (`TINH_INSTANCE`)."""

    def __init__(self) -> None:
        self.state = paths.state(SITE)
        self.layout = plan.Layout(self.state.root / "control-plane")
        self.logs = self.state.logs / "control-plane"
        self.processes = Processes(self.layout.run, self.logs)

    def up(self, nodes: int | None = None, progress: Progress = _quiet) -> Status:
        """Bring everything up, or only what is missing.

        Args:
            nodes: number of simulated nodes; none: as last time, at first as the site file says.
            progress: is told what is being waited for.

        Raises:
            HostError: the host has no IPv6 loopback.
            LockedError: another `tinh sim` command is at work.
            ToolError: a process ended or did not become ready; the end of its log is in the message.
        """
        from lab.toolchain import bin_dir, ensure

        with self._lock():
            _need_ipv6()
            ensure(plan.TOOLS)
            begin = time.monotonic()
            cold = not self.layout.data.exists()
            site = self._site(nodes)
            ports = self._ports()
            self._write_files(site, ports)
            wanted = plan.processes(site, self.layout, ports, bin_dir(), sys.executable)
            api = Api(self.state.kubeconfig)

            # after a restart of the machine all pid files are stale; from here on a dead process is a failure
            self.processes.forget(plan.NAMES)
            started = [self.processes.start(wanted[name]) for name in ("etcd", "kube-apiserver")]
            self._wait("kube-apiserver", lambda: api.ok("/readyz"), progress)
            started += [self.processes.start(wanted[name]) for name in plan.NAMES[2:]]
            self._nodes(api, site)
            for name in ("kube-controller-manager", "kube-scheduler"):
                url = f"https://[{plan.LOOPBACK}]:{ports[name]}/healthz"
                self._wait(name, lambda url=url: api.ok(url), progress)
            account = "/api/v1/namespaces/default/serviceaccounts/default"
            self._wait("kube-controller-manager", lambda: api.ok(account), progress)
            self._wait("kwok", lambda: _ready(api) == len(site.by_role(Role.WORKER)), progress)
            for name in plan.NAMES:
                self._alive(name)

            uid = api.call("GET", "/api/v1/namespaces/kube-system")["metadata"]["uid"]
            self.state.cluster.write_text(json.dumps({"uid": uid}))
            if any(started):
                timings.record(SITE, "sim.up", time.monotonic() - begin, cold)
            return self.status()

    def status(self) -> Status:
        """Look at the processes and, when the API answers, at the nodes."""
        processes = [
            ProcessStatus(name, pid, memory(pid) if pid else 0)
            for name in plan.NAMES
            for pid in [self.processes.pid(name)]
        ]
        url, ready, nodes = "", 0, 0
        if self.state.kubeconfig.exists() and self.layout.ports.exists():
            api = Api(self.state.kubeconfig)
            url = api.url
            with contextlib.suppress(requests.RequestException):
                ready, nodes = _ready(api), len(api.call("GET", "/api/v1/nodes")["items"])
        return Status(processes, url, ready, nodes)

    def down(self, *, purge: bool) -> None:
        """End the processes and remove the cluster; passphrase, CA and Pulumi state stay unless `purge`."""
        with self._lock():
            self.processes.stop(*(name for name in self.processes.known() if name != "etcd"))
            self.processes.stop("etcd")  # last: an API server that has lost its etcd does not end by itself
            for folder in (self.layout.root, self.logs):
                shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                self.state.logs.rmdir()  # only when nobody else has logs there
            for file in (self.state.kubeconfig, self.state.cluster):
                file.unlink(missing_ok=True)
        if purge:
            shutil.rmtree(self.state.root)

    @contextlib.contextmanager
    def _lock(self) -> Generator[None]:
        folder = os.open(self.state.root, os.O_RDONLY)  # locking the folder leaves no lock file behind
        try:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LockedError(
                    "another `tinh sim` command is at work",
                    where=str(self.state.root),
                    fix="wait until it has ended",
                ) from None
            yield
        finally:
            os.close(folder)

    def _site(self, nodes: int | None) -> Site:
        """Return the site with the number of nodes asked for now or last time; the number is recorded."""
        site = load_site(SITE)
        self.layout.root.mkdir(exist_ok=True, mode=0o700)
        if nodes is None and self.layout.nodes.exists():
            nodes = json.loads(self.layout.nodes.read_text())
        if nodes is None:
            return site
        self.layout.nodes.write_text(json.dumps(nodes))
        return site.resize({Role.WORKER: nodes})

    def _ports(self) -> dict[str, int]:
        file = self.layout.ports
        recorded = json.loads(file.read_text()) if file.exists() else {}
        running = {name for name in plan.NAMES if self.processes.pid(name)}
        ports = pick_ports(plan.PORTS, recorded, running)
        file.write_text(json.dumps(ports))
        return ports

    def _write_files(self, site: Site, ports: dict[str, int]) -> None:
        """Write certificates, kubeconfigs and configuration; what exists and is good stays as it is."""
        folder, etc = self.layout.pki, self.layout.etc
        for path in (self.state.pki, folder, folder / "front-proxy", etc, self.layout.data):
            path.mkdir(exist_ok=True, mode=0o700)
        # the site's CA, which signs what the platforms serve; the control plane has its own below
        pki.ensure_ca(self.state.pki, f"tinh {site.name} CA")
        pki.ensure_ca(folder, "tinh sim")
        service = str(site.cluster.services.ipv6[1]), str(site.cluster.services.ipv4[1])
        inside = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", *service)
        issue = pki.ensure_certificate
        issue(folder, "kube-apiserver", "kube-apiserver", names=(*plan.SERVER_NAMES, *inside), client=True)
        issue(folder, "etcd", "etcd", names=plan.SERVER_NAMES, client=True)
        issue(folder, "etcd-client", "kube-apiserver", client=True)
        pki.ensure_ca(folder / "front-proxy", "tinh sim front proxy")
        issue(folder / "front-proxy", "client", "front-proxy-client", client=True)
        pki.ensure_key_pair(folder, "service-accounts")
        for name, (user, groups) in plan.USERS.items():
            names = plan.SERVER_NAMES if name in plan.PORTS else ()
            issue(folder, name, user, groups=groups, names=names, client=True)
            ca, crt, key = ((folder / f).read_bytes() for f in ("ca.crt", f"{name}.crt", f"{name}.key"))
            file = self.state.kubeconfig if name == "admin" else etc / f"{name}.kubeconfig"
            config = plan.kubeconfig(site.name, plan.api_url(ports), user, ca, crt, key)
            private.write(file, yaml.safe_dump(config).encode())
        pki.ensure_encryption_config(etc / "encryption.yaml")
        (etc / "audit-policy.yaml").write_text(yaml.safe_dump(plan.audit_policy()))

    def _nodes(self, api: Api, site: Site) -> None:
        """Make the simulated nodes that are missing and remove those that are no longer wanted."""
        wanted = {machine.name: plan.node(machine) for machine in site.by_role(Role.WORKER)}
        query = "/api/v1/nodes?labelSelector=type%3Dkwok"
        present = {item["metadata"]["name"] for item in api.call("GET", query)["items"]}
        for name in wanted.keys() - present:
            api.call("POST", "/api/v1/nodes", wanted[name])
        for name in present - wanted.keys():
            api.call("DELETE", f"/api/v1/nodes/{name}")

    def _wait(self, name: str, done: Callable[[], bool], progress: Progress) -> None:
        begin = time.monotonic()
        while not done():
            for running in plan.NAMES:
                if running in self.processes.known():
                    self._alive(running)
            seconds = time.monotonic() - begin
            if seconds > PATIENCE:
                raise self._failure(name, f"{name} is not ready after {seconds:.0f} s")
            progress(f"waiting for {name} ({seconds:.0f} s)")
            time.sleep(0.1)

    def _alive(self, name: str) -> None:
        if self.processes.pid(name) is None:
            raise self._failure(name, f"{name} has ended")

    def _failure(self, name: str, what: str) -> ToolError:
        return ToolError(
            f"{what}; the end of its log:\n{self.processes.tail(name)}",
            where=str(self.logs / f"{name}.log"),
            fix="correct what the log names, then run `tinh sim up` again: it resumes",
        )


def _need_ipv6() -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind((plan.LOOPBACK, 0))
    except OSError as error:
        raise HostError(
            f"this host has no IPv6 loopback address ({error})",
            where=plan.LOOPBACK,
            fix="switch IPv6 on for the loopback device: sysctl -w net.ipv6.conf.lo.disable_ipv6=0",
        ) from None


def _ready(api: Api) -> int:
    """Return the number of Ready nodes."""
    nodes = api.call("GET", "/api/v1/nodes")["items"]
    conditions = [item.get("status", {}).get("conditions", []) for item in nodes]
    return sum(any(c["type"] == "Ready" and c["status"] == "True" for c in row) for row in conditions)
