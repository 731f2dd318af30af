"""The drill: a restore that is measured, compared with what was recorded, and cleaned up. Its receipt is signed.

A database comes back in a namespace that nothing gets out of; everything else in a folder that only its owner can read.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from infra import naming, paths, receipt
from infra.backup import beside, bring
from infra.backup.catalogue import differences, text_of
from infra.backup.kinds import of, postgresql
from infra.backup.kubectl import Kubectl
from infra.backup.plan import RestorePlan
from infra.backup.recovery import sealed_namespace
from infra.backup.restore import Progress
from infra.backup.sets import DataSet, Kind
from infra.backup.source import Facts, Tell, private_folder
from infra.backup.vault import Vault
from infra.errors import Exit, TinhError, ToolError
from infra.model.site import Site

KIND = "restore-drill"
#: Facts that are about where the backup came from and not about the data.
ASIDE = ("base",)


@dataclass(frozen=True, kw_only=True)
class Result:
    """How one data set came back.

    Args:
        data_set: its name.
        engine: its kind.
        backup: which one.
        copy: machine that it was read from.
        at: as of when the data were.
        seconds: until it was there and compared.
        allowed_seconds: its target.
        loss_seconds: of data that a loss at that moment would have cost.
        allowed_loss_seconds: its target.
        compared: number of facts that were compared.
        wrong: differences, or why it did not come back; none: it is as it was.
    """

    data_set: str
    engine: str
    backup: str
    copy: str
    at: str
    seconds: int
    allowed_seconds: int
    loss_seconds: int
    allowed_loss_seconds: int
    compared: int
    wrong: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether it came back as it was and within its time. Too old a backup is the list's business, and shown."""
        return not self.wrong and self.compared > 0 and self.seconds <= self.allowed_seconds

    def line(self) -> str:
        """Return it for people."""
        word = "proven" if self.passed else "NOT PROVEN"
        late = "" if self.seconds <= self.allowed_seconds else f", allowed {self.allowed_seconds} s"
        wrong = f": {'; '.join(self.wrong[:3])}" if self.wrong else ""
        return (
            f"{self.data_set}: {word}: backup {self.backup} from {self.copy}, back in {self.seconds} s{late}, "
            f"{self.compared} facts compared, {self.loss_seconds} s of data behind{wrong}"
        )


def run(site: Site, plan: RestorePlan, vault: Vault, identity: str, tell: Tell, progress: Progress) -> Result:
    """Bring one backup back, compare and remove it again; what goes wrong is in the result.

    Raises:
        TinhError: the key is the wrong one, or something outside is missing: that proves nothing about the backup.
    """
    data_set, entry = plan.data_set, plan.entry
    started = time.monotonic()
    recorded = {key: value for key, value in entry.facts.items() if key not in ASIDE}
    try:
        found = (_database if data_set.kind is Kind.POSTGRESQL else _folder)(
            site, plan, vault, identity, tell, progress
        )
        wrong = tuple(differences(recorded, {key: found[key] for key in found if key not in ASIDE}))
    except TinhError as error:
        if error.code is not Exit.INTEGRITY:
            raise
        wrong, found = (f"{error.what} ({error.where})",), {}
    return Result(
        data_set=data_set.name, engine=str(data_set.kind), backup=entry.id, copy=vault.name,
        at=entry.at.isoformat(timespec="seconds"), seconds=round(time.monotonic() - started),
        allowed_seconds=data_set.time * 60, loss_seconds=max(0, round((plan.now - entry.at).total_seconds())),
        allowed_loss_seconds=data_set.point * 60, compared=leaves(found) if found else 0, wrong=wrong[:20],
    )  # fmt: skip


def _folder(
    site: Site, plan: RestorePlan, vault: Vault, identity: str, tell: Tell, progress: Progress
) -> Facts:
    tell(f"{plan.data_set.name}: bringing back {plan.entry.id} from {vault.name}")
    items = bring.items_of(plan.parts, vault, identity)
    with private_folder(site.name) as work:
        bring.into_folder(items.values(), vault, identity, work, progress)
        return of(plan.data_set.kind).count(work)


