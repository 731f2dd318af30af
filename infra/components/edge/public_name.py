"""A published name: its certificate, its HTTPS listener, its route and its policies, in the publisher's namespace.

The listener is a ListenerSet (Gateway API v1.5+), so every name has a certificate of its own whose key never
leaves the platform's namespace, and publishing a name does not touch the shared Gateway.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pulumi

from infra import labels, naming
from infra.components.edge import firewall
from infra.components.edge.policies import (
    GATEWAY_API,
    POLICY_API,
    backend_traffic,
    client_traffic,
    firewall_first,
    target,
)
from infra.components.edge.sign_in import Provider, client_id, sign_in
from infra.components.identity.acme import to_solver
from infra.components.identity.login import identity_of
from infra.components.manifest import Component, Manifest, Object, wait_for
from infra.components.workload.platform import PlatformArgs
from infra.model.certificates import AcmeIssuer, Certificates, canonical
from infra.model.exposure import Exposure


@dataclass(frozen=True, kw_only=True)
class PublicNameArgs:
    """A published name.

    Args:
        host: full DNS name.
        namespace: of the backend.
        part_of: platform that publishes it.
        service: backend Service.
        port: its port.
        issuer: ClusterIssuer that signs the certificate.
        gateway: name of the Gateway.
        gateway_namespace: its namespace.
        simulated: nothing is awaited on a simulated site.
        exposure: how it meets its clients.
        certificates: how long the certificate lives.
        authority: certificates (PEM) of the authority of `exposure.clients`.
        provider: where people sign in, for `exposure.sign_in`.
    """

    host: str
    namespace: str
    part_of: str
    service: str
    port: int
    issuer: pulumi.Input[str]
    gateway: pulumi.Input[str]
    gateway_namespace: pulumi.Input[str]
    simulated: bool
    exposure: Exposure = field(default_factory=Exposure)
    certificates: Certificates = field(default_factory=Certificates)
    authority: str = ""
    provider: Provider | None = None


def public_name(name: str, args: PublicNameArgs) -> list[Object]:
    """Return all objects of a name, in the order in which they depend.

    Policies come before the route that they are for, so that the name is at no time served without them.
    """
    secret, clients, exposure = naming.name(name, "tls"), naming.name(name, "clients"), args.exposure
    group, _ = GATEWAY_API.split("/")

    def obj(api: str, kind: str, content: Object, named: str = name) -> Object:
        metadata = {"name": named, "namespace": args.namespace, "labels": labels.labels(name, args.part_of)}
        return {"apiVersion": api, "kind": kind, "metadata": metadata, **content}

    def policy(kind: str, aim: str, spec: Object) -> Object:
        return obj(POLICY_API, kind, {"spec": {"targetRefs": target(aim, name), **spec}})

    objs = [
        wait_for(
            obj("cert-manager.io/v1", "Certificate", {"spec": _certificate(secret, args)}),
            "Ready",
            simulated=args.simulated,
        )
    ]
    if isinstance(args.certificates.issuer, AcmeIssuer):
        solver = naming.name("allow-acme", name)
        objs.insert(0, obj("networking.k8s.io/v1", "NetworkPolicy", {"spec": to_solver()}, solver))
    if exposure.clients:
        objs.append(obj("v1", "ConfigMap", {"data": {"ca.crt": args.authority}}, clients))
    objs += [
        policy("ClientTrafficPolicy", "ListenerSet", client_traffic(exposure, clients)),
        policy("BackendTrafficPolicy", "HTTPRoute", backend_traffic(exposure)),
    ]
    if exposure.waf.mode != "off":
        spec = firewall_first(exposure, firewall.SERVICE)
        objs.append(policy("EnvoyExtensionPolicy", "HTTPRoute", spec))
    if args.provider and exposure.sign_in:
        client = client_id(name)
        objs += [
            obj("v1", "Secret", {"stringData": {"client-secret": args.provider.secret}}, client),
            policy(
                "SecurityPolicy", "HTTPRoute", sign_in(exposure.sign_in, args.provider, args.host, client)
            ),
        ]
    listener = {
        "name": "https",
        "hostname": args.host,
        "port": 443,
        "protocol": "HTTPS",
        "tls": {"mode": "Terminate", "certificateRefs": [{"name": secret}]},
        "allowedRoutes": {"namespaces": {"from": "Same"}},
    }
    listeners = {
        "parentRef": {"name": args.gateway, "namespace": args.gateway_namespace},
        "listeners": [listener],
    }
    route = {
        "parentRefs": [{"group": group, "kind": "ListenerSet", "name": name, "sectionName": "https"}],
        "hostnames": [args.host],
        "rules": [{"backendRefs": [{"name": args.service, "port": args.port}]}],
    }
    return [
        *objs,
        wait_for(
            obj(GATEWAY_API, "ListenerSet", {"spec": listeners}), "Programmed", simulated=args.simulated
        ),
        obj(GATEWAY_API, "HTTPRoute", {"spec": route}),
    ]


def _certificate(secret: str, args: PublicNameArgs) -> Object:
    return {
        "secretName": secret,
        "dnsNames": [args.host],
        "duration": canonical(args.certificates.duration),
        "renewBefore": canonical(args.certificates.renew_before),
        # A new key with each certificate; a stolen key is worth one period at most.
        "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
        "usages": ["digital signature", "server auth"],
        "issuerRef": {"name": args.issuer, "kind": "ClusterIssuer"},
    }


class PublicName(Component):
    """One name, published over HTTPS in both address families."""

    def __init__(self, name: str, args: PublicNameArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tinh:edge:PublicName", name, opts)
        self.url = f"https://{args.host}"
        made: list[pulumi.Resource] = []
        for obj in public_name(name, args):
            made.append(Manifest(f"{name}-{obj['kind']}", obj, self.child(*made)))
        self.register_outputs({"url": self.url})


def publish(args: PlatformArgs, service: str, port: int, opts: pulumi.ResourceOptions) -> list[PublicName]:
    """Publish every public name of a platform, each as its facts say.

    Args:
        args: the platform; its namespace has its id as name.
        service: its Service.
        port: the Service's port.
        opts: parent and dependencies.
    """
    base = args.base
    opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=list(args.before_names)))
    return [
        PublicName(
            label,
            PublicNameArgs(
                host=args.site.public_name(label),
                namespace=args.facts.id,
                part_of=args.facts.id,
                service=service,
                port=port,
                issuer=base.apply(lambda found: found.issuer),
                gateway=base.apply(lambda found: found.gateway),
                gateway_namespace=base.apply(lambda found: found.gateway_namespace),
                simulated=args.simulated,
                exposure=(exposure := args.facts.exposed(label)),
                certificates=args.site.certificates,
                authority=args.authorities[exposure.clients.authority] if exposure.clients else "",
                provider=_provider(args, label) if exposure.sign_in else None,
            ),
            opts,
        )
        for label in args.facts.public_names
    ]


def _provider(args: PlatformArgs, label: str) -> Provider:
    identity = identity_of(args.platforms, args.facts.id)
    return Provider(
        host=args.site.public_name(identity.public_names[0]),
        realm=identity.realm or "",
        secret=args.secret(client_id(label)),
    )
