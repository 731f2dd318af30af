"""The site's cluster by kubectl, for what is neither declared nor Pulumi's: backups, restores, drills."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from typing import IO, Any

from infra import paths
from infra.errors import ToolError
from infra.model.site import Site

#: Seconds for a request that only looks.
LOOK = 60


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

    def forward(self, namespace: str, target: str, port: int, log: IO[bytes]) -> subprocess.Popen[bytes]:
        """Begin to forward a free port of loopback; the first line of the log names it."""
        words = ("--namespace", namespace, "port-forward", "--address=127.0.0.1", target, f":{port}")
        return subprocess.Popen([*self.words, *words], stdout=log, stderr=subprocess.STDOUT)

    def _failed(self, words: Sequence[str], said: str) -> ToolError:
        return ToolError(
            f"kubectl {' '.join(words[:3])}: {said or 'no reason given'}",
            where=self.words[1].partition("=")[2],
            fix="see that the cluster works: `tinh status`",
        )
