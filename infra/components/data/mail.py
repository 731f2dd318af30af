"""The mail relay: Postfix takes mail of the site's domain from named namespaces, and hands it to one smart host.

Settings: https://www.postfix.org/postconf.5.html, https://www.postfix.org/master.5.html.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi

from infra import labels
from infra.components.data.certificate import certificate, host, mounted
from infra.components.manifest import Component, Manifest, Object
from infra.components.workload.allow import Allow, from_namespaces, to_host, to_namespace
from infra.components.workload.namespace import Namespace, NamespaceArgs
from infra.components.workload.pod import CONTAINER_SECURITY, pod
from infra.model.data import Mail
from infra.model.net import DualPrefix

#: Namespace, Service and workload.
MAIL = "mail"
#: Of the Service (RFC 6409); of the pod, where no privilege is needed for it.
PORT, _POD_PORT = 587, 2587
HOST = host(MAIL, MAIL)
#: 25 MiB, as much as most systems take.
_LARGEST = 26_214_400
#: Postfix starts as root and gives each of its processes the user and the files that it needs.
_ROOT_NEEDS = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID"]


@dataclass(frozen=True, kw_only=True)
class MailArgs:
    """The relay.

    Args:
        image: Postfix' image.
        issuer: ClusterIssuer of the server's certificate.
        facts: the smart host and the domain of the senders.
        pods: addresses of the cluster's pods.
        authority: certificate (PEM) that signs the smart host's.
        storage_class: of the queue's volume.
        senders: namespaces that may send.
        simulated: nothing is awaited on a simulated site.
    """

    image: str
    issuer: pulumi.Input[str]
    facts: Mail
    pods: DualPrefix
    authority: str
    storage_class: str
    senders: Sequence[str]
    simulated: bool


def main_cf(facts: Mail, pods: DualPrefix) -> str:
    """Return main.cf: TLS on both sides, mail of one domain only, no mailbox here."""
    ipv6, ipv4 = pods.pair()
    address, length = ipv6.split("/")
    settings = {
        "compatibility_level": "3.6",
        "maillog_file": "/dev/stdout",
        "queue_directory": "/var/spool/postfix",
        "data_directory": "/var/lib/postfix",
        "meta_directory": "/etc/postfix",
        "myhostname": HOST,
        "mydomain": facts.domain,
        "myorigin": facts.domain,
        "mydestination": "",
        "local_transport": "error:5.1.1 this relay has no mailboxes",
        "local_recipient_maps": "",
        "alias_maps": "",
        "inet_interfaces": "all",
        "inet_protocols": "all",
        "mynetworks": f"[{address}]/{length} {ipv4}",
        "smtpd_helo_required": "yes",
        "disable_vrfy_command": "yes",
        "smtpd_relay_restrictions": "permit_mynetworks, reject",
        # Nobody sends in another's name.
        "smtpd_sender_restrictions": (f"check_sender_access inline:{{{{{facts.domain} = OK}}}}, reject"),
        "smtpd_client_message_rate_limit": "600",
        "smtpd_tls_security_level": "encrypt",
        "smtpd_tls_chain_files": "/tls/tls.key, /tls/tls.crt",
        "smtpd_tls_mandatory_protocols": ">=TLSv1.2",
        "smtpd_tls_loglevel": "1",
        "relayhost": f"[{facts.host}]:{facts.port}",
        # The smart host's addresses are data, in the pod's /etc/hosts.
        "smtp_host_lookup": "native",
        "smtp_tls_security_level": "verify",
        "smtp_tls_verify_cert_match": "hostname",
        "smtp_tls_CAfile": "/config/authority.pem",
        "smtp_tls_mandatory_protocols": ">=TLSv1.2",
        "smtp_tls_loglevel": "1",
        "message_size_limit": str(_LARGEST),
        "mailbox_size_limit": "0",
        "minimal_backoff_time": "60s",
        "maximal_backoff_time": "900s",
        "queue_run_delay": "60s",
    }
    return "".join(f"{name} = {value}".rstrip() + "\n" for name, value in settings.items())


def master_cf() -> str:
    """Return master.cf: nothing local, nothing in a chroot (the container is one)."""
    internal = {
        "cleanup": ("unix", "n", "-", "0", "cleanup"),
        "qmgr": ("unix", "n", "300", "1", "qmgr"),
        "tlsmgr": ("unix", "-", "1000?", "1", "tlsmgr"),
        "rewrite": ("unix", "-", "-", "-", "trivial-rewrite"),
        "bounce": ("unix", "-", "-", "0", "bounce"),
        "defer": ("unix", "-", "-", "0", "bounce"),
        "trace": ("unix", "-", "-", "0", "bounce"),
        "verify": ("unix", "-", "-", "1", "verify"),
        "flush": ("unix", "n", "1000?", "0", "flush"),
        "proxymap": ("unix", "-", "-", "-", "proxymap"),
        "smtp": ("unix", "-", "-", "-", "smtp"),
        "relay": ("unix", "-", "-", "-", "smtp"),
        "showq": ("unix", "n", "-", "-", "showq"),
        "error": ("unix", "-", "-", "-", "error"),
        "retry": ("unix", "-", "-", "-", "error"),
        "anvil": ("unix", "-", "-", "1", "anvil"),
        "scache": ("unix", "-", "-", "1", "scache"),
        "postlog": ("unix-dgram", "n", "-", "1", "postlogd"),
    }
    rows = [(str(_POD_PORT), "inet", "n", "-", "n", "-", "-", "smtpd")]
    rows += [
        (name, kind, private, "-", "n", wakeup, limit, program)
        for name, (kind, private, wakeup, limit, program) in internal.items()
    ]
    return "".join(" ".join(row) + "\n" for row in rows)


def relay(args: MailArgs) -> list[Object]:
    """Return ConfigMap, volume claim, Service and Deployment."""
    files = {
        "main.cf": main_cf(args.facts, args.pods),
        "master.cf": master_cf(),
        "authority.pem": args.authority,
    }
    checksum = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()
    metadata = {"name": MAIL, "namespace": MAIL, "labels": labels.labels(MAIL, MAIL)}
    quiet = metadata | {"annotations": {"pulumi.com/skipAwait": "true"}}
    volume, mount = mounted(MAIL)
    probe = {"tcpSocket": {"port": "submission"}, "periodSeconds": 5}
    container = {
        "name": "postfix",
        "image": args.image,
        "command": ["/usr/sbin/postfix", "-c", "/config", "start-fg"],
        "ports": [{"name": "submission", "containerPort": _POD_PORT}],
        "readinessProbe": probe,
        "livenessProbe": probe | {"periodSeconds": 20},
        "resources": {"requests": {"cpu": "10m", "memory": "48Mi"}, "limits": {"memory": "128Mi"}},
        "securityContext": CONTAINER_SECURITY | {"capabilities": {"drop": ["ALL"], "add": _ROOT_NEEDS}},
        "volumeMounts": [
            mount,
            {"name": "config", "mountPath": "/config", "readOnly": True},
            {"name": "queue", "mountPath": "/var/spool/postfix"},
            {"name": "state", "mountPath": "/var/lib/postfix"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - in the container
        ],
    }
    # Volumes come as root's; Postfix keeps its lock as its own user.
    owner = {
        "name": "owner",
        "image": args.image,
        "command": ["chown", "postfix:postfix", "/var/lib/postfix"],
        "securityContext": container["securityContext"],
        "volumeMounts": [{"name": "state", "mountPath": "/var/lib/postfix"}],
    }
    volumes: list[Object] = [
        volume,
        {"name": "config", "configMap": {"name": MAIL}},
        {"name": "queue", "persistentVolumeClaim": {"claimName": MAIL}},
        {"name": "state", "emptyDir": {"sizeLimit": "16Mi"}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "16Mi"}},
    ]
    aliases = [{"ip": address, "hostnames": [args.facts.host]} for address in args.facts.address.pair()]
    root: Object = {"runAsUser": 0, "seccompProfile": {"type": "RuntimeDefault"}}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": files},
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": quiet,
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": args.storage_class,
                "resources": {"requests": {"storage": args.facts.storage}},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": quiet,
            "spec": {
                "ipFamilyPolicy": "RequireDualStack",
                "ipFamilies": ["IPv6", "IPv4"],
                "selector": labels.selector(MAIL),
                "ports": [{"name": "submission", "port": PORT, "targetPort": "submission"}],
            },
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "replicas": 1,
                # One queue has one owner.
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": labels.selector(MAIL)},
                "template": {
                    "metadata": {
                        "labels": labels.labels(MAIL, MAIL),
                        "annotations": {"tinh/config": checksum},
                    },
                    "spec": pod(
                        MAIL,
                        0,
                        [container],
                        volumes,
                        initContainers=[owner],
                        securityContext=root,
                        hostAliases=aliases,
                    ),
                },
            },
        },
    ]


def to_mail(pods: dict[str, str]) -> Allow:
    """Let a workload send mail."""
    return to_namespace("to-mail", pods, MAIL, labels.selector(MAIL), [_POD_PORT])


def rules(facts: Mail, senders: Sequence[str]) -> tuple[Allow, ...]:
    """Return what the namespace allows: named senders in, one host out."""
    app = labels.selector(MAIL)
    return (
        to_host("to-smart-host", app, facts.address, facts.port),
        *((from_namespaces("senders", app, sorted(senders), [_POD_PORT]),) if senders else ()),
    )


class MailRelay(Component):
    """The relay in its namespace. Queue and namespace are protected: mail that was taken is not lost."""

    def __init__(self, name: str, args: MailArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tinh:data:MailRelay", name, opts)
        space = Namespace(
            f"{name}-namespace",
            NamespaceArgs(
                name=MAIL,
                part_of=MAIL,
                # Postfix starts as root; it gets no more than level `baseline` gives.
                pod_security="baseline",
                protect=True,
                allow=rules(args.facts, args.senders),
            ),
            self.child(),
        )
        signed = certificate(MAIL, MAIL, args.issuer, simulated=args.simulated)
        made: list[pulumi.Resource] = [space, Manifest(f"{name}-Certificate", signed, self.child(space))]
        for obj in relay(args):
            protect = obj["kind"] == "PersistentVolumeClaim"
            made.append(Manifest(f"{name}-{obj['kind']}", obj, self.child(*made, protect=protect)))
        self.register_outputs({"host": HOST})
