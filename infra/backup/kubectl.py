"""The site's cluster by kubectl, for what is neither declared nor Pulumi's: backups, restores, drills."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import tempfile
import time
from collections.abc import Generator, Sequence
from typing import IO, Any

from infra import paths
from infra.errors import ToolError
from infra.model.site import Site

#: Seconds for a request that only looks.
LOOK = 60
#: Seconds until a forwarded port answers.
FORWARD = 20


class Kubectl:
    """Runs kubectl on a site's cluster, after comparing it with the recorded one.

    Args:
        site: the site.

    Raises:
        TinhError: the cluster is missing, does not answer, or is not the site's.
    """

    def __init__(self, site: Site) -> None:
        from infra.cluster import check_cluster
        from lab.toolchain import bin_dir

        check_cluster(site)
        self.words = [str(bin_dir() / "kubectl"), f"--kubeconfig={paths.state(site.name).kubeconfig}"]

    def text(self, *words: str, stdin: str | None = None, seconds: float = LOOK) -> str:
        """Run a command and return what it prints.

        Raises:
            ToolError: it failed; its last line is named.
        """
        try:
            done = subprocess.run(
                [*self.words, *words],
                input=stdin,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise self._failed(words, f"no answer within {seconds:.0f} s") from None
        if done.returncode:
            raise self._failed(words, done.stderr.strip()[-400:])
        return done.stdout

    def json(self, *words: str) -> Any:  # noqa: ANN401 - objects of Kubernetes
        """Return what a command prints as JSON; an empty list where it prints nothing."""
        return json.loads(self.text(*words, "--output=json") or '{"items": []}')

    def find(self, *words: str) -> Any:  # noqa: ANN401 - an object of Kubernetes
        """Return one object; None: there is none."""
        text = self.text("get", *words, "--ignore-not-found", "--output=json")
        return json.loads(text) if text else None

    def apply(self, objs: Sequence[Any], *, create: bool = False) -> None:
        """Apply objects; with `create`, fail where one of them is there already."""
        listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objs)})
        verb = ("create",) if create else ("apply", "--server-side", "--field-manager=tinh-backup")
        self.text(*verb, "--filename=-", stdin=listed, seconds=300)

    def execute(self, namespace: str, pod: str, container: str, *command: str, stdin: str = "") -> str:
        """Run a command in a container and return what it prints."""
        where = ("--namespace", namespace, "exec", "--stdin", pod, "--container", container, "--")
        return self.text(*where, *command, stdin=stdin, seconds=3600)

    def pour(self, namespace: str, pod: str, container: str, *command: str) -> subprocess.Popen[bytes]:
        """Begin a command in a container that reads standard input."""
        where = ("--namespace", namespace, "exec", "--stdin", pod, "--container", container, "--")
        return subprocess.Popen(
            [*self.words, *where, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    @contextlib.contextmanager
    def forwarded(self, service: str, port: int, what: str) -> Generator[int, None, None]:
        """Reach a service through the API server, so that no way into the cluster has to be opened.

        Args:
            service: its name, and its namespace's.
            port: of the service.
            what: it is, for messages.

        Returns:
            A port of loopback.

        Raises:
            ToolError: it is not reached.
        """
        words = (
            "--namespace",
            service,
            "port-forward",
            "--address=127.0.0.1",
            f"service/{service}",
            f":{port}",
        )
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen([*self.words, *words], stdout=log, stderr=subprocess.STDOUT)
            try:
                yield _forwarded_port(log, service, what)
            finally:
                process.terminate()
                process.wait()

    def _failed(self, words: Sequence[str], said: str) -> ToolError:
        return ToolError(
            f"kubectl {' '.join(words[:3])}: {said or 'no reason given'}",
            where=self.words[1].partition("=")[2],
            fix="see that the cluster works: `tinh status`",
        )


def _forwarded_port(log: IO[bytes], service: str, what: str) -> int:
    """Return the port that kubectl has chosen, from what it says."""
    end = time.monotonic() + FORWARD
    said = ""
    while time.monotonic() < end:
        log.seek(0)
        said = log.read().decode("utf-8", "replace")
        if found := re.search(r"127\.0\.0\.1:(\d+) ->", said):
            return int(found[1])
        time.sleep(0.1)
    raise ToolError(
        f"{what} is not reached: {said.strip()[-200:] or 'no answer'}",
        where=f"service {service}, namespace {service}",
        fix="see that layer `data` runs: tinh status; restores take the copies outside the cluster",
    )