def _database(
    site: Site, plan: RestorePlan, vault: Vault, identity: str, tell: Tell, progress: Progress
) -> Facts:
    """Restore into a namespace of its own, which is removed in the end, Ctrl-C or not."""
    kubectl, data_set = Kubectl(site), plan.data_set
    items = bring.items_of(plan.parts, vault, identity)
    live = kubectl.find("clusters.postgresql.cnpg.io", data_set.name, "--namespace", data_set.namespace)
    if live is None:
        raise ToolError(
            f"there is no database {data_set.name} to be made alike", where=f"namespace {data_set.namespace}",
            fix="tinh up",
        )  # fmt: skip
    space = naming.name("drill", data_set.name)
    what = beside.Beside(site=site, live=live, name=data_set.name, space=space, point=plan.entry.id)
    try:
        _without_leftovers(kubectl, space, tell)
        kubectl.apply(sealed_namespace(site, space, data_set.name))
        with beside.recovered(kubectl, what, items, vault, identity, tell, progress) as pod:
            return postgresql.measure(kubectl, space, pod, None)[0]
    finally:
        kubectl.text("delete", "namespace", space, "--ignore-not-found", "--wait=false")


def _without_leftovers(kubectl: Kubectl, space: str, tell: Tell) -> None:
    """Remove what a killed drill has left; the data set's lock says that none is under way."""
    if kubectl.find("namespace", space):
        tell(f"removing what an earlier drill has left: namespace {space}")
        kubectl.text("delete", "namespace", space, "--ignore-not-found", "--timeout=180s", seconds=200)


def leaves(facts: Mapping[str, Any]) -> int:
    """Return how many single facts there are."""
    return sum(leaves(value) if isinstance(value, dict) else 1 for value in facts.values())


def body(site: Site, results: Sequence[Result], at: datetime, simulated: str) -> dict[str, Any]:
    """Return what is signed.

    Args:
        site: the site.
        results: of each data set.
        at: when it began.
        simulated: what of it is not as in a data centre; empty: nothing.
    """
    return {
        "kind": KIND,
        "site": site.name,
        "at": at.isoformat(timespec="seconds"),
        "simulated": simulated,
        "passed": bool(results) and all(result.passed for result in results),
        "results": [
            asdict(result) | {"wrong": list(result.wrong), "passed": result.passed} for result in results
        ],
    }


def folder(site: str) -> Path:
    """Return where a site's receipts are kept."""
    return paths.state(site).root / "receipts"


def last_passed(site: str) -> dict[str, datetime]:
    """Return data set -> when it was proven last, from receipts that the province has signed."""
    public = receipt.public_text(receipt.province_key(site))
    found: dict[str, datetime] = {}
    for file in sorted(folder(site).glob("drill-*.json")):
        try:
            content = receipt.verify(receipt.read(file), str(file), public)
        except TinhError:
            continue  # `tinh drill verify` says what is wrong with it; it proves nothing
        if content.get("kind") == KIND and content.get("site") == site:
            at = datetime.fromisoformat(content["at"])
            for result in content["results"]:
                if result["passed"]:
                    found[result["data_set"]] = max(at, found.get(result["data_set"], at))
    return found


def overdue(sets: Sequence[DataSet], passed: Mapping[str, datetime], now: datetime) -> dict[str, str]:
    """Return data set -> why a drill is due; none for those that were proven lately."""
    late: dict[str, str] = {}
    for data_set in sets:
        limit = timedelta(days=data_set.drill_days)
        at = passed.get(data_set.name)
        if at is None:
            late[data_set.name] = "was never proven"
        elif now - at.astimezone(UTC) > limit:
            late[data_set.name] = f"was proven {text_of(now - at)} ago, allowed {text_of(limit)}"
    return late
