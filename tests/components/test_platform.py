"""Facts of platforms: what is wrong is refused, with the place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.errors import TinhError
from infra.model.platform import PLATFORMS, load_platform, load_platforms
from infra.model.site import Site

Change = Callable[[dict[str, Any]], object]


def write(root: Path, name: str, change: Change = lambda _: None) -> None:
    facts = yaml.safe_load((PLATFORMS / "identity" / "platform.yaml").read_text("utf-8")) | {"id": name}
    change(facts)
    (root / name).mkdir()
    (root / name / "platform.yaml").write_text(yaml.safe_dump(facts), "utf-8")


def test_the_facts_of_identity_are_valid() -> None:
    facts = load_platform("identity")
    assert (facts.provider, facts.security_level, facts.public_names) == ("province", 3, ["id"])


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda facts: facts.update(colour="red"), "colour"),
        (lambda facts: facts.update(security_level=6), "security_level"),
        (lambda facts: facts.update(zone="attic"), "zone"),
        (lambda facts: facts.update(provider="district"), "provider"),
        (lambda facts: facts.update(public_names=[]), "public_names"),
        (lambda facts: facts.update(image="keycloak"), "image"),
        (lambda facts: facts["sizing"]["lab"].update(memory="1"), "sizing.lab.memory"),
        (lambda facts: facts["sizing"].pop("sim"), "sizing lacks sim"),
        (lambda facts: facts["recovery"].update(time=0), "recovery.time"),
        (lambda facts: [basis.update(in_force=False) for basis in facts["basis"]], "in force"),
        (lambda facts: facts["basis"][0].update(seen="X"), "basis.0.seen"),
        (lambda facts: facts["data"][0].update(engine="oracle"), "data.0.engine"),
        (lambda facts: facts["data"][0].pop("data_class"), "data.0.data_class"),
        (lambda facts: facts["data"][0].pop("personal_data"), "data.0.personal_data"),
        (lambda facts: facts["data"][0].update(sharing="secret"), "data.0.sharing"),
        (lambda facts: facts["data"][0].update(engine="bucket"), "an image belongs to engine postgresql"),
        (lambda facts: facts["data"][0].pop("image"), "an image belongs to engine postgresql"),
        (lambda facts: facts["data"][0].update(lock_days=3), "lock_days belongs to engine bucket"),
        (
            lambda facts: facts["data"][0].update(data_class="core", sharing="open"),
            "core data cannot be open",
        ),
        (lambda facts: facts["data"].append(facts["data"][0]), "two data stores have the same name"),
        (lambda facts: facts["links"][0].update(url="no url"), "links.0.url"),
    ],
)
def test_wrong_facts_are_refused_at_their_place(tmp_path: Path, change: Change, place: str) -> None:
    write(tmp_path, "wrong", change)
    with pytest.raises(TinhError, match=place):
        load_platform("wrong", root=tmp_path)


def test_an_unknown_platform_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    write(tmp_path, "known")
    with pytest.raises(TinhError, match="use one of: known"):
        load_platform("other", root=tmp_path)


def test_facts_in_the_wrong_folder_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "here", lambda facts: facts.update(id="there"))
    with pytest.raises(TinhError, match="write id: here"):
        load_platform("here", root=tmp_path)


def test_two_platforms_cannot_publish_one_name(tmp_path: Path, lab: Site) -> None:
    write(tmp_path, "one")
    write(tmp_path, "two")
    site = lab.model_copy(update={"platforms": ["one", "two"]})
    with pytest.raises(TinhError, match="published by one and by two"):
        load_platforms(site, root=tmp_path)


def test_a_national_platform_is_not_deployed_in_the_province(tmp_path: Path, lab: Site) -> None:
    write(tmp_path, "one", lambda facts: facts.update(provider="national"))
    assert load_platforms(lab.model_copy(update={"platforms": ["one"]}), root=tmp_path) == []


def test_a_store_has_its_platforms_owner_and_targets_unless_it_says_otherwise(tmp_path: Path) -> None:
    (own,) = load_platform("identity").data
    assert (own.owner.code, own.recovery.point) == ("stttt", 5)
    write(tmp_path, "other", lambda facts: facts["data"][0].update(recovery={"point": 0, "time": 5}))
    (changed,) = load_platform("other", root=tmp_path).data
    assert (changed.recovery.point, changed.owner.code) == (0, "stttt")
