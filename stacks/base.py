"""Layer `base`: operators and their CRDs, front door, authority, storage, metrics, admission rules."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pulumi

from infra import contract
from infra.components.bundle import Bundle, BundleArgs
from infra.components.edge.gateway import Gateway, GatewayArgs, envoy_namespace_rules
from infra.components.edge.load_balancer import LoadBalancer, LoadBalancerArgs
from infra.components.identity.acme import Acme, AcmeArgs, solver_rules
from infra.components.identity.site_ca import SiteCa, SiteCaArgs
from infra.components.manifest import Object
from infra.components.workload.admission import Admission
from infra.components.workload.allow import (
    CNPG_NAMESPACE,
    CNPG_STATUS_PORT,
    ENVOY_NAMESPACE,
    from_api_server,
    to_api_server,
    to_managed_namespaces,
)
from infra.components.workload.namespace import Namespace, NamespaceArgs
from infra.contract import BaseContract
from infra.model.certificates import SITE_AUTHORITY, AcmeIssuer, CaIssuer, authority_bundle
from infra.model.site import Site, SiteKind
from stacks.context import Context, authority

#: A patch release of the Envoy that Envoy Gateway 1.9.0 is made for (1.39, api/v1alpha1/shared_types.go).
ENVOY_IMAGE = "docker.io/envoyproxy/envoy:distroless-v1.39.3"
STORAGE_CLASS = "local-path"
EDGE = "edge"
#: Where every pod finds the cluster's CA: documentation of service accounts, "bound token volume".
_CLUSTER_CA = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"


def _default_class(obj: Object) -> Object:
    """Make a StorageClass the default; volumes wait for their pod, so that they are made on its node."""
    changed = copy.deepcopy(obj)
    annotations = changed["metadata"].setdefault("annotations", {})
    annotations["storageclass.kubernetes.io/is-default-class"] = "true"
    changed["volumeBindingMode"] = "WaitForFirstConsumer"
    return changed


def _kubelets_verified(obj: Object) -> Object:
    """Let metrics-server verify kubelets by the cluster's CA, which signs what they serve with (role kubeadm)."""
    changed = copy.deepcopy(obj)
    container = changed["spec"]["template"]["spec"]["containers"][0]
    container["args"].append(f"--kubelet-certificate-authority={_CLUSTER_CA}")
    return changed


def _ready_when_webhook_listens(obj: Object) -> Object:
    """Call MetalLB's controller ready when its webhook listens: the pools that follow are checked by it."""
    changed = copy.deepcopy(obj)
    container = changed["spec"]["template"]["spec"]["containers"][0]
    container["readinessProbe"] = {"tcpSocket": {"port": "webhook-server"}, "periodSeconds": 2}
    return changed


def _unthrottled(obj: Object) -> Object:
    """Let CloudNativePG's operator use what is free.

    Its manifest holds it to a tenth of a core: it was throttled whenever it had something to do, at its start, when its
    own probe may then end it, and when it has to name a new primary (docs/adr/0006).
    """
    changed = copy.deepcopy(obj)
    del changed["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"]
    return changed


def _answers_acme(obj: Object) -> Object:
    """Let cert-manager prove names by routes of the Gateway."""
    changed = copy.deepcopy(obj)
    container = changed["spec"]["template"]["spec"]["containers"][0]
    container["args"].append("--feature-gates=ExperimentalGatewayAPISupport=true")
    return changed


BUNDLES = ("local-path", "metrics-server", "metallb", "cert-manager", "cnpg", "envoy-gateway")
#: Bundle -> (`Kind/name` -> change).
PATCHES: dict[str, dict[str, Callable[[Object], Object]]] = {
    "local-path": {f"StorageClass/{STORAGE_CLASS}": _default_class},
    "cnpg": {"Deployment/cnpg-controller-manager": _unthrottled},
    "metallb": {"Deployment/controller": _ready_when_webhook_listens},
    "metrics-server": {"Deployment/metrics-server": _kubelets_verified},
}


def patches(site: Site) -> dict[str, dict[str, Callable[[Object], Object]]]:
    """Return the changes of the bundles at a site."""
    if not _asks_acme(site):
        return PATCHES
    return {**PATCHES, "cert-manager": {"Deployment/cert-manager": _answers_acme}}


def _asks_acme(site: Site) -> bool:
    return isinstance(site.certificates.issuer, AcmeIssuer)


