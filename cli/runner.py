"""The only caller of the Pulumi CLI.

Each run has one environment (`environment`, which `tinh env` prints for plain `pulumi`), one lock, one log in
the site's state folder, and is interrupted in one way: the first signal asks Pulumi to finish what it has
begun and to begin nothing new; the second to stop at once, which it records in the state as pending
operations; the next run repairs those. Pulumi is a session of its own, so that a terminal's Ctrl-C reaches
only `tinh`, and Pulumi outlives a killed `tinh` and finishes.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Protocol

import yaml

from cli import backend, locks
from cli.backend import StackState
from cli.pulumi_events import Event, Message, Tally, follow
from infra import paths, private
from infra.broken import broke_off
from infra.errors import Exit, HostError, LockedError, TinhError, ToolError
from infra.model.site import Site, SiteKind, load_site
from infra.stackinfo import LAYERS, StackInfo

#: Why each is set: pulumi.com/docs/iac/cli/environment-variables, and `sdk/go/common/env/env.go` of the CLI.
SETTINGS = {
    # No calls to pulumi.com: a data centre has no Internet, and plugins are those of the toolchain.
    "PULUMI_SKIP_UPDATE_CHECK": "true",
    "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
    "PULUMI_DISABLE_REGISTRY_RESOLVE": "true",
    "PULUMI_SUPPRESS_NEO_LINK": "true",
    "PULUMI_DISABLE_CI_DETECTION": "true",
    # An Output inside an f-string is a mistake and fails, instead of reaching a cluster as text.
    "PULUMI_ERROR_OUTPUT_STRING": "true",
    # The salt of the passphrase is in the state. The stack file is a copy and may be missing.
    "PULUMI_FALLBACK_TO_STATE_SECRETS_MANAGER": "true",
    # Brings the option --event-log.
    "PULUMI_DEBUG_COMMANDS": "true",
    # Speed: differences are computed side by side.
    "PULUMI_PARALLEL_DIFF": "true",
}
#: Further settings for speed where losing the record of one run costs nothing: the state is written once, at
#: the end of a run, not twice per resource. After kill -9 the next run adopts what the killed one created.
SETTINGS_THROWAWAY = {
    "PULUMI_SKIP_CHECKPOINTS": "true",
    "PULUMI_DIY_BACKEND_DISABLE_CHECKPOINT_BACKUPS": "true",
}
#: Further options where a layer needs them, by layer and verb. Routers are also changed by hand, which only a
#: refresh sees; and one of them that does not answer must not keep the others from being changed.
LAYER_OPTIONS = {
    ("network", "preview"): ("--refresh",),
    ("network", "up"): ("--refresh", "--continue-on-error"),
    ("network", "destroy"): ("--continue-on-error",),
}
#: Logs kept per site.
KEEP_LOGS = 60
#: Seconds to wait before going on where connections to the API broke.
BREAKS = (5, 15)
#: Seconds that Pulumi gets to stop after the second signal; its own limit for plugins is 5.
GRACE = 30.0


class Interrupted(TinhError):
    """The user or the system asked to stop, and the run has stopped."""

    code = Exit.INTERRUPTED


class BrokenError(ToolError):
    """Nothing was refused: connections broke off."""


class View(Protocol):
    """Who watches a run."""

    def event(self, event: Event, tally: Tally) -> None:
        """Take note of an event; `tally` already includes it."""

    def tick(self) -> None:
        """Some time has passed."""

    def note(self, text: str) -> None:
        """Show a sentence of `tinh` itself."""


@dataclass(frozen=True)
class Outcome:
    """A run that ended well."""

    tally: Tally
    log: Path
    seconds: float


def select(site_name: str, layers: Sequence[str] = ()) -> tuple[Site, list[StackInfo]]:
    """Return a site and the stacks of its layers in the order of deployment.

    Args:
        site_name: name of a folder in `stacks/sites/`.
        layers: only these layers; none means all that the site has.

    Raises:
        TinhError: unknown site or layer; the message has the known names.
    """
    from stacks.layers import layers_of

    site = load_site(site_name)
    there = layers_of(site_name)
    for layer in layers:
        if layer not in there:
            known = f"is not there on site {site_name}" if layer in LAYERS else "is unknown"
            raise TinhError(
                f"layer {layer!r} {known}", where="--layer", fix=f"use one of: {', '.join(there)}"
            )
    return site, [StackInfo(layer, site.name) for layer in there if not layers or layer in layers]


def environment(site: Site, *, cluster: bool = True) -> dict[str, str]:
    """Return the variables of every run on a site, complete with PATH, and make what they point to.

    Args:
        site: the site.
        cluster: the runs need the provider for Kubernetes; before the cluster it may still be built.

    Raises:
        TinhError: the passphrase is missing while there is something encrypted with it.
        HostError: the toolchain is missing.
    """
    from lab.toolchain import artifact

    state = paths.state(site.name)
    home = state.root / "pulumi-home"
    for folder in (state.pulumi, home, state.logs):
        folder.mkdir(exist_ok=True, mode=0o700)
    _passphrase(state)
    if cluster:
        _link_plugins(artifact("pulumi-kubernetes"), home / "plugins")
    _no_log(home / "logs")
    return {
        "PATH": tool_path(),
        "TINH_INSTANCE": paths.instance(),
        "KUBECONFIG": str(state.kubeconfig),
        "PULUMI_HOME": str(home),
        "PULUMI_BACKEND_URL": f"file://{state.pulumi}",
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(state.passphrase),
        **SETTINGS,
        **({} if site.kind is SiteKind.DATACENTRE else SETTINGS_THROWAWAY),
    }


def _no_log(place: Path) -> None:
    """Put a file where Pulumi would keep its own log.

    It writes an encrypted log of every run (some 50 MB and 25 s of CPU for a preview of 200 resources), has no
    switch for it, and goes on without one when the place is taken. What went wrong is in our log of the run.
    """
    if place.is_dir():
        shutil.rmtree(place)
    place.touch(mode=0o600)


def tool_path() -> str:
    """Return PATH with the toolchain and this Python first; the same when it is there already."""
    from lab.toolchain import bin_dir

    mine = [str(bin_dir()), str(Path(sys.prefix) / "bin")]
    rest = [part for part in os.environ.get("PATH", "").split(os.pathsep) if part and part not in mine]
    return os.pathsep.join([*mine, *rest])


def foreign(env: dict[str, str]) -> list[str]:
    """Return the caller's Pulumi variables that would change a run: a passphrase, a stack, a setting."""
    return sorted(name for name in os.environ if name.startswith("PULUMI_") and name not in env)


