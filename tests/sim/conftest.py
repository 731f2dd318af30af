"""One sim of its own for all tests here, apart from the developer's."""

import pytest

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
