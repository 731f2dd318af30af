"""Changes a router's configuration so that a mistake undoes itself. Runs on the router, with its own Python 3.

    agent.py show      what is in the files, and what the daemons run
    agent.py apply     validate, arm the undoing, replace the files, reload
    agent.py confirm   keep the change: whoever says it has reached the router anew
    agent.py rollback  undo a change that nobody confirmed; run by the timer that `apply` arms
    agent.py boot      the same before the daemons start, for a router that went down before the confirmation

Standard input is base64 of a JSON object: for `show` and `apply` {"files": {name: file}, "texts": {name: text or
null}, "force": [name], "seconds": N, "agent": this program}, for `confirm` {"token": text}. A file is {"path",
"owner", "mode", "check", "load", "unload", "show"}: commands are lists of words, with {} for the path. A text of
null gives the file back: it becomes what it was when it was first taken over (`day0.json`), or vanishes.

Standard output is JSON; what went wrong is on standard error, in words for people, with exit code 1.
TINH_ROOT puts everything below another folder than /, for tests.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Object = dict[str, Any]
#: Name of a file -> its text; None: there is none.
Texts = dict[str, "str | None"]

ROOT = os.environ.get("TINH_ROOT", "")
HOME = Path(ROOT + "/var/lib/tinh/router")
#: The change that waits for its confirmation: what undoes it.
PENDING = HOME / "pending.json"
DAY0 = HOME / "day0.json"
UNIT = "tinh-router-rollback"
BOOT_UNIT = """\
[Unit]
Description=Undo a change of the router's configuration that nobody confirmed
ConditionPathExists=/var/lib/tinh/router/pending.json
DefaultDependencies=no
After=local-fs.target
Before=network-pre.target nftables.service frr.service
Wants=network-pre.target
[Service]
Type=oneshot
ExecStart=/usr/bin/python3 /var/lib/tinh/router/agent.py boot
[Install]
WantedBy=multi-user.target
"""
#: Seconds for a command that only looks.
LOOK = 20


class Failure(Exception):
    """Something to tell the person who changes the router."""


def main(verb: str) -> Object:
    """Do what is asked; return what to print."""
    os.umask(0o077)
    os.environ["PATH"] += ":/usr/local/sbin:/usr/sbin:/sbin"
    HOME.mkdir(parents=True, exist_ok=True, mode=0o700)
    if verb == "rollback":
        with locked():
            return rollback("nobody confirmed it in time")
    if verb == "boot":
        return rollback("the router started before it was confirmed", load_too=False)
    request = json.loads(base64.b64decode(sys.stdin.read()))
    if verb == "show":
        return show(request)
    with locked():
        return {"apply": apply, "confirm": confirm}[verb](request)


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """One change at a time."""
    with (HOME / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def show(request: Object) -> Object:
    """Return the texts of the files (null: missing) and the output of their `show` commands."""
    running, seen = {}, {}
    for name, file in request["files"].items():
        words = file["show"]
        if words:
            key = tuple(words)
            if key not in seen:
                result = run(words, LOOK)
                seen[key] = result.stdout if result.returncode == 0 else f"not running: {said(result)}\n"
            running[name] = seen[key]
    return {
        "files": {name: read(file["path"]) for name, file in request["files"].items()},
        "running": running,
    }


def apply(request: Object) -> Object:
    """Make the files what is asked; nothing is changed unless every text is valid."""
    if PENDING.exists():
        left = json.loads(PENDING.read_text())["until"] - time.time()
        if left > -LOOK:
            raise Failure(
                f"another change waits for its confirmation ({max(left, 0):.0f} s left); nothing was changed"
            )
        rollback("its timer did not run")
    day0 = json.loads(DAY0.read_text()) if DAY0.exists() else {}
    files, texts = request["files"], {}
    for name, text in request["texts"].items():
        if text is None:
            text = day0.get(name, read(files[name]["path"]))
        if text != read(files[name]["path"]) or name in request["force"]:
            texts[name] = text
    if not texts:
        return {"token": "", **show(request)}
    validate(files, texts)

    for name in texts:
        day0.setdefault(name, read(files[name]["path"]))
    write(DAY0, json.dumps(day0))
    write(HOME / "agent.py", request["agent"])
    token = uuid.uuid4().hex
    undo = {name: read(files[name]["path"]) for name in texts}
    until = time.time() + request["seconds"]
    given_back = [name for name, text in request["texts"].items() if text is None]
    pending = {"token": token, "files": files, "texts": undo, "until": until, "given_back": given_back}
    write(PENDING, json.dumps(pending))
    try:
        arm(request["seconds"])
        replace(files, texts)
        load(files, texts, request["seconds"])
    except (Failure, OSError, LookupError) as error:
        undone = rollback("it could not be loaded")
        problem = " except: " + undone["problem"] if "problem" in undone else ""
        raise Failure(f"{error}\nthe router is back at what it had before{problem}") from None
    return {"token": token, **show(request)}


def validate(files: Object, texts: Texts) -> None:
    """Have every new text checked by its own parser, beside the file that it will replace."""
    for name, text in texts.items():
        if text is None or not files[name]["check"]:
            continue
        beside = Path(ROOT + files[name]["path"] + ".tinh-new")
        try:
            write(beside, text)
            result = run([word.replace("{}", str(beside)) for word in files[name]["check"]], LOOK)
        except FileNotFoundError:
            raise Failure(f"{name}: there is no folder {beside.parent}; nothing was changed") from None
        finally:
            beside.unlink(missing_ok=True)
        if result.returncode:
            # The parser names the file that it was given; people know the other name.
            message = said(result).replace(str(beside), files[name]["path"])
            raise Failure(f"{name} is not valid, nothing was changed:\n{message}")


def arm(seconds: int) -> None:
    """Have the change undone after some seconds, and at the next start, whatever happens to this process."""
    unit = Path(f"{ROOT}/etc/systemd/system/{UNIT}-boot.service")
    if not unit.exists() or unit.read_text() != BOOT_UNIT:
        unit.parent.mkdir(parents=True, exist_ok=True)
        write(unit, BOOT_UNIT, 0o644)
        must(["systemctl", "enable", "-q", "--no-reload", unit.name], LOOK)
    disarm()
    must(
        [
            "systemd-run", "-q", "--collect", f"--unit={UNIT}", f"--on-active={seconds}",
            "--timer-property=AccuracySec=200ms", "/usr/bin/python3", str(HOME / "agent.py"), "rollback",
        ],
        LOOK,
    )  # fmt: skip


def disarm() -> None:
    """Stop the timer; it may have ended by itself."""
    run(["systemctl", "stop", UNIT + ".timer"], LOOK)
    run(["systemctl", "reset-failed", UNIT + ".service"], LOOK)


def confirm(request: Object) -> Object:
    """Keep the change."""
    pending = json.loads(PENDING.read_text()) if PENDING.exists() else {}
    if pending.get("token") != request["token"]:
        raise Failure("the confirmation came too late: the router is back at what it had before")
    PENDING.unlink()
    disarm()
    day0 = json.loads(DAY0.read_text())
    write(DAY0, json.dumps({name: text for name, text in day0.items() if name not in pending["given_back"]}))
    return {}


def rollback(why: str, *, load_too: bool = True) -> Object:
    """Undo the change that waits for its confirmation, if there is one."""
    if not PENDING.exists():
        return {}
    pending = json.loads(PENDING.read_text())
    replace(pending["files"], pending["texts"])
    # From here on the files are right whatever happens: a start of the router needs no undoing.
    PENDING.unlink()
    undone = {"undone": sorted(pending["texts"]), "why": why}
    if load_too:
        try:
            load(pending["files"], pending["texts"], 3 * LOOK)
        except Failure as error:
            undone["problem"] = str(error)
        disarm()
    return undone


def replace(files: Object, texts: Texts) -> None:
    """Put the texts in place, each in one step."""
    for name, text in texts.items():
        path = Path(ROOT + files[name]["path"])
        if text is None:
            path.unlink(missing_ok=True)
            continue
        if path.exists():
            before = path.stat()
            write(path, text, before.st_mode & 0o7777, (before.st_uid, before.st_gid))
        else:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
            write(path, text, int(files[name]["mode"], 8))
            shutil.chown(path, files[name]["owner"], files[name]["owner"])


def load(files: Object, texts: Texts, seconds: int) -> None:
    """Let the daemons take the files; a command that several files need runs once."""
    done = []
    for name, text in texts.items():
        for words in files[name]["unload" if text is None else "load"]:
            words = [word.replace("{}", ROOT + files[name]["path"]) for word in words]
            if words not in done:
                done.append(words)
                must(words, seconds)


def read(path: str) -> str | None:
    """Return a file's text, None when there is none. Bytes that are no text survive being put back."""
    try:
        return Path(ROOT + path).read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return None


