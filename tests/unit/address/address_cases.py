"""Small provinces for the tests of the address plan."""

from datetime import date
from pathlib import Path

from infra.model.network import Network
from infra.model.province import Profile, Province
from infra.model.unit import Unit
from infra.model.zone import Zone

TITLE = {"vi": "a", "en": "a"}
ZONING = {"zones": {str(zone): TITLE for zone in Zone}, "services": {}, "rules": []}
DAY = date(2023, 1, 1)


def raw_network(lan4="10.0.0.0/20", lan6="fd00:1::/48", **changes):
    return {
        "quarantine_days": 30,
        "names_kept_days": 365,
        "registered": [{"prefix": {"ipv6": "fd00::/16", "ipv4": "10.0.0.0/8"}, "source": "test"}],
        "pools": {
            "lan": {"domain": "state", "prefix": {"ipv6": lan6, "ipv4": lan4}},
            "transport": {"domain": "transport", "prefix": {"ipv6": "fd00:2::/48", "ipv4": "10.1.0.0/20"}},
        },
        "domains": {
            "state": {"title": TITLE, "ipv6_block": 56},
            "transport": {"title": TITLE, "ipv6_block": 64},
        },
        "purposes": {
            "desk": {
                "title": TITLE, "domain": "state", "zone": "internal", "vlan": 30,
                "hosts": {"commune": 20, "district": 50},
            },
            "office": {
                "title": TITLE, "domain": "state", "zone": "internal", "vlan": 20,
                "hosts": {"commune": 60, "district": 250},
            },
            "loopback": {
                "title": TITLE, "kind": "loopback", "domain": "transport", "hosts": {"commune": 1, "district": 1},
            },
            "link": {
                "title": TITLE, "kind": "link", "domain": "transport", "vlan": 3001,
                "hosts": {"commune": 2, "district": 2},
            },
        },
        "zoning": ZONING,
    } | changes  # fmt: skip


def network(*args, **changes):
    return Network.model_validate(raw_network(*args, **changes))


def unit(code, level="commune", **changes):
    fields = {"code": code, "name": f"Xã {code}", "level": level, "type": "Xã", "parent": "01", "source": "s"}
    return Unit.model_validate(fields | changes)


def province(units, net=None, day=DAY, epoch="e"):
    return Province("test", epoch, day, Profile.OWN, tuple(units), net or network(), Path("test"))


def prefixes(plan):
    return {(a.unit, a.purpose, a.family): a.prefix for a in plan.allocations}
