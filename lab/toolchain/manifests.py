"""Kubernetes objects (kind `manifest`) of the same version as the images, taken from Go modules.

The module that carries a program also carries the files its publisher makes the release manifest from. They
are used as they are: documents keep their text and are parsed only to check them.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import yaml

from infra import paths
from infra.errors import HostError, ToolError
from lab.toolchain import process
from lab.toolchain.catalogue import HERE
from lab.toolchain.go import environment, machine_go
from lab.toolchain.model import ManifestBuild, Tool

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def build(tool: Tool, needs: Mapping[str, Path], out: Path, log: TextIO) -> None:
    """Write `manifest.yaml` of a tool.

    Args:
        tool: an entry whose build is a `ManifestBuild`.
        needs: artifact folders of `helm`, `kubernetes` and `go` where they are used.
        out: folder of the artifact.
        log: output of the commands.

    Raises:
        ToolError: when a file or a text to replace is not in the module, a command fails, or the result is
            not a list of distinct Kubernetes objects.
        HostError: when there is no Go.
    """
    spec = tool.build
    assert isinstance(spec, ManifestBuild)  # noqa: S101 - the engine dispatches by kind
    scratch = paths.cache() / "tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch, prefix=f"{tool.name}-") as temporary:
        work = Path(temporary)
        source = module_folder(spec, needs, work, log)
        replace = _Replace(
            {text: new.replace("{version}", tool.version) for text, new in spec.replace.items()}
        )
        texts = [replace(file.read_text("utf-8")) for file in select(source, spec.files)]
        if spec.kustomization:
            kubectl = _command(needs, "kubernetes", "kubectl", tool.name)
            texts.append(
                replace(process.output([kubectl, "kustomize", source / spec.kustomization], log=log))
            )
        if spec.chart:
            chart = unpack_chart(source, spec, work / "chart", replace)
            texts.append(_render(_command(needs, "helm", "helm", tool.name), chart, spec, work, log))
        replace.check(tool.name)
    found = [document for text in texts for document in documents(text)]
    check(found, tool.name)
    (out / "manifest.yaml").write_text("---\n".join(found), "utf-8")
    log.write(f"{len(found)} objects\n")


def module_folder(spec: ManifestBuild, needs: Mapping[str, Path], work: Path, log: TextIO) -> Path:
    """Return the read-only folder of the source module in the version of go.mod, checked against go.sum.

    Raises:
        ToolError: when it cannot be downloaded or differs from go.sum.
        HostError: when there is no Go.
    """
    go = str(needs["go"] / "bin" / "go") if "go" in needs else machine_go()
    if not go:
        raise HostError(
            "there is no Go 1.26 or newer", where="PATH", fix="`tinh toolchain get go`, or install it"
        )
    for name in ("go.mod", "go.sum"):  # a copy: go may write into them
        shutil.copyfile(HERE / spec.module / name, work / name)
    listed = process.output(
        [go, "mod", "download", "-json", spec.source], log=log, cwd=work, env=environment()
    )
    return Path(json.loads(listed)["Dir"])


def select(source: Path, globs: Iterable[str]) -> Iterator[Path]:
    """Yield the files of globs in order, those of one glob sorted.

    Raises:
        ToolError: when a glob matches nothing: the publisher moved the files.
    """
    for glob in globs:
        files = sorted(file for file in source.glob(glob) if file.is_file())
        if not files:
            raise ToolError(
                f"the module has no file {glob!r}",
                where=str(source),
                fix="look where this version keeps its manifests",
            )
        yield from files


class _Replace:
    """Replaces texts and remembers which of them were found."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.texts, self.unseen = texts, set(texts)

    def __call__(self, content: str) -> str:
        for text, new in self.texts.items():
            if text in content:
                self.unseen.discard(text)
                content = content.replace(text, new)
        return content

    def check(self, name: str) -> None:
        """Raise a ToolError when a text was nowhere: a pinned name or tag would silently stay."""
        if self.unseen:
            raise ToolError(
                f"text to replace is nowhere: {', '.join(map(repr, sorted(self.unseen)))}",
                where=f"tool {name}, replace",
                fix="look how this version writes it",
            )


def unpack_chart(source: Path, spec: ManifestBuild, target: Path, replace: _Replace) -> Path:
    """Copy a chart as its publisher packs it: templates of Chart.yaml and values.yaml filled, files added.

    Args:
        source: folder of the module.
        spec: which chart, and what is added.
        target: folder to make.
        replace: applied to every file.
    """
    origin = source / str(spec.chart)
    files = {file.relative_to(origin).as_posix(): file for file in select(origin, ["**/*"])}
    for path, glob in spec.into_chart.items():
        for file in select(source, [glob]):
            files[f"{path}{file.name}" if path.endswith("/") else path] = file
    for path, file in files.items():
        name = re.sub(r"^(Chart|values)\.(template|tmpl)\.yaml$", r"\1.yaml", path)
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(replace(file.read_text("utf-8")), "utf-8")
    return target


def _render(helm: Path, chart: Path, spec: ManifestBuild, work: Path, log: TextIO) -> str:
    values = work / "own-values.yaml"
    values.write_text(yaml.safe_dump(spec.values), "utf-8")
    argv = [helm, "template", spec.release or chart.name, chart, "--include-crds", "--values", values]
    if spec.namespace:
        argv += ["--namespace", spec.namespace]
    if spec.kube_version:  # else what this helm was linked with
        argv += ["--kube-version", spec.kube_version]
    # helm's own folders would be read from the home of whoever builds
    env = {f"HELM_{kind}_HOME": str(work / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
    return process.output(argv, log=log, env=env)


def _command(needs: Mapping[str, Path], tool: str, name: str, wanted_by: str) -> Path:
    if tool not in needs:
        raise ToolError(f"{wanted_by} uses {name}", where=f"tool {wanted_by}", fix=f"add {tool} to its needs")
    return needs[tool] / "bin" / name


def documents(text: str) -> Iterator[str]:
    """Yield the YAML documents of a text that are not empty, each ending in a line end."""
    for document in re.split(r"^---(?:[ \t].*)?$", text, flags=re.MULTILINE):
        if any(line.strip() and not line.lstrip().startswith("#") for line in document.splitlines()):
            yield f"{document.strip()}\n"


def check(found: Iterable[str], name: str) -> None:
    """Check that every document is a Kubernetes object and that no two are the same object.

    Raises:
        ToolError: otherwise, with the beginning of the document.
    """
    seen: set[tuple[Any, ...]] = set()
    for document in found:
        try:
            value = yaml.load(document, Loader=LOADER)  # noqa: S506 - a safe loader
        except yaml.YAMLError as error:
            raise ToolError(
                f"not valid YAML: {error}", where=f"tool {name}", fix="look at its files"
            ) from None
        fields = value if isinstance(value, dict) else {}
        metadata = fields.get("metadata") or {}
        identity = (
            fields.get("apiVersion"),
            fields.get("kind"),
            metadata.get("namespace"),
            metadata.get("name"),
        )
        if not (identity[0] and identity[1] and identity[3]):
            raise ToolError(
                f"not a Kubernetes object: {document[:80]!r}",
                where=f"tool {name}",
                fix="correct `files` or `chart`",
            )
        if identity in seen:
            raise ToolError(
                f"{identity[1]} {identity[3]!r} is there twice",
                where=f"tool {name}",
                fix="correct `files` or `chart`",
            )
        seen.add(identity)
    if not seen:
        raise ToolError("no objects at all", where=f"tool {name}", fix="correct `files` or `chart`")
