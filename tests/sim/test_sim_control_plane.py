"""What the sim's control plane does, seen through its API."""

import ipaddress
import json
import subprocess
import time
import uuid

import pytest
import requests

from infra.model.site import load_site
from lab.sim.engine import SITE

pytestmark = pytest.mark.sim


def eventually(look, seconds=30):
    """Return the first truthy result of `look`, or its last result."""
    deadline = time.monotonic() + seconds
    while not (result := look()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return result


@pytest.fixture
def namespace(api):
    name = f"t-{uuid.uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    api.call("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})
    yield f"/api/v1/namespaces/{name}"
    api.call("DELETE", f"/api/v1/namespaces/{name}")


SAFE = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def pod(name, security=SAFE, **spec):
    container = {"name": "main", "image": "none.invalid/none", "securityContext": security}
    return {"metadata": {"name": name, "labels": {"app": name}}, "spec": {"containers": [container], **spec}}


def test_nodes_are_ready_with_both_families(api):
    nodes = api.call("GET", "/api/v1/nodes")["items"]
    assert len(nodes) == 3
    for node in nodes:
        addresses = [a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP"]
        assert [ipaddress.ip_address(address).version for address in addresses] == [6, 4]
        assert [ipaddress.ip_network(cidr).version for cidr in node["spec"]["podCIDRs"]] == [6, 4]
        ready = [c["status"] for c in node["status"]["conditions"] if c["type"] == "Ready"]
        assert ready == ["True"]


def test_the_version_is_the_site_s(api):
    assert api.call("GET", "/version")["gitVersion"] == "v" + load_site(SITE).cluster.version


def test_a_dual_stack_service_gets_ipv6_first_and_addresses_of_the_pool(api, namespace):
    spec = {"type": "LoadBalancer", "ipFamilyPolicy": "RequireDualStack", "ports": [{"port": 80}]}
    service = {"metadata": {"name": "web"}, "spec": spec}
    made = api.call("POST", f"{namespace}/services", service)
    assert [ipaddress.ip_address(a).version for a in made["spec"]["clusterIPs"]] == [6, 4]

    def ingress():
        return api.call("GET", f"{namespace}/services/web")["status"]["loadBalancer"].get("ingress")

    given = [ipaddress.ip_address(entry["ip"]) for entry in eventually(ingress)]
    pool = load_site(SITE).front_door.pool
    assert [a.version for a in given] == [6, 4]
    assert given[0] in pool.ipv6
    assert given[1] in pool.ipv4


def test_a_pod_becomes_ready_with_both_families(api, namespace):
    api.call("POST", f"{namespace}/pods", pod("runs"))

    def ready():
        status = api.call("GET", f"{namespace}/pods/runs")["status"]
        return status if status.get("phase") == "Running" else None

    status = eventually(ready)
    assert [ipaddress.ip_address(entry["ip"]).version for entry in status["podIPs"]] == [6, 4]
    assert {"type": "Ready", "status": "True"}.items() <= {
        key: value for c in status["conditions"] if c["type"] == "Ready" for key, value in c.items()
    }.items()


def test_a_job_completes(api, namespace):
    name = namespace.rpartition("/")[2]
    template = pod("job", restartPolicy="Never")
    job = {"metadata": {"name": "job"}, "spec": {"template": template}}
    api.call("POST", f"/apis/batch/v1/namespaces/{name}/jobs", job)
    path = f"/apis/batch/v1/namespaces/{name}/jobs/job"
    assert eventually(lambda: api.call("GET", path)["status"].get("succeeded")) == 1


def test_a_claim_is_bound_and_its_volume_goes_with_it(api, namespace):
    name = f"sc-{uuid.uuid4().hex[:8]}"
    storage_class = {
        "metadata": {"name": name},
        "provisioner": "example.org/none",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    api.call("POST", "/apis/storage.k8s.io/v1/storageclasses", storage_class)
    claim = {
        "metadata": {"name": "data"},
        "spec": {
            "storageClassName": name,
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    api.call("POST", f"{namespace}/persistentvolumeclaims", claim)
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    api.call("POST", f"{namespace}/pods", pod("uses", volumes=volumes))
    running = eventually(lambda: api.call("GET", f"{namespace}/pods/uses")["status"]["phase"] == "Running")
    assert running
    bound = api.call("GET", f"{namespace}/persistentvolumeclaims/data")
    assert bound["status"]["phase"] == "Bound"
    api.call("DELETE", f"{namespace}/pods/uses")
    api.call("DELETE", f"{namespace}/persistentvolumeclaims/data")
    api.call("DELETE", f"/apis/storage.k8s.io/v1/storageclasses/{name}")

    def volume_gone():
        items = api.call("GET", "/api/v1/persistentvolumes")["items"]
        return bound["spec"]["volumeName"] not in [item["metadata"]["name"] for item in items]

    assert eventually(volume_gone)


def test_pod_security_refuses_a_privileged_pod(api, namespace):
    with pytest.raises(requests.HTTPError) as error:
        api.call("POST", f"{namespace}/pods", pod("bad", {"privileged": True}))
    assert error.value.response.status_code == 403
    assert "PodSecurity" in error.value.response.text


def test_a_validating_admission_policy_refuses(api, namespace):
    name = namespace.rpartition("/")[2]
    group = "/apis/admissionregistration.k8s.io/v1"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
    policy = {
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": "object.metadata.name != 'bad'", "message": "no bad names"}],
        },
    }
    selector = {"matchLabels": {"kubernetes.io/metadata.name": name}}
    binding = {
        "metadata": {"name": name},
        "spec": {
            "policyName": name,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": selector},
        },
    }
    api.call("POST", f"{group}/validatingadmissionpolicies", policy)
    api.call("POST", f"{group}/validatingadmissionpolicybindings", binding)

    def refused():
        try:
            api.call("POST", f"{namespace}/configmaps?dryRun=All", {"metadata": {"name": "bad"}})
        except requests.HTTPError as error:
            return error.response.text
        return None

    try:
        assert "no bad names" in (eventually(refused) or "")
        api.call("POST", f"{namespace}/configmaps?dryRun=All", {"metadata": {"name": "good"}})
    finally:
        api.call("DELETE", f"{group}/validatingadmissionpolicybindings/{name}")
        api.call("DELETE", f"{group}/validatingadmissionpolicies/{name}")


def etcd(sim, key):
    """Return the raw value of a key, as it lies in etcd."""
    from lab.toolchain import bin_dir

    port = json.loads(sim.layout.ports.read_text())["etcd"]
    pki = sim.layout.pki
    argv = [
        bin_dir() / "etcdctl",
        f"--endpoints=https://[::1]:{port}",
        f"--cacert={pki}/ca.crt",
        f"--cert={pki}/etcd-client.crt",
        f"--key={pki}/etcd-client.key",
        "get",
        "--print-value-only",
        key,
    ]
    return subprocess.run(argv, check=True, capture_output=True).stdout


def test_a_secret_is_encrypted_at_rest_and_other_objects_are_not(sim, api, namespace):
    name = namespace.rpartition("/")[2]
    marker = uuid.uuid4().hex
    api.call("POST", f"{namespace}/secrets", {"metadata": {"name": "s"}, "stringData": {"k": marker}})
    api.call("POST", f"{namespace}/configmaps", {"metadata": {"name": "c"}, "data": {"k": marker}})
    secret = etcd(sim, f"/registry/secrets/{name}/s")
    assert secret.startswith(b"k8s:enc:secretbox:v1:key1:")
    assert marker.encode() not in secret
    assert marker.encode() in etcd(sim, f"/registry/configmaps/{name}/c")  # the look at etcd finds clear text


def test_etcd_and_the_api_refuse_strangers(sim, api):
    port = json.loads(sim.layout.ports.read_text())["etcd"]
    with pytest.raises(requests.ConnectionError):
        requests.get(f"https://[::1]:{port}/version", verify=str(sim.layout.pki / "ca.crt"), timeout=5)
    answer = requests.get(f"{api.url}/api/v1/secrets", verify=str(sim.layout.pki / "ca.crt"), timeout=5)
    assert answer.status_code == 403


def test_changes_are_audited_without_their_content(sim, api, namespace):
    marker = uuid.uuid4().hex
    body = {"metadata": {"name": f"audited-{marker[:8]}"}, "stringData": {"k": marker}}
    api.call("POST", f"{namespace}/secrets", body)

    def entries():
        lines = sim.layout.audit.read_text().splitlines()
        return [line for line in lines if f"audited-{marker[:8]}" in line]

    (entry,) = [json.loads(line) for line in eventually(entries)]
    assert (entry["verb"], entry["user"]["username"]) == ("create", "tinh:admin")
    assert marker not in sim.layout.audit.read_text()