def write(path: Path | str, text: str, mode: int = 0o600, owner: tuple[int, int] | None = None) -> None:
    """Write a file in one step, on the disk before it is in place."""
    part = Path(str(path) + ".tinh-part")
    with part.open("wb") as file:
        file.write(text.encode("utf-8", "surrogateescape"))
        file.flush()
        os.fsync(file.fileno())
    part.chmod(mode)
    if owner:
        os.chown(part, *owner)
    part.replace(path)


def run(words: list[str], seconds: int) -> subprocess.CompletedProcess[str]:
    """Run a command to its end or its time."""
    try:
        return subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False,
            encoding="utf-8", errors="replace",
        )  # fmt: skip
    except FileNotFoundError:
        return subprocess.CompletedProcess(words, 127, "", f"{words[0]} is not installed")
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, 124, "", f"no end after {seconds} s")


def must(words: list[str], seconds: int) -> None:
    """Run a command that has to end well."""
    result = run(words, seconds)
    if result.returncode:
        raise Failure(f"`{' '.join(words)}` failed: {said(result)}")


def said(result: subprocess.CompletedProcess[str]) -> str:
    """Return the last words of a command."""
    lines = (result.stderr.strip() or result.stdout.strip() or f"exit code {result.returncode}").splitlines()
    return "\n".join(lines[-12:])


if __name__ == "__main__":
    try:
        print(json.dumps(main(sys.argv[1])))
    except Failure as failure:
        print(failure, file=sys.stderr)
        sys.exit(1)
