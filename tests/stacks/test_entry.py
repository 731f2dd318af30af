"""The way in: stack names, the cluster's identity, contracts, the site's secrets."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pulumi
import pytest

from infra import cluster, contract, paths
from infra.contract import BaseContract
from infra.errors import HostError, RefusedError, TinhError, ToolError
from infra.model.platform import load_platform
from infra.model.site import Site
from infra.stackinfo import StackInfo, parse_stack
from stacks import layers, platforms
from stacks.context import authority
from stacks.site_secrets import site_secret
from tests.conftest import Deploy


def fake_kubectl(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a kubectl on PATH that answers with a script."""
    folder.mkdir()
    file = folder / "kubectl"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def answer(uid: str) -> str:
    return f"echo '{json.dumps({'metadata': {'uid': uid}})}'"


def record(site: Site, uid: str) -> None:
    state = paths.state(site.name)
    state.kubeconfig.write_text("kubeconfig")
    state.cluster.write_text(json.dumps({"uid": uid}))


def test_the_recorded_cluster_is_accepted(lab: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(lab, "one")
    fake_kubectl(tmp_path / "bin", monkeypatch, answer("one"))
    assert cluster.check_cluster(lab) == "one"


def test_another_cluster_is_refused_and_both_are_named(
    lab: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(lab, "recorded-uid")
    fake_kubectl(tmp_path / "bin", monkeypatch, answer("live-uid"))
    with pytest.raises(RefusedError, match=r"live-uid.*recorded-uid"):
        cluster.check_cluster(lab)


def test_a_cluster_that_does_not_answer_is_an_error_of_a_tool(
    lab: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(lab, "one")
    fake_kubectl(tmp_path / "bin", monkeypatch, "echo 'connection refused' >&2; exit 1")
    with pytest.raises(ToolError, match="connection refused"):
        cluster.check_cluster(lab)


@pytest.mark.parametrize("text", [None, "", "{}", "[]", "no json"])
def test_without_a_recorded_cluster_nothing_is_asked(lab: Site, text: str | None) -> None:
    if text is not None:
        paths.state(lab.name).cluster.write_text(text)
    with pytest.raises(HostError, match="no cluster is recorded"):
        cluster.check_cluster(lab)


def test_a_missing_kubeconfig_is_named(lab: Site) -> None:
    paths.state(lab.name).cluster.write_text(json.dumps({"uid": "one"}))
    with pytest.raises(HostError, match="no kubeconfig"):
        cluster.check_cluster(lab)


def test_without_kubectl_the_way_out_is_named(lab: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    record(lab, "one")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(HostError, match="tinh env"):
        cluster.check_cluster(lab)


def test_a_layer_without_a_program_names_those_that_exist(lab: Site) -> None:
    with pytest.raises(TinhError, match="network, base, data, platforms"):
        layers.deploy(StackInfo("tenant", lab.name), lab)


def run_program(stack: str) -> subprocess.CompletedProcess[str]:
    """Run the program as the language host does: the folder as a script, with `stacks/` first on the path."""
    code = (
        "import runpy, sys; from pulumi.runtime.mocks import set_mocks, Mocks\n"
        "class M(Mocks):\n"
        "    def new_resource(self, args): return args.name, args.inputs\n"
        "    def call(self, args): return {}\n"
        "import pulumi, asyncio; asyncio.set_event_loop(asyncio.new_event_loop())\n"
        f"set_mocks(M(), project='tinh', stack={stack!r})\n"
        "try: runpy.run_path('stacks', run_name='__main__')\n"
        "except pulumi.RunError as error: print('RunError', error)\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code], cwd=paths.REPO, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.parametrize(
    ("stack", "says"),
    [
        ("roof.lab", "unknown layer 'roof'"),
        ("base.nowhere", "unknown site 'nowhere'"),
        ("tenant.lab.stnmt", "use one of the layers that exist: network, base, data, platforms"),
        ("base.lab", "no cluster is recorded"),
    ],
)
def test_the_program_ends_a_users_error_without_a_traceback(state: Path, stack: str, says: str) -> None:
    done = run_program(stack)
    assert done.stdout.startswith("RunError")
    assert says in done.stdout
    assert done.stderr == ""


def test_a_layer_that_was_never_deployed_is_named_by_the_one_above(deploy: Deploy, lab: Site) -> None:
    from stacks.context import Context

    context = Context(
        info=parse_stack("platforms.lab"),
        site=lab,
        cluster="c",
        manifest=lambda _: [],
        secret=lambda name: pulumi.Output.secret(name),
    )
    with pytest.raises(pulumi.RunError, match=r"pulumi up -s (base|data)\.lab"):
        deploy(lambda: platforms.deploy(context), stack="platforms.lab")


@pytest.mark.parametrize("output", ["text", {"cluster": "c"}, {"colour": "red"}])
def test_a_contract_of_another_form_is_refused(output: object) -> None:
    with pytest.raises(TinhError, match=r"base\.lab does not fit"):
        contract.read(BaseContract, output, "base.lab")


def test_a_platform_without_a_component_is_refused() -> None:
    facts = load_platform("identity").model_copy(update={"id": "nothing"})
    with pytest.raises(TinhError, match="no component"):
        platforms.component(facts)


def test_a_secret_is_made_once_and_only_its_owner_reads_it(lab: Site, state: Path) -> None:
    first = site_secret(lab, "identity-admin")
    assert site_secret(lab, "identity-admin") == first
    assert site_secret(lab, "other") != first
    assert len(first) >= 32
    file = state / "lab" / "secrets" / "identity-admin"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_site_without_an_authority_is_told_what_to_do(lab: Site) -> None:
    with pytest.raises(TinhError, match="no certificate authority"):
        authority(lab, "ca")
