"""A step that runs to its end once for each content of what it is given, as a Kubernetes Job.

Jobs cannot be changed; Pulumi replaces one whose template differs. The digest of the step's input is in the
template, so that another input runs the step again, and the same input does not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi

from infra import labels
from infra.components.manifest import Object
from infra.components.workload.pod import pod

#: Seconds that a step may take with all its attempts; Pulumi waits a little longer.
DEADLINE = 840


@dataclass(frozen=True, kw_only=True)
class StepArgs:
    """One step.

    Args:
        name: of the Job, and of its pods.
        namespace: where it runs.
        part_of: platform that it belongs to.
        user: uid and gid.
        container: what runs; it must be safe to run again.
        volumes: volumes.
        inputs: everything that decides what the step does; secrets are digested like the rest.
        more: further fields of the pod.
    """

    name: str
    namespace: str
    part_of: str
    user: int
    container: Object
    volumes: Sequence[Object]
    inputs: pulumi.Input[Mapping[str, object]]
    more: Mapping[str, object] | None = None


def digest(inputs: pulumi.Input[Mapping[str, object]]) -> pulumi.Output[str]:
    """Return a digest of a step's input; it tells nothing about secrets of 128 bits and more."""

    def one(value: Mapping[str, object]) -> str:
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]

    return pulumi.Output.unsecret(pulumi.Output.from_input(inputs).apply(one))


def step(args: StepArgs) -> Object:
    """Return the Job."""
    own = labels.labels(args.name, args.part_of)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": args.name, "namespace": args.namespace, "labels": own},
        "spec": {
            "backoffLimit": 5,
            "activeDeadlineSeconds": DEADLINE,
            "template": {
                "metadata": {"labels": own, "annotations": {"tinh/input": digest(args.inputs)}},
                "spec": pod(
                    args.name,
                    args.user,
                    [args.container],
                    args.volumes,
                    restartPolicy="Never",
                    **args.more or {},
                ),
            },
        },
    }