def namespaces(site: Site) -> dict[str, NamespaceArgs]:
    """Return bundle -> its namespace. metrics-server lives in kube-system, which Kubernetes makes."""
    api = to_api_server(site)
    certificates = solver_rules() if _asks_acme(site) else ()
    return {
        # Helper pods make folders on the node: hostPath.
        "local-path": NamespaceArgs(
            name="local-path-storage", part_of="base", pod_security="privileged", allow=(api,)
        ),
        # The speaker answers ARP and NDP for the addresses: host network, NET_RAW.
        "metallb": NamespaceArgs(
            name="metallb-system",
            part_of="base",
            pod_security="privileged",
            allow=(api, from_api_server(site, [9443])),
        ),
        "cert-manager": NamespaceArgs(
            name="cert-manager", part_of="base", allow=(api, from_api_server(site, [10250]), *certificates)
        ),
        "cnpg": NamespaceArgs(
            name=CNPG_NAMESPACE,
            part_of="base",
            allow=(
                api,
                from_api_server(site, [9443]),
                to_managed_namespaces(
                    "to-instances", {}, [CNPG_STATUS_PORT], {"cnpg.io/podRole": "instance"}
                ),
            ),
        ),
        "envoy-gateway": NamespaceArgs(
            name=ENVOY_NAMESPACE,
            part_of="base",
            allow=(api, from_api_server(site, [9443]), *envoy_namespace_rules()),
        ),
    }


def _held(context: Context, name: str) -> SiteCaArgs:
    """Return an authority whose key the site holds."""
    certificate, key = authority(context.site, name)
    return SiteCaArgs(certificate=certificate, key=pulumi.Output.secret(key), simulated=context.simulated)


def _publisher(context: Context) -> Callable[[pulumi.ResourceOptions], SiteCa | Acme] | None:
    """Return what declares the issuer of the published names; None: the site's own authority signs them too.

    All that it needs has been read by then.
    """
    site, data = context.site, context.site.certificates.issuer
    if isinstance(data, CaIssuer):
        if data.authority == SITE_AUTHORITY:
            return None
        held = _held(context, data.authority)
        return lambda opts: SiteCa("public-ca", held, opts)
    asked = AcmeArgs(
        issuer=data,
        bundle=authority_bundle(site.name, data.authority) if data.authority else "",
        secret=context.secret,
        gateway=EDGE,
        simulated=context.simulated,
    )
    return lambda opts: Acme("acme", asked, opts)


def deploy(context: Context) -> None:
    """Declare the layer and export its contract."""
    site = context.site
    # What can be missing is read before the first resource is registered.
    own, publisher = _held(context, SITE_AUTHORITY), _publisher(context)
    upstream = {name: context.manifest(name) for name in BUNDLES}
    provider = context.provider()
    top = pulumi.ResourceOptions(provider=provider)

    def after(*made: pulumi.Resource) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(provider=provider, depends_on=list(made))

    Admission("admission", top)
    spaces = {name: Namespace(f"{name}-namespace", args, top) for name, args in namespaces(site).items()}
    bundles = {
        name: Bundle(
            name,
            BundleArgs(objs=objs, kind=site.kind, patches=patches(site).get(name, {})),
            after(spaces[name]) if name in spaces else top,
        )
        for name, objs in upstream.items()
    }
    LoadBalancer("front-door", LoadBalancerArgs(front_door=site.front_door), after(bundles["metallb"]))
    signer = SiteCa("site-ca", own, after(bundles["cert-manager"]))
    public = publisher(after(bundles["cert-manager"])) if publisher else signer
    edge = Namespace(
        f"{EDGE}-namespace", NamespaceArgs(name=EDGE, part_of="base", publishes=_asks_acme(site)), top
    )
    Gateway(
        EDGE,
        GatewayArgs(
            namespace=EDGE,
            address=site.front_door.gateway,
            image=ENVOY_IMAGE,
            replicas=1 if site.kind is SiteKind.LAB else 2,
            simulated=context.simulated,
            solvers=_asks_acme(site),
        ),
        after(edge, bundles["envoy-gateway"], bundles["metallb"]),
    )
    promise = BaseContract(
        cluster=context.cluster,
        storage_class=STORAGE_CLASS,
        issuer=public.issuer,
        site_issuer=signer.issuer,
        gateway=EDGE,
        gateway_namespace=EDGE,
    )
    pulumi.export(contract.OUTPUT, promise.model_dump(mode="json"))
