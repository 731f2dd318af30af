"""Routers as resources with the real Pulumi CLI: the provider is the real one, its routers are files in a folder.

Through `tinh` where it has options of its own for the layer, through plain `pulumi` for the rest.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cli import backend, main
from cli.runner import environment
from infra import paths
from infra.model.site import load_site
from tests.unit.router.fleet import FolderFleet, Router

pytestmark = [pytest.mark.sim, pytest.mark.slow]

SITE = "sim"
STACK = f"network.{SITE}"
REPO = Path(__file__).parents[2]
PROGRAM = """
import json, pathlib, sys
sys.path.insert(0, REPO)
import pulumi
from infra.components.network.router import RouterConfig, RouterConfigArgs

declared = json.loads((pathlib.Path(__file__).parent / "program.json").read_text())
for name, files in declared.items():
    secret = {file: pulumi.Output.secret(text) for file, text in files.items() if "hunter2" in text}
    RouterConfig(name, RouterConfigArgs(host=name, files=files | secret, confirm_seconds=30))
"""
PLUGIN = """\
#!PYTHON
import pathlib, sys
sys.path.insert(0, REPO)
from infra.providers.router.provider import RouterProvider
from infra.providers.router.serve import main
from tests.unit.router.fleet import FolderFleet

main(RouterProvider(lambda site: FolderFleet(pathlib.Path(FLEET))))
"""
FRR = "".join(f"interface eth{n}\n ip address 10.0.{n}.1/24\n!\n" for n in range(20))
NFT = "flush ruleset\ntable inet filter {\n}\n"


class Stand:
    """Two routers, a program that declares them, and the commands."""

    def __init__(self, folder, monkeypatch, capfd):
        self.folder, self.monkeypatch, self.capfd = folder, monkeypatch, capfd
        self.fleet = FolderFleet(folder / "fleet")
        self.files = {"core1": {"frr.conf": FRR, "nftables.conf": NFT}, "core2": {"frr.conf": FRR}}

    def declare(self):
        (self.folder / "repo" / "stacks" / "program.json").write_text(json.dumps(self.files))

    def tinh(self, *arguments):
        self.declare()
        self.monkeypatch.setattr(sys, "argv", ["tinh", *arguments])
        self.capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main.main()
        out, err = self.capfd.readouterr()
        return int(ended.value.code), out + err

    def pulumi(self, *arguments):
        self.declare()
        done = subprocess.run(
            ["pulumi", *arguments, "--stack", STACK, "--non-interactive", "--color", "never"],
            cwd=self.folder / "repo", env={**os.environ, **environment(load_site(SITE))},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def edit(self, host, **changes):
        """Change a router by hand: attributes, or entries of them."""
        router = self.fleet.load(host)
        for name, value in changes.items():
            setattr(router, name, {**getattr(router, name), **value} if isinstance(value, dict) else value)
        self.fleet.save(host, router)


@pytest.fixture
def stand(real_pulumi, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("stacks.layers.layers_of", lambda site: ("network",))
    monkeypatch.setenv("PATH", f"{real_pulumi}:{os.environ['PATH']}")
    stacks, plugins = tmp_path / "repo" / "stacks", tmp_path / "repo" / ".venv" / "bin"
    for folder in (plugins, tmp_path / "fleet"):
        folder.mkdir(parents=True)
    (stacks / "__main__.py").write_text(PROGRAM.replace("REPO", repr(str(REPO))))
    plugin = plugins / "pulumi-resource-tinh"
    plugin.write_text(
        PLUGIN.replace("PYTHON", sys.executable)
        .replace("REPO", repr(str(REPO)))
        .replace("FLEET", repr(str(tmp_path / "fleet")))
    )
    plugin.chmod(0o755)
    project = yaml.safe_load((REPO / "Pulumi.yaml").read_text())
    assert project["plugins"]["providers"] == [{"name": "tinh", "path": ".venv/bin"}]
    project["runtime"]["options"]["virtualenv"] = sys.prefix
    (tmp_path / "repo" / "Pulumi.yaml").write_text(yaml.safe_dump(project))
    made = Stand(tmp_path, monkeypatch, capfd)
    for host in made.files:
        made.fleet.save(host, Router())
    return made


def test_life_of_two_routers(stand):
    code, text = stand.tinh("up", "--yes")
    assert code == 0, text
    assert stand.fleet.load("core1").files == stand.files["core1"]
    code, text = stand.tinh("diff")
    assert code == 0, text

    # A change shows as lines, with what is around them, and nothing else.
    stand.files["core1"]["frr.conf"] = FRR.replace("10.0.9.1", "10.9.9.1")
    for _, text in (stand.tinh("diff"), stand.pulumi("preview", "--diff")):
        lines = [line.strip() for line in text.splitlines()]
        assert "-  ip address 10.0.9.1/24" in lines
        assert "+  ip address 10.9.9.1/24" in lines
        assert "ip address 10.0.3.1/24" not in text
        assert "core2" not in text
    assert stand.tinh("up", "--yes")[0] == 0
    assert stand.tinh("diff")[0] == 0

    # Hand edits, of a file and at run time, are seen by plain `refresh`, by `tinh diff`, and repaired by `up`.
    stand.edit("core2", files={"frr.conf": FRR + "ip route 10.99.0.0/16 Null0\n"})
    stand.edit("core1", running={"nftables.conf": f"running {NFT}tcp dport 23 accept\n"})
    code, text = stand.pulumi("refresh", "--preview-only", "--diff")
    assert code == 0
    assert "+ ip route 10.99.0.0/16 Null0" in text
    assert '"+tcp dport 23 accept"' in text
    code, text = stand.tinh("diff")
    assert code == 3
    assert "- ip route 10.99.0.0/16 Null0" in text
    assert '"+tcp dport 23 accept"' in text
    code, text = stand.tinh("up", "--yes")
    assert code == 0, text
    assert stand.fleet.load("core2").files["frr.conf"] == FRR
    assert "dport 23" not in stand.fleet.load("core1").running["nftables.conf"]
    code, text = stand.tinh("diff")
    assert code == 0, text

    # Destroyed, they have what they had before.
    code, text = stand.tinh("down", "--yes")
    assert code == 0, text
    assert stand.fleet.load("core1").files == Router().files


def test_one_router_fails_alone(stand):
    stand.edit("core1", reachable=False)
    code, text = stand.tinh("up", "--yes")
    assert code == 5
    assert "router core1 does not answer" in text
    assert "Traceback" not in text
    assert stand.fleet.load("core2").files["frr.conf"] == FRR
    stand.edit("core1", reachable=True)
    assert stand.tinh("up", "--yes")[0] == 0

    # One that has a record keeps it, also through a refresh; what it misses is done when it is back.
    stand.edit("core2", reachable=False)
    for files in stand.files.values():
        files["frr.conf"] = FRR + "! more\n"
    code, text = stand.tinh("up", "--yes")
    assert code == 5
    assert "router core2 does not answer" in text
    assert stand.fleet.load("core1").files["frr.conf"] == FRR + "! more\n"
    code, text = stand.tinh("diff")
    assert code == 3
    assert "core2" in {r.resource.name for r in backend.read_stack(paths.state(SITE), STACK).records}
    stand.edit("core2", reachable=True)
    code, text = stand.tinh("up", "--yes")
    assert code == 0, text
    assert stand.fleet.load("core2").files["frr.conf"] == FRR + "! more\n"
    code, text = stand.tinh("diff")
    assert code == 0, text


def test_a_refused_change_names_file_and_reason_and_a_secret_stays_one(stand):
    stand.files["core1"]["frr.conf"] = "password hunter2\n"
    assert stand.tinh("up", "--yes")[0] == 0
    stand.files["core1"]["frr.conf"] = "password hunter2-new\n"
    code, text = stand.pulumi("preview", "--diff")
    assert code == 0, text
    assert "hunter2" not in text
    kept = [file for file in (stand.folder / "state").rglob("*") if file.is_file()]
    assert [file for file in kept if b"hunter2" in file.read_bytes()] == []

    stand.files["core1"] = {"frr.conf": "bad\n", "nftables.conf": "table inet a {\n}\n"}
    code, text = stand.tinh("up", "--yes")
    assert code == 5
    assert "resource 'core1' has a problem: files[\"nftables.conf\"] lacks `flush ruleset`" in text
    stand.files["core1"] = {"frr.conf": "bad\n"}
    code, text = stand.tinh("up", "--yes")
    assert code == 5
    assert "not valid, nothing was changed" in text
    assert "Traceback" not in text


def test_import_of_a_router_that_is_there(stand):
    stand.files = {}
    assert stand.tinh("up", "--yes")[0] == 0
    code, text = stand.pulumi(
        "import",
        "tinh:network:RouterConfig",
        "core1",
        "core1",
        "--yes",
        "--generate-code=false",
        "--protect=false",
    )
    assert code == 0
    stand.files = {"core1": {**Router().files, "frr.conf": FRR}}
    code, text = stand.pulumi("preview", "--diff")
    assert "interface eth0" in text
    assert "nftables.conf" not in text
