#!/usr/bin/python3
"""Keeps backups on a machine outside the cluster. What a key may do is its role; nobody can change what is kept.

    vault.py ROLE VERB [WORD ...]        run by sshd as the forced command of a key, with its own Python 3

Each key has one role: `writer` (production) adds, `observer` looks, `reader` (restore, other copies) takes out,
`keeper` clears out what is old. Files are named by their SHA-256, so that a name never gets another content. Verbs:

    put            standard input becomes a blob; answers {"sha256", "size"}
    enter          standard input is a signed entry of the catalogue; all blobs that it names must be there
    list [SET]     the catalogue, and what the last check found
    check [SET]    reads every blob again
    get SHA256 ... blobs on standard output, each after a line with its size; a line `-`: it is missing
    prune          standard input {"entries": [[set, id]]}: removes them and what nothing needs any more
    pull ALIAS     gets what another copy has and this one has not, over ssh; run by a timer, not by a key

The clock of this machine decides how long an entry is locked. Exit codes: 2 wrong request, 6 refused, 7 damaged.
Settings: /etc/tinh/vault.json, {"locked_days": N}. TINH_VAULT is another root, with the settings in it, for tests.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, Never

Object = dict[str, Any]

ROOT = Path(os.environ.get("TINH_VAULT", "/srv/backup"))
SSH = "/etc/tinh/vault-ssh"
SETTINGS = ROOT / "vault.json" if "TINH_VAULT" in os.environ else Path("/etc/tinh/vault.json")
BLOBS, CATALOGUE, CHECKED = ROOT / "blobs", ROOT / "catalogue", ROOT / "checked.json"
ROLES = {
    "writer": {"put", "enter", "list", "check"},
    "observer": {"list", "check"},
    "reader": {"list", "check", "get"},
    "keeper": {"list", "check", "prune"},
    "local": {"pull", "check", "list"},
}
WRONG, REFUSED, DAMAGED = 2, 6, 7
CHUNK = 1 << 20
#: How many blobs one connection is asked for: their names are one word of the environment (Linux: 128 KiB).
AT_ONCE = 1000
#: Largest entry of the catalogue.
LARGEST = 64 << 20
#: Seconds after which a blob that no entry names is a leftover of a backup that was broken off.
LEFTOVER = 24 * 3600
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
ID = re.compile(r"[0-9]{8}T[0-9]{6}Z")
HASH = re.compile(r"[0-9a-f]{64}")


def stop(code: int, text: str) -> Never:
    """End with a message."""
    print(text, file=sys.stderr)
    sys.exit(code)


def blob(name: str) -> Path:
    """Return where a blob lies."""
    if not HASH.fullmatch(name):
        stop(WRONG, f"{name!r} is no SHA-256")
    return BLOBS / name[:2] / name


def digest(file: Path) -> str:
    """Return the SHA-256 of a file; empty when there is none."""
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        return ""


def receive(stream: BinaryIO, wanted: str = "", length: int = sys.maxsize) -> tuple[str, int]:
    """Keep a stream, or its next bytes, if it is the wanted one; return its name and size."""
    BLOBS.mkdir(parents=True, exist_ok=True)
    seen, size = hashlib.sha256(), 0
    with tempfile.NamedTemporaryFile(dir=BLOBS, prefix=".new-") as new:
        with ThreadPoolExecutor(1) as hashing:  # while the next piece comes and is written
            hashed: Future[None] | None = None
            while chunk := stream.read(min(CHUNK, length - size)):
                if hashed:
                    hashed.result()
                hashed = hashing.submit(seen.update, chunk)
                new.write(chunk)
                size += len(chunk)
        new.flush()
        os.fsync(new.fileno())
        name = seen.hexdigest()
        if wanted not in ("", name):
            return name, size
        place = blob(name)
        place.parent.mkdir(exist_ok=True)
        Path(new.name).chmod(0o440)
        if digest(place) != name:  # none, or one that is damaged: the same content mends it
            part = place.with_name(f".{name}")
            part.unlink(missing_ok=True)
            os.link(new.name, part)
            part.replace(place)
            sync(place.parent)
    return name, size


def sync(folder: Path) -> None:
    """Make what was done in a folder last."""
    handle = os.open(folder, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def blobs_of(body: Object) -> list[Object]:
    """Return what an entry names."""
    return [body["index"], *body["blobs"]]


def admit(document: Object) -> dict[str, str]:
    """Keep an entry of the catalogue, once, when all of its blobs are there."""
    try:
        body = document["body"]
        name, number, parent = str(body["data_set"]), str(body["id"]), str(body["parent"])
        named = [(str(item["sha256"]), int(item["size"])) for item in blobs_of(body)]
    except (KeyError, TypeError, ValueError) as error:
        stop(WRONG, f"no entry of a catalogue: {error!r}")
    if not (NAME.fullmatch(name) and ID.fullmatch(number)):
        stop(WRONG, f"{name!r} {number!r} names no backup")
    folder = CATALOGUE / name
    if parent and not (ID.fullmatch(parent) and (folder / f"{parent}.json").exists()):
        stop(WRONG, f"{name} {number} adds to {parent}, which is not here")
    for sha, size in named:
        place = blob(sha)
        if not place.exists() or place.stat().st_size != size:
            stop(WRONG, f"{name} {number} names blob {sha}, which is not here with {size} bytes")
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / f"{number}.json"
    with tempfile.NamedTemporaryFile("w", dir=folder, prefix=".new-") as new:
        json.dump(document, new)
        new.flush()
        os.fsync(new.fileno())
        Path(new.name).chmod(0o440)
        try:
            os.link(new.name, place)
        except FileExistsError:
            if json.loads(place.read_text()) != document:
                stop(REFUSED, f"{name} {number} is here already and cannot be changed")
    sync(folder)
    return {"data_set": name, "id": number}


def entries(wanted: str = "") -> Iterator[tuple[Path, Object]]:
    """Yield the catalogue, oldest first in each data set."""
    for file in sorted(CATALOGUE.glob("*/*.json")):
        if wanted in ("", file.parent.name):
            with contextlib.suppress(FileNotFoundError):
                yield file, json.loads(file.read_text())


def checked() -> Object:
    """Return what the last check found."""
    try:
        return json.loads(CHECKED.read_text())
    except FileNotFoundError:
        return {"at": 0, "damaged": []}


def listing(wanted: str = "") -> Object:
    """Return the catalogue, and which blobs are missing or were found to be damaged."""
    found = list(entries(wanted))
    named = {item["sha256"]: item["size"] for _, document in found for item in blobs_of(document["body"])}
    hurt = {sha for sha in checked()["damaged"] if sha in named}
    for sha, size in named.items():
        place = blob(sha)
        if not place.exists() or place.stat().st_size != size:
            hurt.add(sha)
    rows = [{"arrived": int(file.stat().st_mtime), "document": document} for file, document in found]
    return {"now": int(time.time()), "checked": checked()["at"], "damaged": sorted(hurt), "entries": rows}


def check(wanted: str = "") -> Object:
    """Read every blob again and remember which are not what their names say."""
    named = {item["sha256"] for _, document in entries(wanted) for item in blobs_of(document["body"])}
    bad = {sha for sha in named if digest(blob(sha)) != sha}
    with alone():
        damaged = sorted(bad | (set(checked()["damaged"]) - named if wanted else set()))
        part = CHECKED.with_suffix(".part")
        part.write_text(json.dumps({"at": int(time.time()), "damaged": damaged}))
        part.replace(CHECKED)
    return {"looked_at": len(named), "damaged": sorted(bad)}


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Hold the lock of what changes more than it adds."""
    ROOT.mkdir(parents=True, exist_ok=True)
    handle = os.open(ROOT / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def prune(request: Object) -> dict[str, int]:
    """Remove entries, and blobs that no entry needs; refuses what is locked, needed or the last one."""
    days = json.loads(SETTINGS.read_text())["locked_days"]
    with alone():
        gone = {(str(name), str(number)) for name, number in request["entries"]}
        everything = {(file.parent.name, file.stem): (file, doc["body"]) for file, doc in entries()}
        for name, number in sorted(gone):
            if (name, number) not in everything:
                stop(WRONG, f"there is no backup {name} {number}")
            if time.time() - everything[name, number][0].stat().st_mtime < days * 24 * 3600:
                stop(REFUSED, f"{name} {number} came less than {days} days ago: it is locked")
        for (name, number), (_, body) in everything.items():
            if (name, number) not in gone and (name, body["parent"]) in gone:
                stop(REFUSED, f"{name} {number} stays and needs {body['parent']}")
        hurt = set(checked()["damaged"])
        for name in {name for name, _ in gone}:
            whole = [
                body for key, (_, body) in everything.items() if key[0] == name and key not in gone
                and not any(item["sha256"] in hurt for item in blobs_of(body))
            ]  # fmt: skip
            if not whole:
                stop(REFUSED, f"no good backup of {name} would be left")
        for key in gone:
            everything[key][0].unlink()
        return {"entries": len(gone), "bytes": sweep()}


def sweep() -> int:
    """Remove blobs that no entry names and that are no part of a running backup; return how many bytes."""
    named = {item["sha256"] for _, document in entries() for item in blobs_of(document["body"])}
    freed = 0
    for file in BLOBS.glob("*/*"):
        if file.name not in named and time.time() - file.stat().st_mtime > LEFTOVER:
            freed += file.stat().st_size
            file.unlink()
    return freed


def pull(alias: str) -> dict[str, int]:
    """Get what another copy has and this one has not; every blob is checked against its name on arrival."""
    ssh = shlex.split(os.environ.get("TINH_VAULT_SSH", f"ssh -F {SSH} {alias}"))
    there = json.loads(subprocess.run([*ssh, "list"], stdout=subprocess.PIPE, check=True).stdout)
    mine, hurt, got, failed = {(f.parent.name, f.stem) for f, _ in entries()}, set(listing()["damaged"]), 0, 0
    for row in there["entries"]:
        body = row["document"]["body"]
        wanted = [
            b["sha256"] for b in blobs_of(body) if not blob(b["sha256"]).exists() or b["sha256"] in hurt
        ]
        lost = len(wanted) - fetch(ssh, wanted)
        if lost:
            failed += 1
            print(f"{body['data_set']} {body['id']}: {lost} blob(s) are damaged there", file=sys.stderr)
        elif (body["data_set"], body["id"]) not in mine:
            admit(row["document"])
            got += 1
    if hurt:
        check()
    return {"entries": got, "failed": failed}


def fetch(ssh: list[str], names: list[str]) -> int:
    """Get blobs; return of how many what came is what the name says."""
    good = 0
    for begin in range(0, len(names), AT_ONCE):
        part = names[begin : begin + AT_ONCE]
        with subprocess.Popen([*ssh, "get", *part], stdout=subprocess.PIPE) as process:
            assert process.stdout  # noqa: S101 - asked for above
            for name in part:
                size = process.stdout.readline().strip()
                good += size.isdigit() and receive(process.stdout, name, int(size))[0] == name
    return good


def get(name: str, *more: str) -> None:
    """Write blobs to standard output."""
    out, missing = sys.stdout.buffer, []
    for wanted in (name, *more):
        try:
            with blob(wanted).open("rb") as stream:
                out.write(b"%d\n" % os.fstat(stream.fileno()).st_size)
                shutil.copyfileobj(stream, out, CHUNK)
        except FileNotFoundError:
            out.write(b"-\n")
            missing.append(wanted)
    if missing:
        stop(DAMAGED, f"missing: {' '.join(missing)}")


def put() -> Object:
    """Keep standard input."""
    name, size = receive(sys.stdin.buffer)
    return {"sha256": name, "size": size}


def request() -> Object:
    """Return standard input as JSON."""
    try:
        found = json.loads(sys.stdin.buffer.read(LARGEST))
    except ValueError as error:
        stop(WRONG, f"no JSON: {error}")
    return found if isinstance(found, dict) else stop(WRONG, "no JSON object")


VERBS: dict[str, Callable[..., Any]] = {
    "put": put, "enter": lambda: admit(request()), "list": listing, "check": check, "get": get,
    "prune": lambda: prune(request()), "pull": pull,
}  # fmt: skip


def main(role: str, *words: str) -> None:
    """Do one verb, if the role may."""
    verb, *rest = words or tuple(shlex.split(os.environ.get("SSH_ORIGINAL_COMMAND", ""))) or ("",)
    if verb not in ROLES[role]:
        stop(REFUSED, f"{role} may not {verb or 'log in'}; it may {', '.join(sorted(ROLES[role]))}")
    try:
        inspect.signature(VERBS[verb]).bind(*rest)
    except TypeError as error:
        stop(WRONG, f"{verb}: {error}")
    if (answer := VERBS[verb](*rest)) is not None:
        print(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
