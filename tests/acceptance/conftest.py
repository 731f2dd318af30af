"""The running lab, looked at from outside: SSH to machines, kubectl to the cluster, clients of the outside."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import testinfra

from infra import paths
from infra.model.platform import load_platform
from infra.model.site import Site, load_site

SITE = "lab"
#: The site's authority, on the client outside.
CA = "/usr/local/share/ca-certificates/tinh-site.crt"


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.lab)


def tinh(*args, timeout=3600):
    """Run the command line as a user would."""
    command = [sys.executable, "-m", "cli.main", *args]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, check=False, cwd=paths.REPO
    )


@dataclass
class Lab:
    site: Site

    def machine(self, name):
        config = paths.state(SITE).ssh / "config"
        return testinfra.get_host(f"ssh://{name}", ssh_config=str(config))

    def machines(self, role):
        return [self.machine(m.name) for m in self.site.by_role(role)]

    def kubectl(self, *args, check=True, stdin=None, timeout=300):
        from lab.toolchain import bin_dir

        command = [str(bin_dir() / "kubectl"), "--kubeconfig", str(paths.state(SITE).kubeconfig), *args]
        result = subprocess.run(
            command, capture_output=True, text=True, input=stdin, timeout=timeout, check=False
        )
        if check:
            assert result.returncode == 0, f"{' '.join(args)}: {result.stderr}"
        return result

    def get(self, *args):
        return json.loads(self.kubectl("get", *args, "-o", "json").stdout)

    def client(self, mode, command):
        """Run a command on the outside: client `ipv4`, `ipv6` or `dual`."""
        return self.machine("client1").run(f"ip netns exec {mode} {command}")


@pytest.fixture(scope="session")
def lab():
    """The lab with all layers; what is missing is brought up first."""
    result = tinh("up", "--site", SITE, "--yes")
    print(result.stdout[-2000:], file=sys.stderr)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return Lab(load_site(SITE))


def url(lab, platform, path=""):
    return f"https://{lab.site.public_name(load_platform(platform).public_names[0])}{path}"


def people(lab, mode="dual", **asked):
    """Let somebody outside do something; what is said goes through standard input."""
    client = lab.machine("client1")
    for name, text in (
        ("people.py", Path(__file__).with_name("people.py").read_text("utf-8")),
        ("asked", json.dumps({"ca": CA} | asked)),
    ):
        client.run(f"umask 077; cat > /tmp/{name} <<'EOF'\n{text}\nEOF")
    done = lab.client(mode, "sh -c 'python3 /tmp/people.py < /tmp/asked'")
    client.run("rm -f /tmp/asked")
    assert done.rc == 0, done.stderr[-1500:]
    return json.loads(done.stdout)


def realm(lab):
    """Where people sign in, and as whom accounts are made there."""
    return {
        "identity": url(lab, "identity"),
        "realm": load_platform("identity").realm,
        "admin": (paths.state(SITE).root / "secrets" / "identity-admin").read_text().strip(),
    }


@pytest.fixture(scope="module")
def enrol(lab):
    """Enrol people in groups of the realm; they leave at the end."""
    known = realm(lab)
    enrolled = []

    def one(*groups):
        user, password = f"test-{secrets.token_hex(4)}", f"Aa1!{secrets.token_urlsafe(18)}"
        people(lab, do="enrol", user=user, password=password, groups=list(groups), **known)
        enrolled.append(user)
        return {"user": user, "password": password}

    yield one
    for user in enrolled:
        people(lab, do="leave", user=user, **known)
