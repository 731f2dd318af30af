"""The site's data: every name that the code uses in the state folder is either backed up or named as not needed."""

import ast
import importlib
import re
from datetime import UTC, datetime

import pytest

from infra import dnssec, paths
from infra.backup import restore
from infra.backup.kinds import site_data
from infra.backup.plan import RestorePlan
from infra.backup.sets import choose, data_sets
from infra.backup.source import Ground
from infra.model.site import load_site

#: What stands for the state folder in the code.
_ROOT = re.compile(r"\bstate(\(.*\))?\.root$")


def used_names():
    """Yield (file, name) of all that is made right below a state folder."""
    for top in ("infra", "cli", "lab", "stacks", "platforms"):
        for file in (paths.REPO / top).rglob("*.py"):
            text = file.read_text("utf-8")
            if ".root /" not in text:
                continue
            module = ".".join(file.relative_to(paths.REPO).with_suffix("").parts)
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
                    left = ast.unparse(node.left)
                    own = file.name == "paths.py" and left == "self.root"
                    if own or _ROOT.search(left):
                        yield f"{file.relative_to(paths.REPO)}:{node.lineno}", name_of(node.right, module)


def name_of(node, module):
    """Return a name as it is written: a text, the fixed beginning of one, or a constant of the module."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return str(node.values[0].value) if isinstance(node.values[0], ast.Constant) else "?"
    if isinstance(node, ast.Name):
        return str(getattr(importlib.import_module(module), node.id, "?"))
    return "?"


def decided(name):
    return name in site_data.KEPT or site_data.left_out(name)


def test_every_name_of_the_state_folder_is_kept_or_named_as_not_needed():
    found = dict(used_names())
    assert len(set(found.values())) > 15  # it sees them at all
    assert {"dnssec", "secrets", "vault", "restored", "lab.json", "rebuild.json"} <= set(found.values())
    assert {place: name for place, name in found.items() if not decided(name)} == {}
    assert not site_data.KEPT.keys() & site_data.LEFT_OUT.keys()


def test_a_new_folder_that_nobody_has_decided_about_would_be_seen():
    assert not decided("new-folder")
    assert decided("events-base-12.jsonl") and decided("pulumi.before-20261126T120000Z")


@pytest.fixture
def job(state, tmp_path):
    """Takes the lab's site data, and returns what puts them back in place."""
    site = load_site("lab")
    (data_set,) = choose(data_sets(site), ["site-data"], "test")

    def taken():
        again = tmp_path / "work"
        with site_data.take(Ground(site, data_set, "20261126T120000Z", print)) as found:
            (item,) = found.items
            again.mkdir()
            with item.open() as stream:
                (again / item.name).write_bytes(stream.read())
            assert site_data.count(again) == found.facts
        return again

    plan = RestorePlan(
        data_set=data_set, source="backup1", parts=(), to=None, into="site-data", in_place=True,
        now=datetime(2026, 11, 26, tzinfo=UTC),
    )  # fmt: skip
    return taken, lambda work: restore._site_data(
        restore.Restore(
            site=site, plan=plan, vault=None, identity="", tell=print, progress=lambda done, total: None
        ),
        work,
    )


def test_the_keys_that_sign_the_zones_come_back_in_place(job):
    take, put_back = job
    first = dnssec.keys("lab")
    (paths.state("lab").root / "new-folder").mkdir()
    (paths.state("lab").root / "new-folder" / "file").write_text("nobody has said that it is not needed")
    (paths.state("lab").root / "pulumi.before-20261126T120000Z").mkdir()
    work = take()
    assert (work / "again" / "state" / "new-folder" / "file").exists()
    assert not list((work / "again" / "state").glob("pulumi*"))
    for key in first:
        key.file.unlink()
    other = dnssec.keys("lab")  # what a site without its state would make: a key that nobody knows
    assert other[0].pem != first[0].pem
    put_back(work)
    assert dnssec.keys("lab") == first
    assert [key.tag for key in dnssec.keys("lab")] == [key.tag for key in first]
    assert first[0].file.stat().st_mode & 0o077 == 0
    (aside,) = (paths.state("lab").root / "restored").glob("state-before-*/dnssec/1.pem")
    assert aside.read_text() == other[0].pem
