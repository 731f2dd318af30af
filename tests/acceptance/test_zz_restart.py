"""A machine that goes away comes back by itself. Last by name: it disturbs the others."""

import time

from infra import paths
from lab import podman, topology


def test_a_restarted_worker_becomes_ready_and_the_platform_answers_again(lab):
    container = topology.prefix(paths.instance()) + "node1"
    podman.run("restart", "--time", "10", container)
    podman_up = time.monotonic()
    from lab.toolchain import artifact
    from lab.up import start_machines

    start_machines(lab.site, artifact("rootfs-machine"), print)
    name = lab.site.public_name("id")
    deadline = podman_up + 400
    answers = {}
    while time.monotonic() < deadline:
        answers = {
            mode: lab.client(
                mode,
                f"curl -sSL -m 5 --cacert /usr/local/share/ca-certificates/tinh-site.crt -o /dev/null "
                f"-w '%{{http_code}}' https://{name}/realms/master/account/",
            ).stdout
            for mode in ("ipv4", "ipv6")
        }
        if set(answers.values()) == {"200"}:
            break
        time.sleep(3)
    assert set(answers.values()) == {"200"}
    lab.kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=60s")
