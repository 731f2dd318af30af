"""Every rendered file of a real province is read by the programs that would use it, on a machine that has them."""

import io
import subprocess
import tarfile

import pytest

from infra import paths
from infra.model.net import DualAddress
from infra.network.of_site import fabric_of
from infra.providers.router.files import FILES
from infra.render.names import render_reverse, render_units
from infra.render.options import Options
from infra.render.router import Renderer
from lab import topology
from lab.outside.up import outside_of

SITE, EPOCH, ZONE = "quang-binh", "2023", "quang-binh.tinh.test"
CENTRE = DualAddress.model_validate({"ipv6": "fd77::c9", "ipv4": "10.77.0.201"})
FULL = Options.model_validate(
    {
        "dns": CENTRE,
        "authority": {"server": CENTRE, "zones": [ZONE], "anchors": [f"{ZONE}. IN DS 1 13 2 {'ab' * 32}"]},
        "ntp": CENTRE,
        "syslog": {"server": CENTRE, "name": f"logs.{ZONE}"},
        "snmp": {"user": "reader", "auth": "only-for-parsers", "privacy": "only-for-parsers"},
    }
)
#: File -> what reads it; the last word is the file. nft asks the kernel: in a network namespace of its own.
CHECKS = {name: " ".join(file.check).replace("{}", "") for name, file in FILES.items() if file.check}
CHECKS["nftables.conf"] = f"unshare -n {CHECKS['nftables.conf']}"


#: What only core routers have.
CORE_ONLY = ["unbound.conf"]


def archive(texts):
    """Return a tar file of path -> text."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for path, text in texts.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(raw := text.encode()), 0o644
            tar.addfile(entry, io.BytesIO(raw))
    return data.getvalue()


@pytest.fixture(scope="module")
def machine(lab):
    name = topology.prefix(paths.instance()) + outside_of(lab.site).hosts
    return ["podman", "exec", "-i", name, "sh", "-c"]


def refused(machine, texts, script):
    """Return what a script in a folder with the texts prints: one line for each file that is refused."""
    place = "d=$(mktemp -d); trap 'rm -rf $d' EXIT; cd $d; tar x; "
    done = subprocess.run(
        [*machine, place + script], input=archive(texts), capture_output=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return done.stdout.decode().splitlines()


def reading(check, name):
    return f"for f in */{name}; do {check} $f >/tmp/said 2>&1 || echo $f: $(tail -n 2 /tmp/said); done"


@pytest.fixture(scope="module")
def rendered():
    return Renderer(fabric_of(SITE, EPOCH), FULL).all_files()


@pytest.mark.parametrize("name", [name for name in CHECKS if name not in CORE_ONLY])
def test_every_router_of_the_province_has_a_file_that_its_program_takes(machine, rendered, name):
    texts = {f"{router}/{name}": files[name] for router, files in rendered.items() if name in files}
    assert len(texts) > 150
    assert refused(machine, texts, reading(CHECKS[name], name)) == []
    broken = {path: text + "\nthis is no configuration {\n" for path, text in list(texts.items())[:1]}
    assert len(refused(machine, broken, reading(CHECKS[name], name))) == 1


@pytest.mark.parametrize("name", CORE_ONLY)
def test_every_core_router_has_a_file_that_its_program_takes(machine, rendered, name):
    texts = {f"{router}/{name}": files[name] for router, files in rendered.items() if name in files}
    assert len(texts) == 2
    assert refused(machine, texts, reading(CHECKS[name], name)) == []
    broken = {path: text + "\nthis is no configuration {\n" for path, text in list(texts.items())[:1]}
    assert len(refused(machine, broken, reading(CHECKS[name], name))) == 1


def test_the_zones_of_the_units_are_taken_by_a_name_server(machine):
    plan = fabric_of(SITE, EPOCH).plan
    zones = {ZONE: render_units(plan, ZONE, CENTRE, 1)} | render_reverse(plan, ZONE, 1)
    check = "for f in *; do named-checkzone -q $f $f || echo $f; done"
    assert refused(machine, zones, check) == []
    assert refused(machine, {ZONE: zones[ZONE] + "x IN A 10.0.0.256\n"}, check) == [ZONE]
