"""The site's own certificate authority as a ClusterIssuer.

A site with a public authority replaces this component by an issuer of another kind; names and users stay the
same.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from infra import labels
from infra.components.manifest import Component, Manifest, Object, wait_for

#: cert-manager reads the Secrets of ClusterIssuers from its own namespace.
NAMESPACE = "cert-manager"


@dataclass(frozen=True, kw_only=True)
class SiteCaArgs:
    """The authority's certificate and key (PEM); the key must be a secret Output."""

    certificate: pulumi.Input[str]
    key: pulumi.Output[str]
    simulated: bool


def site_ca(name: str, args: SiteCaArgs) -> list[Object]:
    """Return Secret and ClusterIssuer."""
    metadata = {"name": name, "labels": labels.labels(name, "base")}
    secret: Object = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {**metadata, "namespace": NAMESPACE},
        "type": "kubernetes.io/tls",
        "stringData": {"tls.crt": args.certificate, "tls.key": args.key},
    }
    issuer: Object = {
        "apiVersion": "cert-manager.io/v1",
        "kind": "ClusterIssuer",
        "metadata": metadata,
        "spec": {"ca": {"secretName": name}},
    }
    return [secret, wait_for(issuer, "Ready", simulated=args.simulated)]


class SiteCa(Component):
    """The authority's key pair in the cluster and the issuer that signs with it."""

    def __init__(self, name: str, args: SiteCaArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tinh:identity:SiteCa", name, opts)
        self.issuer = name
        secret, issuer = site_ca(name, args)
        made = Manifest(f"{name}-key", secret, self.child())
        Manifest(f"{name}-issuer", issuer, self.child(made))
        self.register_outputs({"issuer": name})
