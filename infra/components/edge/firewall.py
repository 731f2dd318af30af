"""The web application firewall of all published names: Coraza with the OWASP Core Rule Set (docs/edge.md).

The gateway's proxies ask it about every request (Envoy's external processing). What differs between names is written
in the rules' own language (ModSecurity's SecLang), in one file, of which this module is the only author.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi

from infra import labels
from infra.components.edge.policies import grant
from infra.components.manifest import Component, Manifest, Object
from infra.components.workload.allow import from_gateway
from infra.components.workload.namespace import Namespace, NamespaceArgs
from infra.components.workload.pod import pod
from infra.model.exposure import READ_TYPES, Exposure, Waf, WafException, size

NAMESPACE = "waf"
_APP, _PORT = "waf", 9000
#: How policies refer to it.
SERVICE: Object = {"group": "", "kind": "Service", "name": _APP, "namespace": NAMESPACE, "port": _PORT}
#: Rules of ours have numbers from here on; below 100 000 is for users (https://coreruleset.org/docs/).
_FIRST = 10_000
#: Before the names. A request that its headers have condemned is refused before its body is read. Without 922130: names
#: of uploaded files are UTF-8, as browsers send them (RFC 7578, 5.1), and Vietnamese.
_HEAD = (
    'SecAction "id:9000,phase:1,pass,nolog,t:none,setvar:tx.early_blocking=1,setvar:tx.files=0,'
    f'setvar:tx.text={size(Waf().text)},setvar:tx.opaque=none,ctl:ruleRemoveById=922130"\n'
)
#: After the names: text beyond their limit. The length is known: the gateway has the whole body by then. What the
#: rules do not read (files of an upload, types that a name takes besides) has only the limit of the whole body. Without
#: `requestBodyAccess=Off` the rule set would take such a type for a form (901340).
_TAIL = """\
SecRule REQUEST_HEADERS:Content-Type "@rx ^[^;\\s]+" \
  "id:9001,phase:1,pass,nolog,capture,t:none,t:lowercase,setvar:'tx.sent=|%{tx.0}|',chain"
  SecRule TX:sent "@within %{tx.opaque}" "t:none,setvar:tx.files=1,ctl:requestBodyAccess=Off"
SecRule REQUEST_HEADERS:Content-Type "@rx ^multipart/form-data(;|\\s|$)" \
  "id:9004,phase:1,pass,nolog,t:none,t:lowercase,setvar:tx.files=1"
SecRule TX:files "@eq 0" "id:9002,phase:1,deny,status:413,log,msg:'more text than is looked at',chain"
  SecRule REQUEST_HEADERS:Content-Length "@gt %{tx.text}" "t:none"
SecRule ARGS_COMBINED_SIZE "@gt %{tx.text}" \
  "id:9003,phase:2,deny,status:413,log,t:none,msg:'more text in the fields than is looked at'"