def _passphrase(state: paths.SiteState) -> None:
    """Make the passphrase once; never again while something needs the old one."""
    if state.passphrase.exists():
        if not state.passphrase.read_text().strip():
            raise TinhError(
                "the passphrase file is empty",
                where=str(state.passphrase),
                fix="restore it from the backup of the keys",
            )
        return
    encrypted = []
    for stack in backend.stacks(state):
        found = backend.read_stack(state, stack)
        if found and found.salt:
            encrypted.append(stack)
    if encrypted:
        raise TinhError(
            f"the passphrase is missing, and {', '.join(encrypted)} cannot be read without it",
            where=str(state.passphrase),
            fix="restore the file (mode 0600) from the backup of the site's keys; a new one opens nothing",
        )
    private.once(state.passphrase, lambda: secrets.token_urlsafe(32).encode())


def _link_plugins(artifact: Path, plugins: Path) -> None:
    """Lay out the toolchain's plugins as Pulumi wants them: real folders, whose files may be links."""
    for folder in artifact.glob("plugins/resource-*"):
        for file in folder.iterdir():
            link = plugins / folder.name / file.name
            if not (link.is_symlink() and link.readlink() == file):
                link.parent.mkdir(parents=True, exist_ok=True)
                link.unlink(missing_ok=True)
                link.symlink_to(file)


