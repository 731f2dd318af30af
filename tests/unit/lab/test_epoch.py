"""Which epoch of its province a lab plays."""

import json

import pytest

from infra import paths
from infra.errors import TinhError
from infra.model.province import load_record
from infra.model.site import lab_record, load_site
from lab.up import choose_epoch


def test_a_lab_plays_the_chosen_epoch_and_nothing_else_of_its_record_is_lost(state):
    file = paths.state("lab").root / "lab.json"
    pool = {"ipv6": "fd78::/48", "ipv4": "10.78.0.0/16"}
    file.write_text(json.dumps({"pool": pool, "counts": {"worker": 2}}))
    assert load_record("lab").at().epoch == "2023"
    choose_epoch("lab", "2024")
    assert lab_record("lab") == {"pool": pool, "counts": {"worker": 2}, "epoch": "2024"}
    assert load_record("lab").at().epoch == "2024"
    assert load_record("lab").at("2023").epoch == "2023"
    assert str(load_site("lab").pool.ipv4) == pool["ipv4"]


def test_an_epoch_may_be_chosen_before_there_is_a_lab(state):
    choose_epoch("lab", "2025")
    assert load_record("lab").at().epoch == "2025"
    assert str(load_site("lab").pool.ipv4) == "10.77.0.0/16"


@pytest.mark.parametrize(
    ("site", "epoch", "says"), [("lab", "1999", "unknown epoch"), ("sim", "2023", "not lab")]
)
def test_other_epochs_and_sites_are_refused_and_nothing_is_written(state, site, epoch, says):
    with pytest.raises(TinhError, match=says):
        choose_epoch(site, epoch)
    assert lab_record(site) == {}


def test_the_real_province_knows_nothing_of_labs(state):
    assert load_record("quang-binh").at().epoch == load_record("quang-binh").facts.current
