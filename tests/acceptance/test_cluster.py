"""The cluster: both families, policies, encryption at rest, audit."""

import ipaddress
import json
import time

import pytest

from infra.model.site import Role


def test_every_machine_of_the_plan_is_a_ready_node_with_both_families(lab):
    nodes = {n["metadata"]["name"]: n for n in lab.get("nodes")["items"]}
    planned = lab.site.by_role(Role.CONTROL_PLANE) + lab.site.by_role(Role.WORKER)
    assert set(nodes) == {m.name for m in planned}
    for machine in planned:
        node = nodes[machine.name]
        ready = next(c for c in node["status"]["conditions"] if c["type"] == "Ready")
        assert ready["status"] == "True"
        internal = [a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP"]
        assert internal == list(machine.primary.pair())
        assert [ipaddress.ip_network(c).version for c in node["spec"]["podCIDRs"]] == [6, 4]


def test_every_kubelet_is_measured_over_a_verified_connection(lab):
    nodes = {
        line.split()[0]: line.split()[1]
        for line in lab.kubectl("top", "nodes", "--no-headers").stdout.splitlines()
    }
    assert set(nodes) == {
        m.name for role in (Role.CONTROL_PLANE, Role.WORKER) for m in lab.site.by_role(role)
    }
    assert all(cpu.endswith("m") for cpu in nodes.values()), nodes
    (container,) = lab.get("-n", "kube-system", "deploy", "metrics-server")["spec"]["template"]["spec"][
        "containers"
    ]
    assert not [a for a in container["args"] if "insecure" in a]


def test_a_new_service_may_have_both_families_and_ipv6_comes_first(lab):
    service = lab.get("service", "kubernetes", "-n", "default")
    assert ipaddress.ip_address(service["spec"]["clusterIP"]).version == 6


def test_secrets_are_encrypted_in_etcd(lab, probe):
    lab.kubectl("-n", probe, "create", "secret", "generic", "clear", "--from-literal=word=very-visible-word")
    control = lab.machine("cp1")
    raw = control.check_output(
        "set -o pipefail; kubectl --kubeconfig /etc/kubernetes/admin.conf -n kube-system exec etcd-cp1 -- etcdctl "
        "--endpoints='https://[::1]:2379' "
        "--cacert=/etc/kubernetes/pki/etcd/ca.crt --cert=/etc/kubernetes/pki/etcd/server.crt "
        "--key=/etc/kubernetes/pki/etcd/server.key get /registry/secrets/"
        + f"{probe}/clear --print-value-only | tr -dc '[:print:]'"
    )
    assert raw.startswith("k8s:enc:secretbox:v1:")
    assert "very-visible-word" not in raw


def test_the_audit_log_knows_who_made_the_secret_and_not_what_is_in_it(lab, probe):
    lab.kubectl("-n", probe, "create", "secret", "generic", "audited", "--from-literal=word=not-for-the-log")
    log = lab.machine("cp1").check_output("tail -n 400 /var/log/kubernetes/audit.log")
    events = [json.loads(line) for line in log.splitlines()]
    mine = [e for e in events if e["verb"] == "create" and e.get("objectRef", {}).get("name") == "audited"]
    assert mine
    assert mine[0]["user"]["username"] == "kubernetes-admin"
    assert "not-for-the-log" not in log


@pytest.fixture(scope="module")
def probe(lab):
    """A namespace with a server and two clients, one on each node."""
    name = "acceptance-probe"
    lab.kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=true")
    lab.kubectl("apply", "-f", "-", stdin=json.dumps(_probe(name)))
    lab.kubectl("-n", name, "wait", "--for=condition=Ready", "pod", "--all", "--timeout=120s")
    yield name
    lab.kubectl("delete", "namespace", name, "--wait=false")


def _probe(name):
    def pod(pod_name, role, node):
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": pod_name, "namespace": name, "labels": {"role": role}},
            "spec": {
                "nodeName": node,
                "tolerations": [{"operator": "Exists"}],
                "automountServiceAccountToken": False,
                "securityContext": {
                    "runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"},
                },
                "terminationGracePeriodSeconds": 0,
                "containers": [
                    {
                        "name": "main",
                        "image": IMAGE,
                        "command": ["/bin/busybox", "sh", "-c", SERVE],
                        "securityContext": {
                            "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]},
                        },
                    }
                ],
            },
        }  # fmt: skip

    return {
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
            },
            pod("server", "server", "node1"),
            pod("friend", "friend", "cp1"),
            pod("stranger", "stranger", "cp1"),
        ],
    }


IMAGE = "docker.io/library/busybox:1.35.0"
SERVE = "while true; do echo hello | /bin/busybox nc -l -p 8080; done"


def _addresses(lab, namespace, pod):
    status = lab.get("pod", pod, "-n", namespace)["status"]
    return {ipaddress.ip_address(i["ip"]).version: i["ip"] for i in status["podIPs"]}


def _reaches(lab, namespace, source, address):
    command = ["/bin/busybox", "nc", "-w", "2", address, "8080"]
    result = lab.kubectl("-n", namespace, "exec", source, "--", *command, check=False)
    return "hello" in result.stdout


def _eventually(check, seconds=15):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if check():
            return True
        time.sleep(0.5)
    return check()


def test_policies_hold_in_both_directions_and_both_families(lab, probe):
    server = _addresses(lab, probe, "server")
    assert set(server) == {4, 6}
    for version in (4, 6):  # without a policy everybody reaches everybody, also across nodes
        for source in ("friend", "stranger"):
            assert _eventually(lambda s=source, v=version: _reaches(lab, probe, s, server[v])), (
                source,
                version,
            )

    ingress = _policy(probe, "to-server", "server", "Ingress", {"ingress": [{"from": [_pods("friend")]}]})
    lab.kubectl("apply", "-f", "-", stdin=json.dumps(ingress))
    for version in (4, 6):
        assert _eventually(lambda v=version: not _reaches(lab, probe, "stranger", server[v])), version
        assert _eventually(lambda v=version: _reaches(lab, probe, "friend", server[v])), version

    egress = _policy(probe, "from-friend", "friend", "Egress", {"egress": []})
    lab.kubectl("apply", "-f", "-", stdin=json.dumps(egress))
    for version in (4, 6):
        assert _eventually(lambda v=version: not _reaches(lab, probe, "friend", server[v])), version


def _pods(role):
    return {"podSelector": {"matchLabels": {"role": role}}}


def _policy(namespace, name, role, kind, rules):
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {**_pods(role), "policyTypes": [kind], **rules},
    }


def test_a_privileged_pod_is_refused_where_restricted_is_enforced(lab, probe):
    pod = _probe(probe)["items"][1]
    pod["metadata"]["name"] = "privileged"
    pod["spec"]["containers"][0]["securityContext"] = {"privileged": True}
    result = lab.kubectl("apply", "-f", "-", stdin=json.dumps(pod), check=False)
    assert result.returncode != 0
    assert "violates PodSecurity" in result.stderr
