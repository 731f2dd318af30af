import io
import re

import pytest
import yaml

from infra.errors import ToolError
from lab.toolchain import catalogue, manifests
from lab.toolchain.model import ImageBuild, ManifestBuild, Tool

OBJECT = "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {0}}}\n"
IMAGE = re.compile(r"\b(?:[a-z0-9-]+\.)+[a-z]+/[a-z0-9./-]+:v?[\w.-]+")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TINH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "module"
    (folder / "deploy" / "chart" / "templates").mkdir(parents=True)
    (folder / "deploy" / "b.yaml").write_text(OBJECT.format("b"))
    (folder / "deploy" / "a.yaml").write_text(
        OBJECT.format("a") + "---\n# nothing\n---\n" + OBJECT.format("IMAGE:0")
    )
    (folder / "deploy" / "crd.yaml").write_text(OBJECT.format("crd"))
    (folder / "deploy" / "chart" / "Chart.template.yaml").write_text("version: v0.0.0-dev\n")
    (folder / "deploy" / "chart" / "values.tmpl.yaml").write_text("image: ${Image}\n")
    (folder / "deploy" / "chart" / "templates" / "x.yaml").write_text("name: {{ .Values.image }}\n")
    return folder


@pytest.fixture
def needs(tmp_path):
    """Stand-ins for helm and kubectl that show what they were given."""
    for tool, name, script in (
        (
            "helm",
            "helm",
            'echo "$@" >&2; sed -n p "$3"/Chart.yaml "$3"/values.yaml >&2; cat "$3"/templates/crd.yaml',
        ),
        ("kubernetes", "kubectl", 'cat "$2"/b.yaml'),
    ):
        program = tmp_path / tool / "bin" / name
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh -e\n{script}\n")
        program.chmod(0o755)
    return {"helm": tmp_path / "helm", "kubernetes": tmp_path / "kubernetes"}


def build(tmp_path, monkeypatch, source, needs, **spec):
    monkeypatch.setattr(manifests, "module_folder", lambda *_args: source)
    tool = Tool(
        name="manifest-x",
        version="1.2",
        kind="manifest",
        why="test",
        stage="base",
        build=ManifestBuild(kind="manifest", module="m", source="example.org/m", **spec),
    )
    log = io.StringIO()
    manifests.build(tool, needs, tmp_path, log)
    return list(yaml.safe_load_all((tmp_path / "manifest.yaml").read_text())), log.getvalue()


def names(objects):
    return [item["metadata"]["name"] for item in objects]


def test_files_come_in_order_with_texts_replaced(tmp_path, monkeypatch, source):
    objects, _ = build(
        tmp_path,
        monkeypatch,
        source,
        {},
        files=["deploy/b.yaml", "deploy/[ac]*.yaml"],
        replace={"IMAGE:0": "image-{version}"},
    )
    assert names(objects) == ["b", "a", "image-1.2", "crd"]


def test_a_chart_is_packed_and_rendered_as_its_publisher_does(tmp_path, monkeypatch, source, needs):
    objects, log = build(
        tmp_path,
        monkeypatch,
        source,
        needs,
        files=["deploy/b.yaml"],
        chart="deploy/chart",
        into_chart={"templates/": "deploy/cr*.yaml"},
        release="rel",
        namespace="ns",
        kube_version="1.36.3",
        replace={"v0.0.0-dev": "v{version}", "${Image}": "r.example/x:{version}"},
    )
    assert names(objects) == ["b", "crd"]
    assert "version: v1.2" in log
    assert "image: r.example/x:1.2" in log
    assert re.search(r"^template rel \S+ --include-crds .*--namespace ns --kube-version 1.36.3$", log, re.M)


def test_a_kustomization_is_built_by_kubectl(tmp_path, monkeypatch, source, needs):
    objects, _ = build(
        tmp_path, monkeypatch, source, needs, kustomization="deploy", replace={"name: b": "name: c"}
    )
    assert names(objects) == ["c"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"files": ["deploy/none*.yaml"]}, "has no file 'deploy/none"),
        ({"files": ["deploy/b.yaml"], "replace": {"not there": "x"}}, "nowhere: 'not there'"),
        ({"files": ["deploy/b.yaml", "deploy/*.yaml"]}, "ConfigMap 'b' is there twice"),
        ({"chart": "deploy/chart"}, "uses helm"),
        ({"kustomization": "deploy"}, "uses kubectl"),
        ({}, "no objects at all"),
    ],
)
def test_a_wrong_entry_is_told(tmp_path, monkeypatch, source, spec, message):
    with pytest.raises(ToolError, match=re.escape(message)):
        build(tmp_path, monkeypatch, source, {}, **spec)


@pytest.mark.parametrize(
    "text", ["a: [", "- a list\n", "apiVersion: v1\nkind: Secret\n", "kind: Secret\nmetadata: {name: x}\n"]
)
def test_what_is_no_object_is_refused(text):
    with pytest.raises(ToolError):
        manifests.check([text], "x")


def test_documents_are_split_only_at_markers():
    text = "---\n# Source: x\na: |\n  ---\n  b\n--- # next\nc: 1\n---\n"
    assert [yaml.safe_load(document) for document in manifests.documents(text)] == [
        {"a": "---\nb\n"},
        {"c": 1},
    ]


def strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


def test_every_image_named_in_our_manifests_is_in_the_catalogue():
    tools = list(catalogue.load())
    known = {tool.build.ref for tool in tools if isinstance(tool.build, ImageBuild)}
    named = set(IMAGE.findall((catalogue.HERE / "files" / "kube-router.yaml").read_text()))
    for tool in tools:
        if isinstance(tool.build, ManifestBuild):
            for text in strings([tool.build.values, tool.build.replace]):
                named.update(IMAGE.findall(text.replace("{version}", tool.version)))
    assert len(named) >= 5
    assert named <= known


def test_images_and_their_official_counterparts_have_one_name():
    images = [tool for tool in catalogue.load() if isinstance(tool.build, ImageBuild)]
    assert images
    # Keycloak's is not built for a database, Knot's is of another release line; the others are nobody's but ours.
    own = {"image-keycloak", "image-knot", "image-plone", "image-postfix", "image-waf"}
    for tool in images:
        if tool.name in own:
            assert tool.official is None
        else:
            assert tool.official and tool.official.image and tool.official.image.ref == tool.build.ref
        taken = {
            source.partition(":")[0] for source in (*tool.build.files.values(), *tool.build.unzip.values())
        }
        assert (taken - {"text", "dir", "link"}) | ({tool.build.base} - {None}) == set(tool.needs)
