"""An authority that speaks ACME as a ClusterIssuer: the Government's CA, or a public one.

A name is proved over port 80 (RFC 8555, 8.3): cert-manager answers by a pod beside the name's backend and a route to it
on the gateway's HTTP listener, which for that is open to the namespaces that publish (`GatewayArgs.solvers`).
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass

import pulumi

from infra import labels, naming
from infra.components.identity.site_ca import NAMESPACE
from infra.components.manifest import Component, Manifest, Object, wait_for
from infra.components.workload.allow import Allow, from_gateway
from infra.model.certificates import AcmeIssuer

#: Labels and port of the pods that answer (cert-manager 1.11, pkg/issuer/acme/http).
SOLVER = {"acme.cert-manager.io/http01-solver": "true"}
SOLVER_PORT = 8089


@dataclass(frozen=True, kw_only=True)
class AcmeArgs:
    """The authority.

    Args:
        issuer: the site's data.
        bundle: certificates (PEM) by which the server is known; empty: those that every system has.
        secret: returns the HMAC key of the account at the authority, a secret Output.
        gateway: name of the Gateway and of its namespace.
        simulated: nothing is awaited on a simulated site.
    """

    issuer: AcmeIssuer
    bundle: str
    secret: Callable[[str], pulumi.Output[str]]
    gateway: str
    simulated: bool


def acme(name: str, args: AcmeArgs) -> list[Object]:
    """Return the account's Secret, when the authority wants one, and the ClusterIssuer."""
    metadata = {"name": name, "labels": labels.labels(name, "base")}
    binding = naming.name(name, "binding")
    spec: Object = {
        "server": str(args.issuer.server),
        "email": args.issuer.email,
        "privateKeySecretRef": {"name": naming.name(name, "account")},
        "solvers": [
            {
                "http01": {
                    "gatewayHTTPRoute": {
                        "serviceType": "ClusterIP",
                        "parentRefs": [
                            {"name": args.gateway, "namespace": args.gateway, "sectionName": "http"}
                        ],
                    }
                }
            }
        ],
    }
    objs: list[Object] = []
    if args.bundle:
        spec["caBundle"] = base64.b64encode(args.bundle.encode()).decode()
    if args.issuer.account:
        spec["externalAccountBinding"] = {
            "keyID": args.issuer.account.key_id,
            "keySecretRef": {"name": binding, "key": "secret"},
        }
        secret: Object = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata | {"name": binding, "namespace": NAMESPACE},
            "stringData": {"secret": args.secret(args.issuer.account.secret)},
        }
        objs.append(secret)
    issuer: Object = {
        "apiVersion": "cert-manager.io/v1",
        "kind": "ClusterIssuer",
        "metadata": metadata,
        "spec": {"acme": spec},
    }
    return [*objs, wait_for(issuer, "Ready", simulated=args.simulated)]


def solver_rules() -> tuple[Allow, Allow]:
    """Return what cert-manager's namespace allows: the authority, and a look at the answer before it is asked for."""
    out = {"podSelector": {}, "policyTypes": ["Egress"]}
    ports = [{"protocol": "TCP", "port": port} for port in (80, 443)]
    names = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
    return (
        Allow("to-authority", out | {"egress": [{"ports": ports}]}),
        Allow("to-resolver", out | {"egress": [{"ports": names}]}),
    )


def to_solver() -> Object:
    """Return the spec of the NetworkPolicy that lets the gateway reach the pods that answer for a name."""
    return from_gateway(SOLVER, [SOLVER_PORT]).spec


class Acme(Component):
    """The issuer that asks an ACME authority."""

    def __init__(self, name: str, args: AcmeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tinh:identity:Acme", name, opts)
        self.issuer = name
        made: list[pulumi.Resource] = []
        for obj in acme(name, args):
            made.append(Manifest(f"{name}-{obj['kind']}", obj, self.child(*made)))
        self.register_outputs({"issuer": name})
