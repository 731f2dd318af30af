"""One sim of its own for all tests here, apart from the developer's."""

import os

import pytest

from infra import paths
from lab import toolchain
from lab.sim.api import Api
from lab.sim.engine import Sim


@pytest.fixture(scope="session")
def sim(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINH_STATE", str(tmp_path_factory.mktemp("state")))
        patch.setenv("TINH_INSTANCE", "simtest")
        own = Sim()
        try:
            own.up()
            yield own
        finally:
            own.down(purge=True)


@pytest.fixture(scope="session")
def api(sim):
    return Api(sim.state.kubeconfig)


@pytest.fixture(scope="session")
def binaries():
    """Where the programs are, Pulumi's among them; they are built on a fresh machine."""
    toolchain.ensure(["pulumi", "pulumi-language-python"], progress=False)
    return toolchain.bin_dir()


@pytest.fixture
def real_pulumi(binaries, tmp_path, monkeypatch):
    """`tinh` with the real Pulumi in a folder of its own, `repo`, and no cluster; returns where the programs are."""
    for name in [name for name in os.environ if name.startswith(("PULUMI_", "TINH_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("lab.toolchain.bin_dir", lambda: binaries)
    monkeypatch.setattr("lab.toolchain.artifact", lambda name: tmp_path / "no-plugins")
    monkeypatch.setattr("lab.toolchain.ensure", lambda names: {})
    monkeypatch.setattr("infra.cluster.check_cluster", lambda site: "uid")
    monkeypatch.setattr("lab.sim.engine.Sim.up", lambda *_, **__: None)
    monkeypatch.setattr(paths, "REPO", tmp_path / "repo")
    monkeypatch.setenv("TINH_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("TINH_SITE", "sim")
    monkeypatch.setenv("PATH", os.environ["PATH"])  # registered, so that it is restored
    (tmp_path / "repo" / "stacks" / "config").mkdir(parents=True)
    return binaries
