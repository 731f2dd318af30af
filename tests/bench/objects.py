"""The objects that both sides create: ConfigMaps, and one custom resource in five."""

from __future__ import annotations

from infra import labels

NAMESPACE = "tinh-bench"
GROUP = "bench.tinh.test"
SAMPLES = f"/apis/{GROUP}/v1/namespaces/{NAMESPACE}/samples"
LABELS = {"app.kubernetes.io/part-of": NAMESPACE}

#: What must be there before; it is not measured.
SETUP = {
    "apiVersion": "v1",
    "kind": "List",
    "items": [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": NAMESPACE, "labels": {labels.POD_SECURITY + "/enforce": "restricted"}},
        },
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"samples.{GROUP}"},
            "spec": {
                "group": GROUP,
                "scope": "Namespaced",
                "names": {"kind": "Sample", "plural": "samples"},
                "versions": [
                    {
                        "name": "v1",
                        "served": True,
                        "storage": True,
                        "schema": {
                            "openAPIV3Schema": {
                                "type": "object",
                                "properties": {
                                    "spec": {
                                        "type": "object",
                                        "properties": {
                                            "number": {"type": "integer"},
                                            "text": {"type": "string"},
                                        },
                                    }
                                },
                            }
                        },
                    }
                ],
            },
        },
    ],
}


def objects(count: int) -> dict:
    """Return a List of `count` objects."""
    return {"apiVersion": "v1", "kind": "List", "items": [_object(number) for number in range(count)]}


def _object(number: int) -> dict:
    metadata = {"name": f"bench-{number:04}", "namespace": NAMESPACE, "labels": LABELS}
    text = f"value {number} " * 20
    if number % 5 == 4:
        spec = {"number": number, "text": text}
        return {"apiVersion": f"{GROUP}/v1", "kind": "Sample", "metadata": metadata, "spec": spec}
    data = {f"key{index}": text for index in range(4)}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
