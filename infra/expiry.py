"""When the certificates of the published names end, as the cluster records it (cert-manager)."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from infra import labels, paths
from infra.errors import ToolError
from infra.model.certificates import length
from infra.model.site import Site

_TIMEOUT = 20


@dataclass(frozen=True)
class Expiry:
    """One certificate.

    Args:
        names: DNS names that it is for.
        ends: when it ends; None: there is none yet.
        left: time until then.
        red: somebody must look: renewal has not come in time, or nothing was ever issued.
        says: what cert-manager says, when it is not content.
    """

    names: tuple[str, ...]
    ends: datetime | None
    left: timedelta | None
    red: bool
    says: str

    def data(self) -> dict[str, object]:
        """Return it as plain data."""
        return {
            "names": list(self.names),
            "ends": self.ends.isoformat() if self.ends else None,
            "red": self.red,
            "says": self.says,
        }

    def __str__(self) -> str:
        """Return one line for people."""
        when = (
            f"ends {self.ends:%Y-%m-%d %H:%M} UTC, in {_rough(self.left)}"
            if self.ends and self.left
            else "none"
        )
        mark = "RED " if self.red else ""
        return f"{mark}certificate of {', '.join(self.names)}: {when}{f'; {self.says}' if self.says else ''}"


def _rough(left: timedelta) -> str:
    """Return a duration in its largest unit; a past one with its sign."""
    for unit, seconds in (("d", 86400), ("h", 3600), ("min", 60)):
        if abs(left.total_seconds()) >= seconds:
            return f"{left.total_seconds() / seconds:.0f} {unit}"
    return f"{left.total_seconds():.0f} s"


def judge(certificates: Iterable[Mapping[str, Any]], alarm: timedelta, now: datetime) -> list[Expiry]:
    """Return the state of Certificate objects, the one that ends first at the top. Pure.

    A certificate that lives too short for the site's alarm has one of its own: half of the time before its end at
    which it ought to be renewed.
    """
    found = [_judge(certificate, alarm, now) for certificate in certificates]
    return sorted(found, key=lambda one: (one.left is not None, one.left, one.names))


def _judge(certificate: Mapping[str, Any], alarm: timedelta, now: datetime) -> Expiry:
    spec, status = certificate["spec"], certificate.get("status", {})
    ready = next((item for item in status.get("conditions", ()) if item["type"] == "Ready"), {})
    says = "" if ready.get("status") == "True" else ready.get("message", "not issued yet")
    names = tuple(spec["dnsNames"])
    if "notAfter" not in status:
        return Expiry(names, None, None, True, says)
    ends = datetime.fromisoformat(status["notAfter"])
    renewal = (
        length(spec["renewBefore"]) if "renewBefore" in spec else length(spec.get("duration", "2160h")) / 3
    )
    left = ends - now
    return Expiry(names, ends, left, left < min(alarm, renewal / 2), says)


def certificates(site: Site) -> list[dict[str, Any]]:
    """Return the cluster's Certificate objects that tinh made.

    Raises:
        ToolError: the cluster does not answer.
    """
    command = [
        "kubectl",
        f"--kubeconfig={paths.state(site.name).kubeconfig}",
        "--request-timeout=10s",
        "get",
        "certificates.cert-manager.io",
        "--all-namespaces",
        f"--selector={labels.MANAGED_BY}=tinh",
        "--output=json",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        done = subprocess.CompletedProcess(command, 1, "", f"no answer within {_TIMEOUT} s")
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ToolError(
            f"the certificates of site {site.name} are not known: {reason}",
            where="kubectl get certificates",
            fix="`tinh up --layer base` installs what issues them",
        )
    return json.loads(done.stdout)["items"]
