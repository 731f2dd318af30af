"""The zone file: read back by an independent parser."""

from ipaddress import IPv4Address, IPv6Address

import dns.rdatatype
import dns.zone
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.errors import TinhError
from infra.model.net import DualAddress
from infra.render.zone import SERVER, render_zone

addresses = st.builds(
    DualAddress,
    ipv6=st.integers(1, 2**128 - 1).map(IPv6Address),
    ipv4=st.integers(1, 2**32 - 1).map(IPv4Address),
)
labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True).filter(
    lambda text: text != SERVER
)
names = st.dictionaries(labels, addresses, max_size=8)
NS = DualAddress(ipv6=IPv6Address("2001:db8::53"), ipv4=IPv4Address("192.0.2.53"))
WWW = DualAddress(ipv6=IPv6Address("2001:db8::80"), ipv4=IPv4Address("192.0.2.80"))


@given(addresses, names)
def test_a_parser_reads_back_both_families_of_every_name(
    server: DualAddress, published: dict[str, DualAddress]
) -> None:
    zone = dns.zone.from_text(render_zone("lab.tinh.test", server, published), origin="lab.tinh.test.")
    for label, address in {SERVER: server, **published}.items():
        found = {
            family: [IPv6Address(r.address) if family == "AAAA" else IPv4Address(r.address) for r in records]
            for family in ("AAAA", "A")
            if (records := zone.find_rdataset(label, dns.rdatatype.from_text(family)))
        }
        assert found == {"AAAA": [address.ipv6], "A": [address.ipv4]}
    assert len(zone.nodes) == len(published) + 2


@given(names)
def test_the_same_names_in_another_order_give_the_same_zone(published: dict[str, DualAddress]) -> None:
    turned = dict(reversed(published.items()))
    assert render_zone("x.test", NS, published) == render_zone("x.test", NS, turned)


def test_the_zone_names_its_server_in_both_families() -> None:
    text = render_zone("lab.tinh.test", NS, {})
    assert "@ IN NS ns1" in text
    assert "ns1 IN AAAA 2001:db8::53" in text
    assert "ns1 IN A 192.0.2.53" in text


@pytest.mark.parametrize("label", ["", "WWW", "a b", "-a", "a.b", "ns1", "x" * 64, 'a" IN TXT "b'])
def test_what_is_no_label_is_refused_and_named(label: str) -> None:
    with pytest.raises(TinhError, match="cannot be published"):
        render_zone("x.test", NS, {label: WWW})
