"""A stand-in for the Pulumi CLI: same arguments, event log, state, locks and reaction to signals, no engine.

What the program of each stack declares is in `program.json` of the folder FAKE_PULUMI, per stack:
{"resources": [], "protect": [], "fail": name, "says": text, "die": name, "hang": name, "deaf": true, "output": any}
"""

import hashlib
import json
import os
import signal
import sys
import time
import uuid
from pathlib import Path

FAKE = Path(os.environ["FAKE_PULUMI"])
BACKEND = Path(os.environ["PULUMI_BACKEND_URL"].removeprefix("file://")) / ".pulumi"
arguments = sys.argv[1:]
signals = []


def option(name):
    return arguments[arguments.index(name) + 1] if name in arguments else None


def bail(text, code=1):
    print(f"error: {text}")
    sys.exit(code)


def urn(stack, name):
    kind = "pulumi:pulumi:Stack" if name is None else "kubernetes:core/v1:ConfigMap"
    return f"urn:pulumi:{stack}::tinh::{kind}::{name or 'tinh-' + stack}"


class Stack:
    def __init__(self, name):
        self.name = name
        self.file = BACKEND / "stacks" / "tinh" / f"{name}.json"
        self.file.parent.mkdir(parents=True, exist_ok=True)
        program = json.loads((FAKE / "program.json").read_text()) if (FAKE / "program.json").exists() else {}
        self.program = {"resources": [], "protect": [], "output": ""} | program.get(name, {})
        if self.file.exists():
            self.latest = json.loads(self.file.read_text())["checkpoint"]["latest"]

    def create(self):
        salt = f"v1:{hashlib.sha256(passphrase()).hexdigest()}"
        secrets = {"type": "passphrase", "state": {"salt": salt}}
        self.latest = {"secrets_providers": secrets, "resources": [], "pending_operations": []}
        self.save()
        config = Path("stacks/config") / f"Pulumi.{self.name}.yaml"
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text(f"encryptionsalt: {salt}\n")

    def save(self):
        self.file.write_text(json.dumps({"version": 3, "checkpoint": {"latest": self.latest}}))

    def names(self):
        return [r["urn"].split("::")[-1] for r in self.latest["resources"] if "::kubernetes" in r["urn"]]

    def record(self, name):
        kind = "kubernetes:core/v1:ConfigMap"
        protect = name in self.program["protect"]
        self.latest["resources"].append(
            {"urn": urn(self.name, name), "type": kind, "id": f"ns/{name}", "protect": protect}
        )

    def drop(self, name):
        self.latest["resources"] = [r for r in self.latest["resources"] if r["urn"] != urn(self.name, name)]

    def lock(self):
        folder = BACKEND / "locks" / "organization" / "tinh" / self.name
        folder.mkdir(parents=True, exist_ok=True)
        if list(folder.glob("*.json")):
            bail("the stack is currently locked by 1 lock(s). Either wait or `pulumi cancel`.")
        self.lock_file = folder / f"{uuid.uuid4()}.json"
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        owner = {"pid": os.getpid(), "username": "tester", "hostname": os.uname().nodename, "timestamp": now}
        self.lock_file.write_text(json.dumps(owner))


def passphrase():
    file = Path(os.environ["PULUMI_CONFIG_PASSPHRASE_FILE"])
    # The real CLI prefers this variable, which is why `tinh` must not pass it on.
    return os.environ.get("PULUMI_CONFIG_PASSPHRASE", file.read_text()).encode()


def open_stack(name):
    stack = Stack(name)
    if not stack.file.exists():
        bail(f"no stack named '{name}' found", 6)
    salt = stack.latest["secrets_providers"]["state"]["salt"]
    config = Path("stacks/config") / f"Pulumi.{name}.yaml"
    if config.exists() and "encryptionsalt: " in config.read_text():
        salt = config.read_text().split("encryptionsalt: ")[1].strip()
    if salt != f"v1:{hashlib.sha256(passphrase()).hexdigest()}":
        bail("getting stack configuration: get stack secrets manager: incorrect passphrase")
    return stack


class Engine:
    def __init__(self, stack):
        self.stack, self.changes = stack, {}
        self.log = Path(option("--event-log")).open("a")  # noqa: SIM115 - closed by the end

    def emit(self, **event):
        self.log.write(json.dumps(event) + "\n")
        self.log.flush()

    def step(self, op, name, **states):
        metadata = {
            "op": op,
            "urn": urn(self.stack.name, name),
            "type": "t",
            "old": None,
            "new": None,
        } | states
        if op not in ("same",):
            self.emit(resourcePreEvent={"metadata": metadata})
        return metadata

    def done(self, metadata):
        self.changes[metadata["op"]] = self.changes.get(metadata["op"], 0) + 1
        self.emit(resOutputsEvent={"metadata": metadata})

    def error(self, text, name=None):
        print(f"error: {text}")
        event = {"prefix": "error: ", "message": f"{text}\n", "severity": "error"}
        self.emit(diagnosticEvent=event | ({"urn": urn(self.stack.name, name)} if name else {}))

    def end(self, result):
        self.emit(summaryEvent={"resourceChanges": self.changes, "result": result})
        self.emit(cancelEvent={})


