"""Pulumi against kubectl, alternating, on the same objects of one cluster."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.figures import Goal, Row
from tests.bench.measure import Run, Sample, run
from tests.bench.objects import NAMESPACE, SAMPLES, SETUP, objects

PROGRAM = Path(__file__).with_name("program")
STACK = "bench"
#: step -> (times, plus seconds) that Pulumi may take of kubectl's time.
GOALS = {"create": (2.0, 2.0), "no-op": (1.5, 2.0)}


@dataclass(frozen=True)
class Result:
    """One step with one number of objects."""

    count: int
    step: str
    pulumi: Sample
    kubectl: Sample

    @property
    def allowed(self) -> float:
        """Return the goal in seconds."""
        times, plus = GOALS[self.step]
        return times * self.kubectl.seconds + plus

    @property
    def met(self) -> bool:
        """Tell whether the median meets the goal."""
        return self.pulumi.seconds <= self.allowed

    def row(self) -> Row:
        """Return its line of the table."""
        times, plus = GOALS[self.step]
        words = f"<= {times:g} x kubectl + {plus:g} s"
        return Row(
            section="pulumi", what=f"{self.step} of {self.count} objects", unit="s", values=self.pulumi.times,
            instead=self.kubectl.times, way="kubectl", goal=Goal(words=words, met=lambda _: self.met),
        )  # fmt: skip

    def data(self) -> dict[str, object]:
        """Return what goes into the report."""
        return {
            "objects": self.count,
            "step": self.step,
            "pulumi": self.pulumi.data(),
            "kubectl": self.kubectl.data(),
            "ratio": round(self.pulumi.seconds / self.kubectl.seconds, 2),
            "allowed": round(self.allowed, 3),
            "met": self.met,
        }


class Contest:
    """Both tools on one cluster.

    Args:
        env: environment of both, as the product's runner makes it.
        folder: empty folder for backends and objects.
    """

    def __init__(self, env: Mapping[str, str], folder: Path) -> None:
        self.env, self.folder = dict(env), folder

    @contextmanager
    def cluster(self) -> Iterator[None]:
        """Make namespace and CRD, and remove them in the end."""
        file = self.folder / "setup.json"
        file.write_text(json.dumps(SETUP))
        run(["kubectl", "apply", "--server-side", "-f", file], self.env)
        run(["kubectl", "wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"], self.env)
        try:
            yield
        finally:
            run(["kubectl", "delete", "--ignore-not-found", "-f", file], self.env)

    def rounds(self, count: int, rounds: int) -> list[Result]:
        """Measure both tools; who begins alternates, so that a drift of the machine hits both."""
        file = self.folder / f"objects-{count}.json"
        file.write_text(json.dumps(objects(count)))
        runs: dict[str, list[dict[str, Run]]] = {"pulumi": [], "kubectl": []}
        for number in range(rounds):
            order = [("pulumi", self.pulumi), ("kubectl", self.kubectl)]
            for name, tool in order if number % 2 == 0 else reversed(order):
                runs[name].append(tool(file))
        return [
            Result(count, step, *(Sample(tuple(r[step] for r in runs[tool])) for tool in runs))
            for step in GOALS
        ]

    def kubectl(self, file: Path) -> dict[str, Run]:
        """Measure kubectl once."""
        create = run(["kubectl", "apply", "--server-side", "-f", file], self.env)
        same = run(["kubectl", "diff", "--server-side", "-f", file], self.env)
        self._clean()
        return {"create": create, "no-op": same}

    def pulumi(self, file: Path) -> dict[str, Run]:
        """Measure Pulumi once, with a new stack, as the product's runner calls it."""
        with tempfile.TemporaryDirectory(dir=self.folder) as backend:
            env = {**self.env, "PULUMI_BACKEND_URL": f"file://{backend}", "TINH_BENCH_OBJECTS": str(file)}
            flags = ["--stack", STACK, "--non-interactive", "--color", "never", "--suppress-outputs"]
            init = ["pulumi", "stack", "init", STACK, "--no-select", "--secrets-provider", "passphrase"]
            config = PROGRAM / f"Pulumi.{STACK}.yaml"
            try:
                run(init, env, PROGRAM)
                create = run(["pulumi", "up", "--yes", "--skip-preview", *flags], env, PROGRAM)
                same = run(["pulumi", "preview", "--diff", "--expect-no-changes", *flags], env, PROGRAM)
            finally:
                config.unlink(missing_ok=True)
        self._clean()
        return {"create": create, "no-op": same}

    def _clean(self) -> None:
        """Remove the objects, one call per kind: one call per object would take longer than the measurement."""
        for collection in (f"/api/v1/namespaces/{NAMESPACE}/configmaps", SAMPLES):
            query = f"labelSelector=app.kubernetes.io/part-of%3D{NAMESPACE}"
            run(["kubectl", "delete", "--raw", f"{collection}?{query}"], self.env)
