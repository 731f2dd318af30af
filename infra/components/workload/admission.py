"""Admission rules of the whole cluster, evaluated by the API server itself (no webhook that could be down).

Source: https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/ and
https://kubernetes.io/docs/reference/access-authn-authz/mutating-admission-policy/ (both v1 in Kubernetes
1.36).
"""

from __future__ import annotations

import pulumi

from infra import labels
from infra.components.manifest import Component, Manifest, Object

_API = "admissionregistration.k8s.io/v1"
_ENFORCE = f"{labels.POD_SECURITY}/enforce"
_MANAGED = {"namespaceSelector": {"matchLabels": {labels.MANAGED: "true"}}}


def _rules(resource: str, operations: list[str]) -> list[Object]:
    return [{"apiGroups": [""], "apiVersions": ["v1"], "operations": operations, "resources": [resource]}]


def _validating(name: str, spec: Object) -> list[Object]:
    """Return a policy and the binding that denies and audits."""
    return [
        {
            "apiVersion": _API,
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name, "labels": labels.labels(name, "base")},
            "spec": {"failurePolicy": "Fail", **spec},
        },
        {
            "apiVersion": _API,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name, "labels": labels.labels(name, "base")},
            "spec": {"policyName": name, "validationActions": ["Deny", "Audit"]},
        },
    ]


def namespaces_state_pod_security() -> list[Object]:
    """Refuse a namespace that does not say which Pod Security level it enforces.

    `kube-*` namespaces are made by the API server itself, without the label.
    """
    return _validating(
        "tinh-namespace-pod-security",
        {
            "matchConstraints": {"resourceRules": _rules("namespaces", ["CREATE", "UPDATE"])},
            "matchConditions": [
                {"name": "not-of-kubernetes", "expression": "!object.metadata.name.startsWith('kube-')"},
                {
                    # A namespace that is going away must stay removable, whatever its labels are.
                    "name": "not-terminating",
                    "expression": "!has(object.metadata.deletionTimestamp)",
                },
            ],
            "validations": [
                {
                    "expression": f"has(object.metadata.labels) && '{_ENFORCE}' in object.metadata.labels",
                    "message": f"a namespace needs the label {_ENFORCE}: restricted, baseline or privileged",
                    "reason": "Invalid",
                }
            ],
        },
    )


def services_are_dual_stack() -> list[Object]:
    """Refuse a single-stack Service in tinh's namespaces: both address families or neither."""
    return _validating(
        "tinh-service-dual-stack",
        {
            "matchConstraints": {"resourceRules": _rules("services", ["CREATE", "UPDATE"]), **_MANAGED},
            "validations": [
                {
                    "expression": "object.spec.type == 'ExternalName' || (has(object.spec.ipFamilyPolicy) && "
                    "object.spec.ipFamilyPolicy in ['PreferDualStack', 'RequireDualStack'])",
                    "message": "a Service needs spec.ipFamilyPolicy: RequireDualStack or PreferDualStack",
                    "reason": "Invalid",
                }
            ],
        },
    )


def services_default_to_dual_stack() -> list[Object]:
    """Give Services that say nothing both families.

    Operators make Services of their own (CloudNativePG's `-rw` cannot be configured); Kubernetes' default is
    one family, which the rule above would refuse.
    """
    name = "tinh-service-dual-stack-default"
    return [
        {
            "apiVersion": _API,
            "kind": "MutatingAdmissionPolicy",
            "metadata": {"name": name, "labels": labels.labels(name, "base")},
            "spec": {
                "failurePolicy": "Fail",
                "reinvocationPolicy": "IfNeeded",
                "matchConstraints": {"resourceRules": _rules("services", ["CREATE"]), **_MANAGED},
                "matchConditions": [
                    {
                        "name": "says-nothing",
                        "expression": "!has(object.spec.ipFamilyPolicy) && "
                        "object.spec.type != 'ExternalName'",
                    }
                ],
                "mutations": [
                    {
                        "patchType": "ApplyConfiguration",
                        "applyConfiguration": {
                            "expression": "Object{spec: Object.spec{ipFamilyPolicy: 'PreferDualStack'}}"
                        },
                    }
                ],
            },
        },
        {
            "apiVersion": _API,
            "kind": "MutatingAdmissionPolicyBinding",
            "metadata": {"name": name, "labels": labels.labels(name, "base")},
            "spec": {"policyName": name},
        },
    ]


class Admission(Component):
    """The cluster's admission rules."""

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tinh:workload:Admission", name, opts)
        for policy, binding in (
            namespaces_state_pod_security(),
            services_are_dual_stack(),
            services_default_to_dual_stack(),
        ):
            made = Manifest(policy["metadata"]["name"], policy, self.child())
            Manifest(f"{policy['metadata']['name']}-binding", binding, self.child(made))
        self.register_outputs({})