def work(verb, stack, engine):
    """Do the steps; return the exit code."""
    program = stack.program
    leave = set(stack.names()) - set(program["resources"])
    steps = [("create", n) for n in program["resources"] if n not in stack.names()] + [
        ("delete", n) for n in leave
    ]
    if verb == "destroy":
        steps = [("delete", name) for name in reversed(stack.names())]
    kept = len(set(stack.names()) & set(program["resources"]))
    # The real SDK's debug messages hold outputs, secrets included.
    engine.emit(diagnosticEvent={"prefix": "debug: ", "message": "props=hunter2-secret", "severity": "debug"})
    for op, name in steps:
        if signals:
            break
        metadata = engine.step(op, name)
        if program.get("fail") == name:
            engine.error(program.get("says", f"the server rejected {name}"), name)
            engine.emit(resOpFailedEvent={"metadata": metadata, "status": 0, "steps": 0})
            engine.error("update failed")
            engine.end("failed")
            return 1
        if op == "delete" and any(
            r["protect"] for r in stack.latest["resources"] if r["urn"] == urn(stack.name, name)
        ):
            engine.error(f"resource {name} cannot be deleted because it is protected", name)
            return 1
        if program.get("die") == name:
            os.kill(os.getpid(), signal.SIGKILL)
        if program.get("hang") == name and verb != "preview":
            for _ in range(600):
                # One signal: the step is finished. Two: it is left half-done.
                time.sleep(0.05)
                if len(signals) > 1 or (signals and program.get("polite")):
                    break
            if len(signals) > 1:
                stack.latest["pending_operations"].append(
                    {"type": "creating", "resource": {"urn": urn(stack.name, name)}}
                )
                stack.save()
                engine.end("canceled")
                return 8
        if verb != "preview":
            (stack.record if op == "create" else stack.drop)(name)
            stack.save()
        engine.done(metadata)
    if signals:
        engine.error("update canceled")
        engine.end("failed")
        return 1
    engine.changes["same"] = kept
    outputs = {"contract": program["output"]} if program["output"] else {}
    root = {"urn": urn(stack.name, None), "type": "pulumi:pulumi:Stack", "outputs": outputs}
    old = next((r for r in stack.latest["resources"] if r["type"] == root["type"]), root)
    metadata = engine.step("same", None, old={"outputs": old["outputs"]}, new={"outputs": root["outputs"]})
    engine.done(metadata)
    if verb == "up":
        stack.latest["resources"] = [r for r in stack.latest["resources"] if r["type"] != root["type"]] + [
            root
        ]
    elif verb == "destroy":
        stack.latest["resources"] = []
    engine.end("succeeded")
    return 0


def run(verb):
    stack = open_stack(option("--stack"))
    if (FAKE / "corrupt").exists():
        bail("snapshot integrity failure; refusing to use it: resource refers to missing parent")
    deaf = stack.program.get("deaf")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN if deaf else lambda number, frame: signals.append(number))
    if verb != "preview":
        stack.lock()
    engine = Engine(stack)
    try:
        if verb == "refresh":
            stack.latest["pending_operations"] = []
            engine.end("succeeded")
            return 0
        print(f"{verb} {stack.name}: {stack.program['resources']}")
        return work(verb, stack, engine)
    finally:
        if verb != "preview":
            stack.save()
            stack.lock_file.unlink()
            history = BACKEND / "history" / "tinh" / stack.name
            history.mkdir(parents=True, exist_ok=True)
            entry = {"kind": "update", "result": "succeeded", "endTime": int(time.time())}
            (history / f"{stack.name}-{time.time_ns()}.history.json").write_text(json.dumps(entry))


with (FAKE / "calls.jsonl").open("a") as calls:
    seen = {name: value for name, value in os.environ.items() if name.startswith(("PULUMI_", "TINH_"))}
    calls.write(json.dumps({"arguments": arguments, "env": seen, "cwd": str(Path.cwd())}) + "\n")
match arguments[:2]:
    case ["stack", "init"]:
        Stack(arguments[2]).create()
    case ["state", "repair"]:
        (FAKE / "corrupt").unlink()
    case ["state", "unprotect"]:
        stack = open_stack(option("--stack"))
        for resource in stack.latest["resources"]:
            resource["protect"] = resource.get("protect") and resource["urn"] not in arguments
        stack.save()
    case [verb, _]:
        sys.exit(run(verb))
