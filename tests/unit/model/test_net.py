"""What is left of a prefix."""

from ipaddress import IPv4Network, IPv6Network, collapse_addresses, summarize_address_range
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from infra.model.net import DualPrefix, without

OUTER = IPv4Network("192.0.2.0/24")


@st.composite
def inner(draw):
    length = draw(st.integers(24, 32))
    return IPv4Network((OUTER[draw(st.integers(0, 255))], length), strict=False)


@given(st.lists(inner(), max_size=12))
def test_ranges_hold_exactly_what_is_not_taken(parts):
    ranges = without(OUTER, parts)
    held = {a for a in OUTER if any(first <= a <= last for first, last in ranges)}
    assert held == {a for a in OUTER if not any(a in part for part in parts)}
    assert all(a[1] < b[0] for a, b in pairwise(ranges))


def test_both_families_and_what_lies_elsewhere():
    outer, part = IPv6Network("fd77::/64"), IPv6Network("fd77::c0/123")
    (a, b), (c, d) = without(outer, [part, IPv6Network("fd78::/123")])
    assert [str(x) for x in (a, b, c, d)] == ["fd77::", "fd77::bf", "fd77::e0", "fd77::ffff:ffff:ffff:ffff"]
    left = [net for pair in ((a, b), (c, d)) for net in summarize_address_range(*pair)]
    assert list(collapse_addresses([*left, part])) == [outer]
    assert sorted(outer.address_exclude(part)) == left
    assert without(outer, [outer]) == []
    end = IPv4Network("255.255.255.0/24")
    assert [(str(x), str(y)) for x, y in without(end, [IPv4Network("255.255.255.255")])] == [
        ("255.255.255.0", "255.255.255.254")
    ]


def test_a_prefix_is_within_another_in_both_families():
    outer = DualPrefix.model_validate({"ipv6": "fd77::/64", "ipv4": "10.77.0.0/24"})
    inner = DualPrefix.model_validate({"ipv6": "fd77::c0/123", "ipv4": "10.77.0.192/27"})
    other = DualPrefix.model_validate({"ipv6": "fd77::c0/123", "ipv4": "10.78.0.192/27"})
    assert [inner.within(outer), outer.within(inner), other.within(outer)] == [True, False, False]
    assert inner.text() == ["fd77::c0-fd77::df", "10.77.0.192-10.77.0.223"]
