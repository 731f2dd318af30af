"""Keys of the zones: made once, named to parents as another implementation names them, rolled over in steps."""

import dns.dnssec
import dns.name
import pytest

from infra import dnssec
from infra.errors import Exit, TinhError
from tests.conftest import known_key

ZONE = "lab.tinh.test"


def test_the_first_key_is_made_once_and_only_its_owner_reads_it(state):
    (key,) = dnssec.keys("lab")
    assert dnssec.keys("lab") == (key,)
    assert key.file.stat().st_mode & 0o777 == 0o600
    assert "PRIVATE" not in repr(key)
    assert (key.record.algorithm, key.record.flags, key.record.protocol) == (13, 257, 3)


def test_a_parent_is_told_the_digest_of_the_zones_own_key(state):
    known_key("lab")
    (key,) = dnssec.keys("lab")
    one, other = dnssec.anchors([ZONE, "0.77.10.in-addr.arpa"], [key])
    assert one.split()[:6] == [f"{ZONE}.", "IN", "DS", str(key.tag), "13", "2"]
    assert one.split()[6] != other.split()[6]
    assert (
        dns.dnssec.make_ds(dns.name.from_text(ZONE), key.record, "SHA256").to_text()
        == one.partition(" DS ")[2]
    )


def test_a_roll_over_has_three_steps_and_none_is_left_out(state):
    (old,) = dnssec.keys("lab")
    with pytest.raises(TinhError, match="is the newest") as refused:
        dnssec.retire("lab", old.tag)
    assert refused.value.code is Exit.REFUSED
    new = dnssec.add("lab")
    assert dnssec.keys("lab") == (old, new)
    with pytest.raises(TinhError, match="under way"):
        dnssec.add("lab")
    with pytest.raises(TinhError, match="no key 99999999"):
        dnssec.retire("lab", 99999999)
    dnssec.retire("lab", old.tag)
    assert dnssec.keys("lab") == (new,)
    assert dnssec.add("lab").file.name == "3.pem"


def test_lost_keys_are_named_and_not_replaced_by_others(state):
    (key,) = dnssec.keys("lab")
    key.file.rename(key.file.with_suffix(".pem.retired"))
    with pytest.raises(TinhError, match="has no key"):
        dnssec.keys("lab")
