"""What every layer's program is given; what reads files or reaches out is here, not in components."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pulumi
from pulumi_kubernetes import Provider

from infra import contract, paths
from infra.components.bundle import load
from infra.components.manifest import Object
from infra.errors import TinhError
from infra.model.base import M
from infra.model.site import Site, SiteKind
from infra.stackinfo import StackInfo
from stacks.site_secrets import site_secret


@dataclass(frozen=True, kw_only=True)
class Context:
    """One deployment.

    Args:
        info: the stack.
        site: the site.
        cluster: UID of the site's cluster, already checked; empty in a layer that needs none.
        manifest: returns the objects of an upstream bundle, for example `metallb`.
        secret: returns a secret of the site by name; made once, as a secret Output.
    """

    info: StackInfo
    site: Site
    cluster: str
    manifest: Callable[[str], list[Object]]
    secret: Callable[[str], pulumi.Output[str]]

    @property
    def simulated(self) -> bool:
        """No operator and no container runs on this site."""
        return self.site.kind is SiteKind.SIM

    def below(self, layer: str, model: type[M]) -> pulumi.Output[M]:
        """Return the contract of a layer below.

        Args:
            layer: its name.
            model: the contract that is expected.
        """
        stack = self.info.sibling(layer)
        reference = pulumi.StackReference(f"organization/{pulumi.get_project()}/{stack}")

        def read(output: object) -> M:
            try:
                return contract.read(model, output, stack)
            except TinhError as error:
                raise pulumi.RunError(str(error)) from None

        return reference.get_output(contract.OUTPUT).apply(read)

    def provider(self) -> Provider:
        """Declare the stack's one Kubernetes provider.

        It is given the path of the kubeconfig, never the content, so that no key gets into the state. The
        identifier decides whether objects have to be replaced: a new path or a renewed certificate must not.
        """
        return Provider(
            "cluster",
            kubeconfig=str(paths.state(self.site.name).kubeconfig),
            cluster_identifier=self.cluster,
            enable_config_map_mutable=True,
            enable_secret_mutable=True,
            # The API server sheds load by priority and fairness itself; a limit here would only make runs longer.
            kube_client_settings={"qps": 500, "burst": 1000, "timeout": 60},
        )


def context(info: StackInfo, site: Site, cluster: str) -> Context:
    """Return the context of a real deployment."""

    def manifest(name: str) -> list[Object]:
        from lab.toolchain import artifact

        return load(artifact(f"manifest-{name}") / "manifest.yaml")

    def secret(name: str) -> pulumi.Output[str]:
        return pulumi.Output.secret(site_secret(site, name))

    return Context(info=info, site=site, cluster=cluster, manifest=manifest, secret=secret)


def authority(site: Site, name: str) -> tuple[str, str]:
    """Return certificate (with the chain above it) and key of an authority of the site as PEM.

    Args:
        site: the site.
        name: of its files; `ca` is the site's own.

    Raises:
        TinhError: when the site has none of that name.
    """
    pki = paths.state(site.name).pki
    try:
        return (pki / f"{name}.crt").read_text("utf-8"), (pki / f"{name}.key").read_text("utf-8")
    except FileNotFoundError as error:
        raise TinhError(
            f"site {site.name} has no certificate authority {name!r}",
            where=str(error.filename),
            fix=f"make the site first (`tinh lab up`, `tinh sim up`), or put {name}.crt and {name}.key there",
        ) from None
