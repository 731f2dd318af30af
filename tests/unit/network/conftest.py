"""The lab's routers, with and without everything that can be asked for."""

from pathlib import Path

import pytest

from infra.address.plan import plan_at
from infra.model.net import DualAddress
from infra.model.province import Record, load_record
from infra.network.fabric import Fabric
from infra.network.mapping import Mapping
from infra.network.of_site import fabric_at
from infra.render.options import Options, Snmp, Syslog


def address(ipv6: str, ipv4: str) -> DualAddress:
    return DualAddress.model_validate({"ipv6": ipv6, "ipv4": ipv4})


CENTRE = address("fd77::c9", "10.77.0.201")
DIGEST = f"lab.tinh.test. IN DS 1 13 2 {'ab' * 32}"
FULL = Options.model_validate(
    {
        "management": [{"ipv6": "fd77::1/128", "ipv4": "10.77.0.1/32"}],
        "dns": CENTRE,
        "authority": {
            "server": CENTRE,
            "zones": ["lab.tinh.test"],
            "anchors": [DIGEST],
        },
        "ntp": CENTRE,
        "syslog": Syslog(server=CENTRE, name="logs.lab.tinh.test"),
        "snmp": Snmp.model_validate(
            {"user": "reader", "auth": "reference:snmp/auth", "privacy": "reference:snmp/privacy"}
        ),
    }
)


def fabric(
    site: str, epoch: str | None = None, mapping: Mapping = Mapping.LAB, record: Record | None = None
) -> Fabric:
    return fabric_at(plan_at(record or load_record(site), epoch), mapping)


@pytest.fixture
def routers(state: Path) -> Fabric:
    """The lab's routers."""
    return fabric("lab")
