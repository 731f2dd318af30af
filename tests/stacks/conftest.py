"""Whole stacks as they would be declared: small bundles instead of upstream's, no cluster, no secrets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pulumi
import pytest

from infra import paths
from infra.components.bundle import load
from infra.contract import BaseContract, DataContract
from infra.model.data import load_data
from infra.model.site import load_site
from infra.stackinfo import parse_stack
from stacks import base, data, network, platforms
from stacks.context import Context
from tests.conftest import Deploy, Engine, known_key

BUNDLES = Path(__file__).parent / "bundles"
UID = "00000000-0000-4000-8000-000000000001"
BASE = BaseContract(
    cluster=UID,
    storage_class="local-path",
    issuer="site-ca",
    site_issuer="site-ca",
    gateway="edge",
    gateway_namespace="edge",
)
LAYERS = {
    "network": network.deploy,
    "base": base.deploy,
    "data": data.deploy,
    "platforms": platforms.deploy,
}


@pytest.fixture
def declare(deploy: Deploy, state: Path) -> Callable[[str], Engine]:
    """Return a function that declares the stack of a name."""

    def run(stack: str) -> Engine:
        info = parse_stack(stack)
        site = load_site(info.site)
        pki = paths.state(site.name).pki
        pki.mkdir(exist_ok=True)
        (pki / "ca.crt").write_text("CERTIFICATE")
        (pki / "ca.key").write_text("KEY")
        known_key(site.name)
        context = Context(
            info=info,
            site=site,
            cluster=UID,
            manifest=lambda name: load(BUNDLES / f"{name}.yaml"),
            secret=lambda name: pulumi.Output.secret(f"secret of {name}"),
        )
        below = DataContract(
            authority="CERTIFICATE",
            objects="https://objects.objects.svc",
            streams="tls://streams.streams.svc:4222",
            mail="mail.mail.svc",
            classes=load_data(site).classes,
        )
        contracts = {
            f"organization/tinh/{layer}.{site.name}": {"contract": promise.model_dump(mode="json")}
            for layer, promise in (("base", BASE), ("data", below))
        }
        return deploy(lambda: LAYERS[info.layer](context), stack=stack, outputs_of=contracts)

    return run
