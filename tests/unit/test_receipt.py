"""Signed documents: what was changed or signed by others is found."""

import copy
import json
import stat

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from infra import paths, receipt
from infra.errors import Exit, TinhError

BODY = {"kind": "trial", "site": "lab", "text": "Quảng Bình", "list": [1, {"a": None, "b": True}]}
KEY, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), values, max_size=4))
def test_what_was_signed_is_found_unchanged_also_after_a_way_through_json(body):
    document = json.loads(json.dumps(receipt.sign(body, KEY), indent=3))
    assert receipt.verify(document, "file", receipt.public_text(KEY)) == body


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["body"].update(site="other"),
        lambda d: d["body"].update(more=1),
        lambda d: d["body"]["list"].append(2),
        lambda d: d["signature"].update(value=receipt.sign({}, KEY)["signature"]["value"]),
        lambda d: d["signature"].update(key=receipt.public_text(OTHER)),
    ],
)
def test_every_change_is_found(change):
    document = copy.deepcopy(receipt.sign(BODY, KEY))
    change(document)
    with pytest.raises(TinhError, match="changed after it was signed") as error:
        receipt.verify(document, "file")
    assert error.value.code is Exit.INTEGRITY


def test_another_key_is_found_where_one_is_given():
    document = receipt.sign(BODY, OTHER)
    assert receipt.verify(document, "file") == BODY
    with pytest.raises(TinhError, match="signed by another key") as error:
        receipt.verify(document, "file", receipt.public_text(KEY))
    assert error.value.code is Exit.INTEGRITY
    assert receipt.fingerprint(receipt.public_text(OTHER)) in error.value.what


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"body": {}},
        {"body": {}, "signature": {"key": "x", "value": "", "algorithm": "Ed25519"}},
    ],
)
def test_what_is_no_document_is_said(document):
    with pytest.raises(TinhError, match="no signed document"):
        receipt.verify(document, "file")


def test_another_algorithm_is_not_taken():
    document = receipt.sign(BODY, KEY)
    document["signature"]["algorithm"] = "none"
    with pytest.raises(TinhError, match="no signed document"):
        receipt.verify(document, "file")


def test_numbers_that_readers_write_differently_are_not_signed():
    with pytest.raises(ValueError, match=r"1\.5 is not whole"):
        receipt.sign({"a": [{"b": 1.5}]}, KEY)


def test_the_key_is_made_once_and_only_its_owner_can_read_it(state):
    first = receipt.public_text(receipt.province_key("lab"))
    assert receipt.public_text(receipt.province_key("lab")) == first
    file = paths.state("lab").pki / "receipts.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_file_that_is_no_json_is_named(tmp_path):
    file = tmp_path / "x.json"
    file.write_text("{")
    with pytest.raises(TinhError) as error:
        receipt.read(file)
    assert error.value.where == str(file)
