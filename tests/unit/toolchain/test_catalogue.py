"""The catalogue: what it refuses, what decides a key, what a stage stands for."""

from pathlib import Path

import pytest
import yaml

from infra.errors import TinhError
from lab.toolchain.catalogue import HERE, STAGES, load
from lab.toolchain.model import GoBuild
from tests.unit.toolchain.catalogues import catalogue, local

HASH = "a" * 64


def official(**download):
    return {"official": {"downloads": [{"url": "https://example.test/t-{version}.tgz", **download}]}}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([local("a"), local("a")], "declared twice"),
        ([local("a", needs=("b",))], "needs 'b', which is no tool"),
        ([local("a", needs=("b",)), local("b", needs=("a",))], "circle: a -> b -> a"),
        ([local("a", color="red")], "color"),
        ([local("a", version=1)], "version"),
        ([local("a", **official(to="bin/a"))], "neither checksum_url nor sha256"),
        ([local("a", **official(sha256=HASH))], "one of `unpack` and `to`"),
        (
            [local("a", **official(sha256=HASH, to="bin/a", unpack={"a": "bin/a"}))],
            "one of `unpack` and `to`",
        ),
        ([local("a", **official(sha256="abc", to="bin/a"))], "sha256"),
        ([local("a", build={"kind": "local", "files": {"x": "none.txt"}})], "'none.txt', which is no file"),
        ([local("a", build={"kind": "go", "module": "m", "packages": {"a": "x/a"}})], "has no go.mod"),
        ({"a": 1}, "not a list"),
    ],
)
def test_refuses(tmp_path: Path, entries, message):
    with pytest.raises(TinhError, match=message) as caught:
        catalogue(tmp_path, *entries) if isinstance(entries, list) else _write(tmp_path, entries)
    assert str(tmp_path) in caught.value.where
    assert caught.value.fix


def _write(folder: Path, data):
    (folder / "tools.yaml").write_text(yaml.safe_dump(data))
    load.cache_clear()
    return load(folder)


def test_key_follows_the_recipe_and_nothing_else(tmp_path: Path):
    def key(entry, name="a", source="build", content="content\n", *others):
        found = catalogue(tmp_path, entry, *others)
        (tmp_path / "file.txt").write_text(content)
        return found.key(name, source)

    same = key(local("a"))
    assert key(local("a", why="else", minutes=9, memory=3, host=True, stage="base")) == same
    assert key(local("a", version="1.1")) != same
    assert key(local("a"), content="other\n") != same
    assert key(local("a", **official(sha256=HASH, to="bin/a")), source="build") == same
    assert key(local("a", **official(sha256=HASH, to="bin/a")), source="official") != same


def test_key_follows_the_needs(tmp_path: Path):
    def key(version, **more):
        return catalogue(tmp_path, local("a", version=version), local("b", needs=("a",), **more))

    assert key("1").key("b", "build") != key("2").key("b", "build")
    # A downloaded tool does not depend on what its build would need.
    more = official(sha256=HASH, to="bin/b")
    assert key("1", **more).key("b", "official") == key("2", **more).key("b", "official")
    assert key("1", **more).needs("b", "official") == []


def test_key_follows_go_sum(tmp_path: Path):
    entry = local("a", build={"kind": "go", "module": "m", "packages": {"a": "x/a"}})
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "go.mod").write_text("module m\n\nrequire x v1\n")
    (tmp_path / "m" / "go.sum").write_text("x v1 h1:aaa\n")
    before = catalogue(tmp_path, entry).key("a", "build")
    (tmp_path / "m" / "go.sum").write_text("x v1 h1:bbb\n")
    assert catalogue(tmp_path, entry).key("a", "build") != before


def test_a_stage_means_all_before_it_and_leaves_out_what_only_builds_others(tmp_path: Path):
    found = catalogue(
        tmp_path,
        local("compiler"),
        local("image", needs=("compiler",)),
        local("shell", host=True),
        local("user", needs=("shell",), stage="base"),
        local("late", stage="bench"),
    )
    assert found.select("lab") == ["image", "shell"]
    assert found.select("base") == ["image", "shell", "user"]
    assert found.select(["late", "compiler"]) == ["late", "compiler"]
    with pytest.raises(TinhError, match="no tool 'nothing'"):
        found.select("nothing")


def test_the_real_catalogue_is_sound():
    load.cache_clear()
    found = load(HERE)
    stages = {tool.name: STAGES.index(tool.stage) for tool in found}
    for tool in found:
        assert len(found.key(tool.name, "build")) == 64
        for need in tool.needs:
            assert stages[need] <= stages[tool.name], f"{tool.name} is of an earlier stage than {need}"
    modules = {tool.build.module for tool in found if isinstance(tool.build, GoBuild)}
    for module in modules:
        assert "replace ../" not in (HERE / module / "go.mod").read_text(), "a module must stand for itself"


def test_the_first_layer_waits_for_pulumi_only():
    found = load()
    first = set(found.select("network")) - set(found.select("lab"))
    assert first == {"pulumi", "pulumi-language-python"}
