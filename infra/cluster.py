"""The site's cluster: is the one behind the kubeconfig the one that was recorded?

A kubeconfig can be overwritten or point to another lab. Every deployment compares first, so that no site's
objects end up in (or are deleted from) a stranger's cluster.
"""

from __future__ import annotations

import json
import subprocess

from infra import paths
from infra.errors import HostError, RefusedError, ToolError
from infra.model.site import Site

_TIMEOUT = 20
_MAKE = "make the site's cluster first: `tinh lab up`, `tinh sim up` or the playbooks"


def recorded_uid(site: Site) -> str:
    """Return the UID that was recorded when the site's cluster was made.

    Raises:
        HostError: when none is recorded: the site has no cluster yet.
    """
    state = paths.state(site.name)
    try:
        uid = json.loads(state.cluster.read_text("utf-8"))["uid"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        raise HostError(
            f"no cluster is recorded for site {site.name}",
            where=str(state.cluster),
            fix=_MAKE,
        ) from None
    return str(uid)


def live_uid(site: Site) -> str:
    """Return the UID of the kube-system namespace of the cluster that the kubeconfig reaches.

    Raises:
        HostError: when kubectl or the kubeconfig is missing.
        ToolError: when the cluster does not answer.
    """
    kubeconfig = paths.state(site.name).kubeconfig
    if not kubeconfig.exists():
        raise HostError(
            f"site {site.name} has no kubeconfig",
            where=str(kubeconfig),
            fix=_MAKE,
        )
    # --raw: one request, no discovery.
    command = [
        "kubectl",
        f"--kubeconfig={kubeconfig}",
        "--request-timeout=10s",
        "get",
        "--raw=/api/v1/namespaces/kube-system",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    except FileNotFoundError:
        raise HostError(
            "kubectl is not on PATH", where=f"site {site.name}", fix='eval "$(tinh env)"'
        ) from None
    except subprocess.TimeoutExpired:
        done = subprocess.CompletedProcess(command, 1, "", f"no answer within {_TIMEOUT} s")
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ToolError(
            f"the cluster of site {site.name} does not answer: {reason}",
            where=str(kubeconfig),
            fix="see that its control plane runs",
        )
    return str(json.loads(done.stdout)["metadata"]["uid"])


def check_cluster(site: Site) -> str:
    """Return the cluster's UID after comparing the live cluster with the recorded one.

    Raises:
        RefusedError: when they differ; both are named.
        HostError: when the site has no cluster, or kubectl is missing.
        ToolError: when the cluster does not answer.
    """
    recorded, live = recorded_uid(site), live_uid(site)
    if recorded != live:
        state = paths.state(site.name)
        raise RefusedError(
            f"the kubeconfig reaches cluster {live}, but site {site.name} was deployed to cluster {recorded}",
            where=f"{state.kubeconfig}, {state.cluster}",
            fix="restore the kubeconfig of the recorded cluster; to start over, destroy the site first",
        )
    return live
