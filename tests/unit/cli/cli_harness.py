"""Runs `tinh` with the fake Pulumi, a site of kind sim and nothing else of this machine.

As a program: `cli_harness.py FOLDER ARGUMENT...`, for the tests that send signals.
"""

import os
import stat
import sys
from pathlib import Path

from infra import paths

HERE = Path(__file__).parent
SITE = "sim"


def install(folder, setattr_):
    """Point `tinh` into a folder.

    Args:
        folder: an empty or used folder of a test.
        setattr_: `setattr`, or pytest's, which undoes it.
    """
    import infra.cluster
    import lab.sim.engine
    import lab.toolchain
    import stacks.layers

    binaries = folder / "bin"
    binaries.mkdir(exist_ok=True)
    pulumi = binaries / "pulumi"
    pulumi.write_text(f"#!{sys.executable}\n{(HERE / 'fake_pulumi.py').read_text()}")
    pulumi.chmod(pulumi.stat().st_mode | stat.S_IXUSR)
    plugin = folder / "artifact" / "plugins" / "resource-kubernetes-v0.0.1" / "pulumi-resource-kubernetes"
    plugin.parent.mkdir(parents=True, exist_ok=True)
    plugin.touch()
    (folder / "repo").mkdir(exist_ok=True)
    setattr_(paths, "REPO", folder / "repo")
    setattr_(lab.toolchain, "bin_dir", lambda: binaries)
    setattr_(lab.toolchain, "artifact", lambda name: folder / "artifact")
    setattr_(lab.toolchain, "ensure", lambda names: {})
    setattr_(infra.cluster, "check_cluster", lambda site: "uid")
    setattr_(lab.sim.engine.Sim, "up", lambda *_, **__: None)
    setattr_(stacks.layers, "layers_of", lambda site: ("base", "platforms"))
    os.environ["FAKE_PULUMI"] = str(folder)
    os.environ["TINH_STATE"] = str(folder / "state")
    os.environ["TINH_CACHE"] = str(folder / "cache")
    os.environ["TINH_SITE"] = SITE


if __name__ == "__main__":
    from cli import main, runner

    install(Path(sys.argv.pop(1)), setattr)
    runner.GRACE = 0.5
    main.main()
