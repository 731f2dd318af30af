"""What runs, without what changes by itself."""

from __future__ import annotations

import pytest

from infra.providers.router.files import FILES, normal_frr, normal_nft, text_diff

RUNNING = """\
Building configuration...

Current configuration:
!
frr version 8.4.4
frr defaults datacenter
hostname core1
!
interface eth0
 vrrp 1 version 3
exit
!
router bgp 65001
 neighbor 2001:db8::2 remote-as 65002
exit
!
end
"""
#: As nft 1.0.6 prints it with `-s`.
RULES = """\
table inet filter {
\tset seen {
\t\ttype ipv4_addr
\t\tsize 65535
\t\tflags dynamic,timeout
\t\ttimeout 1m
\t\telements = { 10.0.0.1 expires 58s,
\t\t\t     10.0.0.2 expires 3s }
\t}

\tset admins {
\t\ttype ipv6_addr
\t\telements = { 2001:db8::1,
\t\t\t     2001:db8::2 }
\t}

\tchain input {
\t\ttype filter hook input priority filter; policy drop;
\t\tip6 saddr @admins counter accept
\t}
}
"""


def test_frr_without_its_frame():
    assert normal_frr(RUNNING) == (
        "frr defaults datacenter\nhostname core1\ninterface eth0\n vrrp 1 version 3\n"
        "router bgp 65001\n neighbor 2001:db8::2 remote-as 65002\n"
    )


def test_a_line_by_hand_is_all_that_differs():
    edited = RUNNING.replace("exit\n!\nend", " neighbor 10.9.9.9 remote-as 1\nexit\n!\nend")
    changed = text_diff(normal_frr(RUNNING), normal_frr(edited))
    assert [line for line in changed if line[0] in "+-"] == ["+ neighbor 10.9.9.9 remote-as 1"]
    assert text_diff(normal_frr(RUNNING), normal_frr(RUNNING)) == []


#: The same configuration as FRR prints it after a start, and after a reload that had to add some of it.
STARTED = """\
hostname core1
ip prefix-list own seq 5 permit 10.0.0.0/8
ip prefix-list own seq 10 deny any
!
interface lan0
 ip address 10.0.1.1/24
 vrrp 1 version 3
 vrrp 1 priority 200
exit
!
router bgp 65001
 neighbor 10.0.0.2 remote-as 65002
 neighbor 10.0.0.3 remote-as 65003
 !
 address-family ipv4 unicast
  neighbor 10.0.0.2 activate
  neighbor 10.0.0.3 activate
 exit-address-family
 !
 address-family ipv6 unicast
  neighbor 10.0.0.3 activate
 exit-address-family
exit
!
route-map own permit 10
 match ip address prefix-list own
exit
!
"""
RELOADED = """\
hostname core1
!
route-map own permit 10
 match ip address prefix-list own
exit
!
router bgp 65001
 neighbor 10.0.0.3 remote-as 65003
 neighbor 10.0.0.2 remote-as 65002
 !
 address-family ipv6 unicast
  neighbor 10.0.0.3 activate
 exit-address-family
 !
 address-family ipv4 unicast
  neighbor 10.0.0.3 activate
  neighbor 10.0.0.2 activate
 exit-address-family
exit
!
interface lan0
 vrrp 1 priority 200
 vrrp 1 version 3
 ip address 10.0.1.1/24
exit
!
ip prefix-list own seq 10 deny any
ip prefix-list own seq 5 permit 10.0.0.0/8
!
end
"""


def test_the_order_in_which_frr_prints_does_not_count():
    assert normal_frr(RELOADED) == normal_frr(STARTED)
    assert normal_frr(normal_frr(STARTED)) == normal_frr(STARTED), (
        "what is kept in the record is compared again"
    )


@pytest.mark.parametrize(
    ("line", "other"),
    [
        (" neighbor 10.0.0.3 remote-as 65003", " neighbor 10.0.0.3 remote-as 65004"),
        ("seq 10 deny any", "seq 3 deny any"),
        ("  neighbor 10.0.0.2 activate\n", ""),
        (" ip address 10.0.1.1/24\n", ""),
    ],
)
def test_what_differs_in_a_block_counts(line, other):
    assert normal_frr(RELOADED.replace(line, other)) != normal_frr(STARTED)


def test_a_line_that_moves_to_another_block_counts():
    line = "  neighbor 10.0.0.2 activate\n"
    moved = STARTED.replace(line, "").replace(
        " address-family ipv6 unicast\n", f" address-family ipv6 unicast\n{line}"
    )
    assert normal_frr(moved) != normal_frr(STARTED)


def test_sets_that_packets_fill_do_not_count_and_those_that_people_fill_do():
    later = RULES.replace("10.0.0.1 expires 58s,\n\t\t\t     10.0.0.2 expires 3s", "10.7.7.7 expires 1s")
    assert normal_nft(later) == normal_nft(RULES)
    empty = RULES.replace("\t\telements = { 10.0.0.1 expires 58s,\n\t\t\t     10.0.0.2 expires 3s }\n", "")
    assert normal_nft(empty) == normal_nft(RULES)
    by_hand = RULES.replace("2001:db8::2 }", "2001:db8::3 }")
    assert normal_nft(by_hand) != normal_nft(RULES)
    assert "policy drop" in normal_nft(RULES)


def test_every_file_is_loaded_by_something_and_lies_in_etc():
    for name, file in FILES.items():
        assert file.load, name
        assert file.unload, name
        assert file.path.startswith("/etc/")
    assert list(FILES)[-1] == "nftables.conf"


def test_every_file_that_is_rendered_for_a_router_is_known_and_in_the_order_of_loading():
    from infra.network.of_site import fabric_of
    from infra.render.router import Renderer

    for name, files in Renderer(fabric_of("lab")).all_files().items():
        assert list(files) == [known for known in FILES if known in files], name


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("dnsmasq.conf", "dnsmasq"),
        ("rsyslog.conf", "rsyslog"),
        ("chrony.conf", "chrony"),
        ("snmpd.conf", "snmpd"),
    ],
)
def test_a_daemon_that_reads_its_file_only_when_it_starts_is_restarted(name, unit):
    assert FILES[name].load[-1] == ("systemctl", "restart", unit)
