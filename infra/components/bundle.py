"""Upstream manifests (operators and their CRDs) as Pulumi resources.

Registered one by one instead of through the provider's ConfigGroup: tests see every object, and it costs less. A
preview of Envoy Gateway's 22 CRDs took 8.4 s of CPU this way and 11.0 s as a ConfigGroup (objects are sent twice).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pulumi
import yaml

from infra.components.manifest import Component, Manifest, Object
from infra.errors import IntegrityError
from infra.model.certificates import canonical
from infra.model.site import SiteKind

#: Later kinds wait for all earlier ones of the same bundle; unnamed kinds come first, at once. Webhooks are
#: among the first: operators write their CA into them at the start and fail without them, and they only
#: concern the operators' own kinds. Jobs make what workloads mount. An aggregated API without its workload
#: disturbs everybody's discovery, so it comes last.
_WAVES: tuple[tuple[str, ...], ...] = (
    ("Job",),
    ("Deployment", "DaemonSet", "StatefulSet"),
    ("APIService",),
)
_WEBHOOKS = ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration")
#: Kinds that only work when an operator runs behind them; on a simulated site none does.
_SERVED = frozenset({*_WEBHOOKS, "APIService"})


def load(file: Path) -> list[Object]:
    """Return the objects of a manifest file.

    Raises:
        IntegrityError: when a document is not a Kubernetes object.
    """
    objs = [obj for obj in yaml.load_all(file.read_bytes(), Loader=yaml.CSafeLoader) if obj]
    for number, obj in enumerate(objs):
        if not isinstance(obj, dict) or not {"apiVersion", "kind", "metadata"} <= obj.keys():
            raise IntegrityError(
                f"document {number} is not a Kubernetes object",
                where=str(file),
                fix="build the manifest again",
            )
    return objs


def key(obj: Mapping[str, Any]) -> str:
    """Return `Kind/name`, which is how patches and resource names refer to an object."""
    return f"{obj['kind']}/{obj['metadata']['name']}"


def prepare(objs: Iterable[Object], kind: SiteKind) -> list[Object]:
    """Make upstream objects fit: pure, and the same for every bundle.

    - Namespaces go: tinh makes them, with Pod Security and network policies.
    - Descriptions in CRD schemas go: they are over two thirds of a state file that is written on every step.
    - CA bundles go: the operators write them, and a placeholder of ours would be written back on each change.
    - Services ask for both families and are not awaited: their Deployment is, and a Service that waits for
      pods would hold one of the few workers that have to create those pods.
    - Certificates are written as cert-manager stores them, or every run would show a change.
    - Jobs stay after they finish, or Pulumi's record of them would be wrong minutes later.
    - On a simulated site operators do not run: their webhooks (conversion too) and aggregated APIs are left
      out.
    """
    simulated = kind is SiteKind.SIM
    result = []
    for original in objs:
        if original["kind"] == "Namespace" or (simulated and original["kind"] in _SERVED):
            continue
        obj = copy.deepcopy(original)
        obj.pop("status", None)
        obj["metadata"].pop("creationTimestamp", None)
        spec = obj.get("spec") or {}
        if obj["kind"] == "CustomResourceDefinition":
            for version in spec["versions"]:
                _drop_descriptions(version.get("schema", {}).get("openAPIV3Schema", {}))
            conversion = spec.get("conversion", {})
            if simulated and conversion.get("strategy") == "Webhook":
                del spec["conversion"]
            else:
                conversion.get("webhook", {}).get("clientConfig", {}).pop("caBundle", None)
        elif obj["kind"] in _WEBHOOKS:
            for webhook in obj["webhooks"]:
                webhook["clientConfig"].pop("caBundle", None)
        elif obj["kind"] == "Service":
            spec.setdefault("ipFamilyPolicy", "PreferDualStack")
            obj["metadata"].setdefault("annotations", {})["pulumi.com/skipAwait"] = "true"
        elif obj["kind"] == "Certificate":
            spec |= {name: canonical(spec[name]) for name in ("duration", "renewBefore") if name in spec}
            if not spec.get("isCA"):
                spec.pop("isCA", None)
        elif obj["kind"] == "Job":
            spec.pop("ttlSecondsAfterFinished", None)
        result.append(obj)
    return result


def _drop_descriptions(schema: Any) -> None:  # noqa: ANN401 - a JSON schema is a free tree
    """Remove the keyword `description` from a JSON schema in place; a property of that name stays."""
    if isinstance(schema, list):
        for item in schema:
            _drop_descriptions(item)
    elif isinstance(schema, dict):
        if isinstance(schema.get("description"), str):
            del schema["description"]
        for keyword, value in schema.items():
            if keyword in ("properties", "patternProperties", "definitions"):
                for nested in value.values():
                    _drop_descriptions(nested)
            elif keyword not in ("default", "enum", "example"):
                _drop_descriptions(value)


@dataclass(frozen=True, kw_only=True)
class BundleArgs:
    """One upstream bundle.

    Args:
        objs: upstream objects as published.
        kind: the site's kind.
        patches: `Kind/name` -> change; a missing target is an error, so that an upgrade that renames it is
            seen.
    """

    objs: list[Object]
    kind: SiteKind
    patches: Mapping[str, Callable[[Object], Object]] = field(default_factory=dict)


class Bundle(Component):
    """All objects of a bundle; what uses its custom resources depends on this component.

    Raises:
        IntegrityError: when a patch finds nothing to patch.
    """

    def __init__(self, name: str, args: BundleArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tinh:Bundle", name, opts)
        objs = prepare(args.objs, args.kind)
        missing = args.patches.keys() - {key(obj) for obj in objs}
        if missing:
            raise IntegrityError(
                f"bundle {name} has no {', '.join(sorted(missing))}",
                where=f"manifest of {name}",
                fix="compare the patches in stacks/base.py with the new manifest",
            )
        waves: list[list[pulumi.Resource]] = [[] for _ in range(len(_WAVES) + 1)]
        for number in range(len(waves)):
            before = [made for wave in waves[:number] for made in wave]
            for obj in objs:
                if _wave(obj["kind"]) == number:
                    obj = args.patches.get(key(obj), lambda same: same)(obj)
                    namespace = obj["metadata"].get("namespace")
                    parts = [name, obj["kind"], *([namespace] if namespace else []), obj["metadata"]["name"]]
                    waves[number].append(Manifest("/".join(parts), obj, self.child(*before)))
        self.register_outputs({})


def _wave(kind: str) -> int:
    return next((number for number, kinds in enumerate(_WAVES, start=1) if kind in kinds), 0)
