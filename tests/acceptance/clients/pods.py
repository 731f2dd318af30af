"""Pods in which the acceptance tests are an application: what its Secrets hold lies below /access."""

import contextlib
import json
from pathlib import Path

CLIENTS = Path(__file__).parent
PYTHON = "ghcr.io/cloudnative-pg/plugin-barman-cloud-sidecar:v0.14.0"
REDIS = "docker.io/library/redis:7.0.15-bookworm"
#: The lab's application for tests (stacks/sites/lab/data.yaml), also its namespace.
PROBE = "probe"
SLEEP = ("sleep", "infinity")


def client_pod(namespace, name, image, secrets, command):
    """Return a pod of level `restricted` that sleeps, with Secrets below /access."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "client",
                    "image": image,
                    "command": list(command),
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [
                        {"name": item, "mountPath": f"/access/{item}", "readOnly": True} for item in secrets
                    ],
                }
            ],
            "volumes": [{"name": item, "secret": {"secretName": item}} for item in secrets],
        },
    }


class Client:
    """A pod in which commands are run."""

    def __init__(self, lab, namespace, name):
        self.lab, self.at = lab, ("-n", namespace, name)

    def run(self, *command, check=True, stdin=None):
        return self.lab.kubectl("exec", "-i", *self.at, "--", *command, check=check, stdin=stdin)

    def python(self, library, text):
        """Run Python after one of the files in `clients`; what it prints last is JSON."""
        script = (CLIENTS / f"{library}.py").read_text() + text
        return json.loads(self.run("/venv/bin/python3", "-", stdin=script).stdout.splitlines()[-1])


def python_pod(name, secrets):
    """Return a pod of the application with Python and boto3."""
    sleep = ["/venv/bin/python3", "-c", "import time; time.sleep(1e6)"]
    return client_pod(PROBE, name, PYTHON, secrets, sleep)


@contextlib.contextmanager
def running(lab, objs):
    """Make objects, and remove them in the end; return the pods among them by name, ready."""
    wanted = json.dumps({"apiVersion": "v1", "kind": "List", "items": objs})
    pods = {obj["metadata"]["name"]: obj["metadata"]["namespace"] for obj in objs if obj["kind"] == "Pod"}
    lab.kubectl("apply", "-f", "-", stdin=wanted)
    try:
        for name, namespace in pods.items():
            lab.kubectl("-n", namespace, "wait", "--for=condition=Ready", f"pod/{name}", "--timeout=180s")
        yield {name: Client(lab, namespace, name) for name, namespace in pods.items()}
    finally:
        lab.kubectl("delete", "--wait=false", "-f", "-", stdin=wanted, check=False)
