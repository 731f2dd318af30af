"""Restores: beside what serves, and only at the end in its place. What fails before leaves the old data serving."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra import naming, paths
from infra.backup import beside, bring
from infra.backup.catalogue import differences
from infra.backup.kinds import of, postgresql
from infra.backup.kubectl import Kubectl
from infra.backup.memory import Stored
from infra.backup.plan import RestorePlan
from infra.backup.recovery import TEMPORARY, beside_policies
from infra.backup.sets import Kind
from infra.backup.source import TREE, Tell, private_folder
from infra.backup.vault import Vault
from infra.errors import IntegrityError, RefusedError, ToolError
from infra.model.site import Site

#: Restored files end up below this folder of the site's state.
RESTORED = "restored"
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Restore:
    """One restore.

    Args:
        site: the site.
        plan: what is to be done.
        vault: the copy, reached with the reader's key.
        identity: the private key.
        tell: gets a line per step.
        progress: gets the number of items that are done, and of all.
    """

    site: Site
    plan: RestorePlan
    vault: Vault
    identity: str
    tell: Tell
    progress: Progress


def run(job: Restore) -> str:
    """Do a restore; return what was made, for people.

    Raises:
        TinhError: it does not work; what serves was left alone.
    """
    items = bring.items_of(job.plan.parts, job.vault, job.identity)
    if job.plan.data_set.kind is Kind.POSTGRESQL:
        return _postgresql(job, items)
    with private_folder(job.site.name) as work:
        bring.into_folder(items.values(), job.vault, job.identity, work, job.progress)
        _compare(job, of(job.plan.data_set.kind).count(work))
        if job.plan.in_place:
            return IN_PLACE[job.plan.data_set.kind](job, work)
        return _to_folder(job, work)


def refuse_early(site: Site, kind: Kind, *, in_place: bool, into: str) -> None:
    """Refuse what cannot be done, before anything is read or asked.

    Raises:
        TinhError: what is to be made has no good name.
        RefusedError: this kind is not restored in this way, or what is to be made is there.
    """
    if in_place and kind is Kind.ROUTERS:
        raise RefusedError(
            "routers are not restored in place: their configuration is declared",
            where=f"site {site.name}",
            fix="`tinh up --layer network` gives them what is declared; --as NAME shows what they had",
        )
    if into:
        naming.name(into)  # of a cluster or a folder
    place = paths.state(site.name).root / RESTORED / into
    if not in_place and kind is not Kind.POSTGRESQL and place.exists():
        raise RefusedError(f"{into} is there already", where=str(place), fix="choose another name for --as")


def _compare(job: Restore, found: Mapping[str, Any]) -> None:
    """Raise an error when what came back is not what was recorded."""
    recorded = {key: value for key, value in job.plan.entry.facts.items() if key in found}
    if wrong := differences(recorded, found):
        raise IntegrityError(
            f"what came back is not what was recorded: {'; '.join(wrong[:5])}",
            where=f"backup {job.plan.entry.id} at {job.vault.name}",
            fix="take another copy or an older backup; what serves was left alone",
        )


def _to_folder(job: Restore, work: Path) -> str:
    """Leave what came back in a folder that only its owner can read."""
    place = paths.state(job.site.name).root / RESTORED / job.plan.into
    place.parent.mkdir(exist_ok=True, mode=0o700)
    if (work / TREE).exists():
        (work / TREE).unlink()
        work = work / "again"
    place.mkdir(mode=0o700)
    for item in work.iterdir():
        shutil.move(item, place / item.name)
    return f"{place}"


def _pulumi_state(job: Restore, work: Path) -> str:
    """Put the restored state in the place of the one that is there, by two renames; the old one stays beside it."""
    target = paths.state(job.site.name).pulumi
    new, aside = (
        target.with_name("pulumi.new"),
        target.with_name(f"pulumi.before-{job.plan.now:%Y%m%dT%H%M%SZ}"),
    )
    shutil.rmtree(new, ignore_errors=True)
    shutil.move(work / "again" / "pulumi", new)
    if target.exists():
        target.rename(aside)
    new.rename(target)
    return f"{target}; what was there before: {aside}"


def _site_data(job: Restore, work: Path) -> str:
    """Put keys and secrets back, file by file; those that were there stay aside. Facts belong to git: they stay."""
    root = paths.state(job.site.name).root
    aside = root / RESTORED / f"state-before-{job.plan.now:%Y%m%dT%H%M%SZ}"
    source = work / "again" / "state"
    count = 0
    for file in sorted(f for f in source.rglob("*") if f.is_file() and f.name not in CLUSTER):
        name = file.relative_to(source)
        target = root / name
        if target.exists():
            (aside / name).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            shutil.copy2(target, aside / name)
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = target.with_name(f".{target.name}.part")
        shutil.copy2(file, part)
        part.replace(target)
        count += 1
    shutil.rmtree(root / RESTORED / "site-facts", ignore_errors=True)
    shutil.move(work / "again" / "site", root / RESTORED / "site-facts")
    return f"{count} files in {root}, old ones in {aside}; compare the facts with git: {root / RESTORED / 'site-facts'}"


#: Files of the state folder that describe the cluster of then; the one of now has its own.
CLUSTER = ("kubeconfig", "cluster.json")


def _objects(job: Restore, work: Path) -> str:
    """Make the objects that are missing; what is there is never changed."""
    kubectl = Kubectl(job.site)
    made = 0
    for obj in json.loads((work / "objects.json").read_text("utf-8")):
        at = obj["metadata"]
        if not kubectl.find(obj["kind"], at["name"], "--namespace", at["namespace"]):
            kubectl.apply([obj], create=True)
            made += 1
    return f"{made} object(s) made; those that were there were left alone"


def _etcd(job: Restore, work: Path) -> str:
    """Have all control planes begin anew with the snapshot; what they had stays aside on each."""
    from infra.ansible import play
    from infra.backup.machines import inventory_of

    hosts = inventory_of(job.site)
    hosts["all"]["vars"] |= {"snapshot": str(work / "snapshot.db"), "stamp": job.plan.entry.id.lower()}
    log = paths.state(job.site.name).logs / "restore-etcd.log"
    play("etcd_restore.yml", hosts, log=log, tell=job.tell)
    return "the cluster is as it was; on each control plane /var/lib/etcd/before-* is what it had"


def _bucket(job: Restore, work: Path) -> str:
    """Put back every object that differs, as a new version; what was not in the backup gets a delete marker."""
    from infra.backup.store import opened

    bucket = job.plan.data_set.name
    with opened(job.site, Kubectl(job.site), account=bucket) as store:
        files = {str(f.relative_to(work)): f for f in work.rglob("*") if f.is_file()}
        put, removed = store.make_equal(bucket, files, job.progress)
    return f"bucket {bucket}: {put} object(s) put back, {removed} marked as deleted; older versions are all there"


def _stream(job: Restore, work: Path) -> str:
    """Put streams in the place of those that serve; what they had stays in a folder that only its owner can read."""
    from infra.backup.kinds import stream

    account = job.plan.data_set.name
    aside = paths.state(job.site.name).root / RESTORED / f"{account}-before-{job.plan.now:%Y%m%dT%H%M%SZ}"
    aside.mkdir(parents=True, mode=0o700)
    count, others = stream.put_back(job.site, account, work, aside)
    left = f"; left alone, as the backup does not know them: {', '.join(others)}" if others else ""
    return f"account {account}: {count} stream(s) put back; what they were: {aside}{left}"


IN_PLACE: dict[Kind, Callable[[Restore, Path], str]] = {
    Kind.STATE: _pulumi_state,
    Kind.SITE: _site_data,
    Kind.OBJECTS: _objects,
    Kind.ETCD: _etcd,
    Kind.BUCKET: _bucket,
    Kind.STREAM: _stream,
}


def _postgresql(job: Restore, items: Mapping[str, Stored]) -> str:
    """Bring a cluster back beside the one that serves, and in place: give its databases to that one, at the end."""
    plan, data_set = job.plan, job.plan.data_set
    kubectl = Kubectl(job.site)
    space = data_set.namespace
    live = kubectl.find("clusters.postgresql.cnpg.io", data_set.name, "--namespace", space)
    if live is None:
        raise ToolError(
            f"there is no database {data_set.name} to be made alike", where=f"namespace {space}",
            fix="`tinh up` makes an empty one; then restore into it",
        )  # fmt: skip
    name = naming.name(data_set.name, "restore") if plan.in_place else plan.into

    policies = beside_policies(job.site, space, name)
    what = beside.Beside(
        site=job.site,
        live=live,
        name=name,
        space=space,
        to=plan.to,
        policies=policies,
        keep=not plan.in_place,
    )
    with beside.recovered(kubectl, what, items, job.vault, job.identity, job.tell, job.progress) as pod:
        facts, _, _ = postgresql.measure(kubectl, space, pod, None)
        if not plan.in_place:
            rows = sum(table["rows"] for tables in facts["databases"].values() for table in tables.values())
            label, kinds = f"{TEMPORARY}={name}", ",".join(beside.KINDS)
            return f"cluster {name}, {rows} rows; to remove it: kubectl -n {space} delete {kinds} -l {label}"
        return _take_over(job, kubectl, space, pod, facts)


def _take_over(job: Restore, kubectl: Kubectl, space: str, source: str, facts: Mapping[str, Any]) -> str:
    """Copy the databases of a restored cluster to the one that serves, and switch: the old ones stay aside.

    The cluster, its Services, passwords and certificates stay as they are, and so does what Pulumi has declared.
    """
    target = postgresql.primary(kubectl, space, job.plan.data_set.name)
    stamp = f"{job.plan.now:%Y%m%dt%H%M%S}"

    def ask(text: str) -> list[Any]:
        return postgresql.ask(kubectl, space, target, text)

    made: list[tuple[str, str]] = []
    try:
        for database in facts["databases"]:
            job.tell(f"{job.plan.data_set.name}: copying database {database}")
            new = f"{database}_restored_{stamp}"
            made.append((database, new))
            owner = postgresql.ask(kubectl, space, source, OWNER.format(database=database))[0]["owner"]
            beside.logical_copy(kubectl, space, source, target, database, new, owner)
            found = postgresql.measure_one(kubectl, space, target, new)
            if wrong := differences(facts["databases"][database], found):
                raise IntegrityError(
                    f"the copy of {database} differs: {'; '.join(wrong[:3])}", where=f"pod {target}",
                    fix="run the command again; what serves was left alone",
                )  # fmt: skip
        for database, new in list(made):
            exists = ask(EXISTS.format(database=database))[0]["there"]
            if exists:
                beside.switch(ask, database, new, f"{database}_before_{stamp}")
            else:
                ask(f'alter database "{new}" rename to "{database}";')
            made.remove((database, new))
    finally:
        for _, new in made:
            ask(f'drop database if exists "{new}" with (force);')
    return f"{job.plan.data_set.name} serves the restored data; the old data: databases *_before_{stamp}"


OWNER = "select json_build_object('owner', pg_get_userbyid(datdba)) from pg_database where datname = '{database}';"
EXISTS = "select json_build_object('there', exists (select from pg_database where datname = '{database}'));"
