"""What the sim's control plane consists of: command lines and configuration files, as pure functions.

Sources: flags as kubeadm sets them (kubernetes/kubernetes cmd/kubeadm/app/phases/controlplane), kubernetes.io
"Auditing".
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.model.site import Machine, Site
from lab.sim.processes import Process

#: What the toolchain must have: less than the whole stage `sim`, which also has the machines of the lab.
TOOLS = ("etcd", "kubernetes", "kwok")
#: What needs a loopback port -> the process that listens on it.
PORTS = {
    "etcd": "etcd",
    "etcd-peer": "etcd",
    "kube-apiserver": "kube-apiserver",
    "kube-controller-manager": "kube-controller-manager",
    "kube-scheduler": "kube-scheduler",
}
#: In the order of starting.
NAMES = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok", "addresses")
LOOPBACK = "::1"
SERVER_NAMES = (LOOPBACK, "127.0.0.1", "localhost")
#: Client certificate -> (user, groups). The simulators act with full rights, each under a name of its own in
#: the audit log.
USERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "admin": ("tinh:admin", ("system:masters",)),
    "kube-controller-manager": ("system:kube-controller-manager", ()),
    "kube-scheduler": ("system:kube-scheduler", ()),
    "kwok": ("tinh:sim:kwok", ("system:masters",)),
    "addresses": ("tinh:sim:addresses", ("system:masters",)),
}


@dataclass(frozen=True)
class Layout:
    """The folders of one sim below `root`."""

    root: Path

    @property
    def pki(self) -> Path:
        """Certificates and keys of the control plane."""
        return self.root / "pki"

    @property
    def etc(self) -> Path:
        """Configuration files and kubeconfigs."""
        return self.root / "etc"

    @property
    def data(self) -> Path:
        """Data of etcd."""
        return self.root / "data"

    @property
    def run(self) -> Path:
        """Pid files."""
        return self.root / "run"

    @property
    def ports(self) -> Path:
        """JSON: name -> port."""
        return self.root / "ports.json"

    @property
    def nodes(self) -> Path:
        """JSON: the number of simulated nodes that was asked for."""
        return self.root / "nodes.json"

    @property
    def audit(self) -> Path:
        """Audit log."""
        return self.root / "audit.log"


def api_url(ports: dict[str, int]) -> str:
    """Return the URL of the API server."""
    return f"https://[{LOOPBACK}]:{ports['kube-apiserver']}"


def processes(
    site: Site, layout: Layout, ports: dict[str, int], bin_dir: Path, python: str
) -> dict[str, Process]:
    """Return every process of the sim by name.

    Args:
        site: gives the prefixes of pods and Services; IPv6 is the primary family.
        layout: folders.
        ports: loopback port per name in `PORTS`.
        bin_dir: folder of the engines; links are followed so that another version is another command line.
        python: the interpreter that runs the simulated load balancer.
    """
    pki, etc = layout.pki, layout.etc
    etcd_url = f"https://[{LOOPBACK}]:{ports['etcd']}"
    peer_url = f"https://[{LOOPBACK}]:{ports['etcd-peer']}"
    services = ",".join(site.cluster.services.pair())

    def engine(name: str, *flags: str) -> Process:
        return Process(name, [str((bin_dir / name).resolve()), *flags])

    return {
        "etcd": engine(
            "etcd",
            "--name=sim",
            f"--data-dir={layout.data}",
            f"--listen-client-urls={etcd_url}",
            f"--advertise-client-urls={etcd_url}",
            f"--listen-peer-urls={peer_url}",
            f"--initial-advertise-peer-urls={peer_url}",
            f"--initial-cluster=sim={peer_url}",
            "--client-cert-auth",
            f"--trusted-ca-file={pki}/ca.crt",
            f"--cert-file={pki}/etcd.crt",
            f"--key-file={pki}/etcd.key",
            "--peer-client-cert-auth",
            f"--peer-trusted-ca-file={pki}/ca.crt",
            f"--peer-cert-file={pki}/etcd.crt",
            f"--peer-key-file={pki}/etcd.key",
            "--log-level=warn",
            # a stand-in may lose its last writes when the machine loses power; a killed process loses none
            "--unsafe-no-fsync",
        ),
        "kube-apiserver": engine(
            "kube-apiserver",
            f"--bind-address={LOOPBACK}",
            f"--secure-port={ports['kube-apiserver']}",
            # dual stack with IPv6 first wants an IPv6 address of the server; a loopback address must not be
            # published as an endpoint of the Service `kubernetes`, so nothing is published
            f"--advertise-address={LOOPBACK}",
            "--endpoint-reconciler-type=none",
            f"--service-cluster-ip-range={services}",
            f"--etcd-servers={etcd_url}",
            f"--etcd-cafile={pki}/ca.crt",
            f"--etcd-certfile={pki}/etcd-client.crt",
            f"--etcd-keyfile={pki}/etcd-client.key",
            f"--client-ca-file={pki}/ca.crt",
            f"--tls-cert-file={pki}/kube-apiserver.crt",
            f"--tls-private-key-file={pki}/kube-apiserver.key",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={pki}/service-accounts.pub",
            f"--service-account-signing-key-file={pki}/service-accounts.key",
            # extension API servers and the other components trust requests that the API server forwards
            f"--requestheader-client-ca-file={pki}/front-proxy/ca.crt",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={pki}/front-proxy/client.crt",
            f"--proxy-client-key-file={pki}/front-proxy/client.key",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            f"--encryption-provider-config={etc}/encryption.yaml",
            f"--audit-policy-file={etc}/audit-policy.yaml",
            f"--audit-log-path={layout.audit}",
            "--audit-log-maxsize=50",
            "--audit-log-maxbackup=1",
        ),
        "kube-controller-manager": engine(
            "kube-controller-manager",
            f"--kubeconfig={etc}/kube-controller-manager.kubeconfig",
            f"--authentication-kubeconfig={etc}/kube-controller-manager.kubeconfig",
            f"--authorization-kubeconfig={etc}/kube-controller-manager.kubeconfig",
            f"--bind-address={LOOPBACK}",
            f"--secure-port={ports['kube-controller-manager']}",
            f"--tls-cert-file={pki}/kube-controller-manager.crt",
            f"--tls-private-key-file={pki}/kube-controller-manager.key",
            "--leader-elect=false",
            "--use-service-account-credentials=true",
            f"--root-ca-file={pki}/ca.crt",
            f"--service-account-private-key-file={pki}/service-accounts.key",
            f"--cluster-signing-cert-file={pki}/ca.crt",
            f"--cluster-signing-key-file={pki}/ca.key",
            "--allocate-node-cidrs=true",
            f"--cluster-cidr={','.join(site.cluster.pods.pair())}",
            f"--service-cluster-ip-range={services}",
        ),
        "kube-scheduler": engine(
            "kube-scheduler",
            f"--kubeconfig={etc}/kube-scheduler.kubeconfig",
            f"--authentication-kubeconfig={etc}/kube-scheduler.kubeconfig",
            f"--authorization-kubeconfig={etc}/kube-scheduler.kubeconfig",
            f"--bind-address={LOOPBACK}",
            f"--secure-port={ports['kube-scheduler']}",
            f"--tls-cert-file={pki}/kube-scheduler.crt",
            f"--tls-private-key-file={pki}/kube-scheduler.key",
            "--leader-elect=false",
        ),
        "kwok": engine(
            "kwok",
            f"--kubeconfig={etc}/kwok.kubeconfig",
            f"--config={Path(__file__).with_name('stages.yaml')}",
            "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
            "--node-lease-duration-seconds=40",
        ),
        "addresses": Process(
            "addresses",
            [
                python,
                "-m",
                "lab.sim.addresses",
                str(etc / "addresses.kubeconfig"),
                *site.front_door.pool.text(),
            ],
        ),
    }


def audit_policy() -> dict[str, Any]:
    """Return the audit policy: who did what to which object; bodies never, since Secrets are among them."""
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "None", "verbs": ["get", "list", "watch"], "userGroups": ["system:serviceaccounts"]},
            {"level": "None", "resources": [{"group": "coordination.k8s.io", "resources": ["leases"]}]},
            {
                "level": "None",
                "nonResourceURLs": ["/healthz*", "/livez*", "/readyz*", "/version", "/openapi*"],
            },
            {"level": "Metadata"},
        ],
    }


def kubeconfig(site: str, url: str, user: str, ca: bytes, crt: bytes, key: bytes) -> dict[str, Any]:
    """Return a kubeconfig with embedded certificates (PEM)."""

    def text(data: bytes) -> str:
        return base64.b64encode(data).decode()

    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": site, "cluster": {"server": url, "certificate-authority-data": text(ca)}}],
        "users": [
            {"name": user, "user": {"client-certificate-data": text(crt), "client-key-data": text(key)}}
        ],
        "contexts": [{"name": site, "context": {"cluster": site, "user": user}}],
        "current-context": site,
    }


def node(machine: Machine) -> dict[str, Any]:
    """Return the Node object of one simulated machine, with its addresses in both families."""
    size = {"cpu": "16", "memory": "64Gi", "pods": "110"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": machine.name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {
                "type": "kwok",
                "kubernetes.io/arch": "amd64",
                "kubernetes.io/hostname": machine.name,
                "kubernetes.io/os": "linux",
            },
        },
        "status": {
            "addresses": [
                {"type": "Hostname", "address": machine.name},
                *({"type": "InternalIP", "address": address} for address in machine.primary.pair()),
            ],
            "allocatable": size,
            "capacity": size,
        },
    }