"""


@dataclass(frozen=True, kw_only=True)
class FirewallArgs:
    """The firewall.

    Args:
        names: full DNS name -> its settings; names that are not looked at may be among them.
        users: namespaces that publish these names.
        image: the server's image.
        replicas: number of servers.
    """

    names: Mapping[str, Exposure]
    users: Sequence[str]
    image: str
    replicas: int


def rules(names: Mapping[str, Exposure]) -> str:
    """Return the rules of a site: one for each name, and the limit of text, before those of the rule set."""
    own = "".join(
        f'SecRule SERVER_NAME "@streq {host}" "{",".join(_actions(_FIRST + number, exposure))}"\n'
        for number, (host, exposure) in enumerate(sorted(names.items()))
        if exposure.waf.mode != "off"
    )
    return _HEAD + own + _TAIL


def _actions(number: int, exposure: Exposure) -> list[str]:
    waf = exposure.waf
    # Of a streamed name only headers are looked at, whatever follows.
    text = 1 << 50 if exposure.body is None else size(waf.text)
    types = " ".join(f"|{name}|" for name in (*READ_TYPES, *waf.content_types))
    opaque = " ".join(f"|{name}|" for name in waf.content_types)
    return [
        f"id:{number},phase:1,pass,nolog,t:none",
        f"setvar:tx.blocking_paranoia_level={waf.paranoia}",
        f"setvar:tx.detection_paranoia_level={waf.paranoia}",
        f"setvar:tx.text={text}",
        f"setvar:'tx.allowed_methods={' '.join(waf.methods)}'",
        *(
            [f"setvar:'tx.allowed_request_content_type={types}'", f"setvar:'tx.opaque={opaque}'"]
            if waf.content_types
            else []
        ),
        *(["ctl:ruleEngine=DetectionOnly"] if waf.mode == "detect" else []),
        *(_exception(exception) for exception in waf.exceptions),
    ]


def _exception(exception: WafException) -> str:
    if exception.field:
        return f"ctl:ruleRemoveTargetById={exception.rule};ARGS:{exception.field}"
    return f"ctl:ruleRemoveById={exception.rule}"


def firewall(args: FirewallArgs) -> list[Object]:
    """Return ConfigMap, Deployment, Service and the leave to use it, in the order in which they depend."""
    text = rules(args.names)

    def obj(api: str, kind: str, content: Object) -> Object:
        metadata: Object = {"name": _APP, "namespace": NAMESPACE, "labels": labels.labels(_APP, NAMESPACE)}
        return {"apiVersion": api, "kind": kind, "metadata": metadata, **content}

    container = {
        "name": _APP,
        "image": args.image,
        "args": ["-rules", "/etc/waf/site.conf"],
        "env": [{"name": "GOMEMLIMIT", "value": "400MiB"}],
        "ports": [{"name": "grpc", "containerPort": _PORT}],
        "readinessProbe": {"grpc": {"port": _PORT}, "periodSeconds": 3},
        "livenessProbe": {"grpc": {"port": _PORT}, "periodSeconds": 10, "failureThreshold": 6},
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        "volumeMounts": [{"name": "rules", "mountPath": "/etc/waf", "readOnly": True}],
    }
    deployment = {
        "replicas": args.replicas,
        "selector": {"matchLabels": labels.selector(_APP)},
        # Requests are refused while none is ready: the new one first.
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "template": {
            # New rules start new servers: the change is complete when `pulumi up` returns.
            "metadata": {
                "labels": labels.labels(_APP, NAMESPACE),
                "annotations": {"tinh/config": hashlib.sha256(text.encode()).hexdigest()},
            },
            "spec": pod(_APP, 65532, [container], [{"name": "rules", "configMap": {"name": _APP}}]),
        },
    }
    service = {
        "ipFamilyPolicy": "RequireDualStack",
        "ipFamilies": ["IPv6", "IPv4"],
        "selector": labels.selector(_APP),
        "ports": [{"name": "grpc", "port": _PORT, "targetPort": "grpc", "appProtocol": "kubernetes.io/h2c"}],
    }
    return [
        obj("v1", "ConfigMap", {"data": {"site.conf": text}}),
        obj("apps/v1", "Deployment", {"spec": deployment}),
        obj("v1", "Service", {"spec": service}),
        grant(_APP, NAMESPACE, _APP, "EnvoyExtensionPolicy", args.users),
    ]


class Firewall(Component):
    """The firewall in a namespace of its own, which only the gateway reaches and which reaches nothing."""

    def __init__(self, name: str, args: FirewallArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tinh:edge:Firewall", name, opts)
        space = Namespace(
            f"{name}-namespace",
            NamespaceArgs(
                name=NAMESPACE, part_of=NAMESPACE, allow=(from_gateway(labels.selector(_APP), [_PORT]),)
            ),
            self.child(),
        )
        made: list[pulumi.Resource] = [space]
        for obj in firewall(args):
            made.append(Manifest(f"{name}-{obj['kind']}", obj, self.child(*made)))
        self.register_outputs({})