def sync_stack_file(site: Site, stack: StackInfo) -> None:
    """Make the salt in `stacks/config/Pulumi.<stack>.yaml` that of the state, where the file is not in git.

    The file of a lab or sim may be left of an instance that is gone, or be that of another instance of the
    same checkout; its salt would make the right passphrase look wrong.
    """
    file = paths.REPO / "stacks" / "config" / f"Pulumi.{stack.name}.yaml"
    if site.kind is SiteKind.DATACENTRE or not file.exists():
        return
    config = yaml.safe_load(file.read_text("utf-8")) or {}
    state = backend.read_stack(paths.state(site.name), stack.name)
    salt = state.salt if state else None
    if config.get("encryptionsalt") == salt:
        return
    config.pop("encryptionsalt", None)
    if salt:
        config["encryptionsalt"] = salt
    if config:
        file.write_text(yaml.safe_dump(config), "utf-8")
    else:
        file.unlink()


class Runner:
    """Runs Pulumi on the stacks of one site.

    Args:
        site: the site.
        view: who watches.
        command: what the user runs, shown to others who wait for the lock.
        stacks: those that it will be asked for; when all of them come before the cluster, none is needed.

    Raises:
        RefusedError: the kubeconfig reaches another cluster than the site's.
        HostError: the site has no cluster, or the toolchain is missing.
        ToolError: the cluster does not answer.
    """

    def __init__(self, site: Site, view: View, command: str, stacks: Sequence[StackInfo] = ()) -> None:
        from infra.cluster import check_cluster
        from stacks.layers import WITHOUT_CLUSTER

        self.site, self.view, self.command = site, view, command
        self.state = paths.state(site.name)
        cluster = not stacks or any(stack.layer not in WITHOUT_CLUSTER for stack in stacks)
        self.env = environment(site, cluster=cluster)
        os.environ["PATH"] = self.env["PATH"]  # for kubectl in the check below
        if cluster:
            check_cluster(site)

    def read(self, stack: StackInfo) -> StackState | None:
        """Return the recorded state of a stack; None when it does not exist."""
        return backend.read_stack(self.state, stack.name)

    @contextlib.contextmanager
    def locked(self, stack: StackInfo) -> Generator[None, None, None]:
        """Hold a stack's lock, with everything in order for a run that changes it.

        Raises:
            LockedError: another run holds it, or a killed one has left Pulumi's lock.
        """
        with locks.stack_lock(self.state, stack.name, self.command):
            locks.refuse_stranded(self.state, stack.name)
            yield

    def up(self, stack: StackInfo) -> Outcome:
        """Deploy a stack that `prepare` has seen.

        Raises:
            TinhError: see `_run`.
        """
        before, started = self.read(stack), time.monotonic()
        outcome = self._up(stack)
        from infra.timings import record

        seconds = time.monotonic() - started  # with the tries that broke off
        record(self.site.name, f"up.{stack.layer}", seconds, cold=not (before and before.records))
        return outcome

    def _up(self, stack: StackInfo) -> Outcome:
        """Deploy; go on where connections to the API broke, which not every operation waits for by itself."""
        options = ("--yes", "--skip-preview", "--suppress-outputs")
        for pause in BREAKS:
            try:
                return self._run(stack, "up", *options)
            except BrokenError as error:
                self.view.note(f"{stack.name}: a connection broke; going on in {pause} s ({error.where})")
                time.sleep(pause)
                self.prepare(stack)
        return self._run(stack, "up", *options)

    def preview(self, stack: StackInfo) -> Outcome:
        """Find out what `up` would change; the log of the outcome is the readable difference."""
        sync_stack_file(self.site, stack)
        return self._run(stack, "preview", "--diff", "--suppress-outputs")

    def destroy(self, stack: StackInfo, unprotect: Sequence[str]) -> Outcome:
        """Destroy everything in a stack; its history stays.

        Args:
            stack: the stack.
            unprotect: URNs of the protected resources that may go.
        """
        self.prepare(stack)
        if unprotect:
            self._command("state", "unprotect", "--stack", stack.name, "--yes", *unprotect)
        return self._run(stack, "destroy", "--yes", "--skip-preview")

    def prepare(self, stack: StackInfo) -> None:
        """Create the stack when it is missing; clear what an interrupted run has left."""
        sync_stack_file(self.site, stack)
        before = self.read(stack)
        if before is None:
            self._command("stack", "init", stack.name, "--no-select", "--secrets-provider", "passphrase")
        elif before.pending:
            names = ", ".join(str(resource) for resource in dict.fromkeys(before.pending))
            self.view.note(f"{stack.name}: an earlier run was interrupted; repairing the record of {names}")
            self._run(stack, "refresh", "--yes", "--skip-preview", "--clear-pending-creates")

    def _new_log(self, name: str) -> Path:
        old = sorted(self.state.logs.glob("pulumi-*.log"))
        for file in old[:-KEEP_LOGS]:
            file.unlink(missing_ok=True)
        return self.state.logs / f"pulumi-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{name}.log"

    def _arguments(self, verb: Sequence[str]) -> list[str]:
        pulumi = shutil.which("pulumi", path=self.env["PATH"])
        if pulumi is None:
            raise HostError("there is no `pulumi`", where=self.env["PATH"], fix="tinh toolchain get --all")
        return [pulumi, *verb, "--non-interactive", "--color", "never"]

    def _child_env(self) -> dict[str, str]:
        dropped = foreign(self.env)
        return {name: value for name, value in os.environ.items() if name not in dropped} | self.env

    def _command(self, *verb: str) -> None:
        """Run a short command to its end, also when a signal comes: none of them can be continued.

        Raises:
            Interrupted: a signal came meanwhile.
            ToolError: the command failed.
        """
        log = self._new_log("-".join(verb[:2]))
        with log.open("wb") as out, self._signals() as interrupts:
            done = subprocess.run(
                self._arguments(verb), cwd=paths.REPO, env=self._child_env(), check=False,
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        if done.returncode:
            raise _failure(f"pulumi {' '.join(verb[:2])}", Tally(), log)
        if interrupts:
            raise Interrupted("interrupted", where=str(log), fix="run the same command again")

    def _run(self, stack: StackInfo, verb: str, *options: str, repaired: bool = False) -> Outcome:
        """Run the engine on a stack and wait for it.

        Raises:
            Interrupted: a signal came; everything that Pulumi had begun is recorded.
            LockedError: Pulumi's own lock is held.
            ToolError: something failed; the messages of the engine are in it.
        """
        log = self._new_log(f"{verb}-{stack.name}")
        events = self.state.root / f"events-{stack.name}-{os.getpid()}.jsonl"
        started, tally = time.monotonic(), Tally()
        more = LAYER_OPTIONS.get((stack.layer, verb), ())
        with log.open("wb") as out, _private(events), self._signals() as interrupts:
            process = subprocess.Popen(
                self._arguments([verb, "--stack", stack.name, "--event-log", str(events), *more, *options]),
                cwd=paths.REPO, env=self._child_env(), stdin=subprocess.DEVNULL, stdout=out,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
            try:
                self._watch(process, follow(events), tally, interrupts)
            except BaseException:
                # Whatever went wrong with watching (a closed pipe), the run must not go on unwatched.
                process.send_signal(signal.SIGINT)
                process.wait()
                raise
        if process.returncode < 0:
            self._clear_away(stack, process.pid)
        if interrupts:
            raise Interrupted(
                f"interrupted: {verb} of {stack.name} has stopped; what was done is recorded",
                where=str(log),
                fix="run the same command again: it continues from here",
            )
        if process.returncode == 0:
            return Outcome(tally, log, time.monotonic() - started)
        if process.returncode < 0:
            raise ToolError(
                f"{verb} of {stack.name}: Pulumi was killed by signal {-process.returncode}",
                where=str(log),
                fix="free memory if the system did it (`dmesg`); run the same command again: it continues",
            )
        if "snapshot integrity" in log.read_text("utf-8", "replace") and not repaired:
            self.view.note(f"{stack.name}: the recorded state is inconsistent; repairing it")
            self._command("state", "repair", "--stack", stack.name, "--yes")
            return self._run(stack, verb, *options, repaired=True)
        raise _failure(f"{verb} of {stack.name}", tally, log)

    def _watch(
        self,
        process: subprocess.Popen[bytes],
        events: Iterator[Event | None],
        tally: Tally,
        interrupts: list[int],
    ) -> None:
        """Pass events on until the process has ended, and signals to the process."""
        passed, deadline = 0, float("inf")
        while True:
            ended = process.poll() is not None
            while event := next(events):
                tally.feed(event)
                self.view.event(event, tally)
            if ended:
                return
            if passed < len(interrupts):
                passed += 1
                process.send_signal(signal.SIGINT)
                if passed == 1:
                    self.view.note("interrupted: finishing what is under way; once more stops at once")
                else:
                    deadline = min(deadline, time.monotonic() + GRACE)
                    self.view.note("stopping at once; the next run repairs what is left half-done")
            if time.monotonic() > deadline:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            self.view.tick()
            time.sleep(0.1)

    @contextlib.contextmanager
    def _signals(self) -> Generator[list[int], None, None]:
        """Collect signals to stop instead of dying of them."""
        received: list[int] = []

        def collect(number: int, _: FrameType | None) -> None:
            received.append(number)

        watched = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, collect) for number in watched}
        try:
            yield received
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _clear_away(self, stack: StackInfo, pid: int) -> None:
        """Remove what our own Pulumi process, which was killed, has left: its plugins and its lock."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        for lock in backend.locks(self.state, stack.name):
            if lock.pid == pid and locks.is_ours(lock):
                backend.remove_lock(lock)


@contextlib.contextmanager
def _private(file: Path) -> Generator[None, None, None]:
    """Make an empty file that only its owner can read, and remove it in the end.

    The SDK's debug messages, which the engine writes there, have the values of secret outputs in them.
    """
    for old in file.parent.glob("events-*.jsonl"):
        if not locks.alive(int(old.stem.rpartition("-")[2])):
            old.unlink(missing_ok=True)
    os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def _failure(what: str, tally: Tally, log: Path) -> TinhError:
    """Return the error that says why Pulumi failed."""
    text = log.read_text("utf-8", "replace")
    if "incorrect passphrase" in text:
        return TinhError(
            f"{what} failed: the passphrase is not the one that the stack was encrypted with",
            where=str(log),
            fix="restore the site's passphrase file (`tinh env` shows where) from the backup of its keys",
        )
    if "currently locked by" in text:
        return LockedError(
            f"{what} failed: another Pulumi run holds the stack's lock", where=str(log), fix="tinh status"
        )
    lines = [_message(error) for error in tally.errors]
    if not lines:
        lines = [line for line in text.splitlines() if line.startswith("error:")] or text.splitlines()[-5:]
    failed = [(e.resource.type, e.text) for e in tally.errors if e.resource and not e.resource.is_stack]
    broken = failed and all(broke_off(*each) for each in failed)
    return (BrokenError if broken else ToolError)(
        f"{what} failed:\n" + "\n".join(f"  {line}" for line in lines),
        where=str(log),
        fix="correct the cause and run the same command again: it continues from here",
    )


def _message(error: Message) -> str:
    where = f"{error.resource}: " if error.resource and not error.resource.is_stack else ""
    return where + error.text.removeprefix("error: ").replace("\n", "\n  ")
