"""The address plan: the reference province, and a generated country; `python -m tests.bench.address` measures only it.

Measured in this process, without reading files: compile, list the allocations, prove them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

from infra.address.plan import Plan, compile_plan
from infra.address.verify import verify
from infra.model.network import Network
from infra.model.province import Profile, Province, load_province
from infra.model.unit import Level, Unit
from tests.bench.figures import Row, at_most
from tests.bench.measure import MeasureError, Run, Sample

SITE, EPOCH = "quang-binh", "2023"
COMMUNES, PER_DISTRICT = 10_600, 15
#: Pools that hold a country: about nine of the sixteen million addresses of 10.0.0.0/8, one /32 in IPv6.
POOLS = {
    "state": ("3fff:100::/32", "10.0.0.0/10"),
    "wifi": ("3fff:101::/32", "10.64.0.0/11"),
    "video": ("3fff:102::/32", "10.96.0.0/12"),
    "party": ("3fff:103::/32", "10.112.0.0/13"),
    "management": ("3fff:104::/32", "10.120.0.0/14"),
    "transport": ("3fff:105::/32", "10.124.0.0/15"),
    "datacentre": ("3fff:106::/32", "10.126.0.0/15"),
}


@dataclass(frozen=True)
class Result:
    """One case: how long it took, how many prefixes, and what is allowed (seconds)."""

    case: str
    sample: Sample
    prefixes: int
    allowed: float

    @property
    def met(self) -> bool:
        """Whether the goal is met."""
        return self.sample.seconds <= self.allowed

    def row(self) -> Row:
        """Return its line of the table."""
        what = f"compile and prove the plan of {self.case}, {self.prefixes} prefixes"
        goal = at_most(self.allowed)
        return Row(section="address plan", what=what, unit="s", values=self.sample.times, goal=goal)

    def data(self) -> dict[str, object]:
        """Return what goes into the report."""
        return {
            "case": self.case,
            "prefixes": self.prefixes,
            **self.sample.data(),
            "allowed": self.allowed,
            "met": self.met,
        }


def country() -> Province:
    """Return a province as large as the country, with the reference province's rules."""
    net = load_province(SITE, EPOCH).network.model_dump(mode="json", by_alias=True)
    net["pools"] = {
        name: {"domain": name, "prefix": {"ipv6": v6, "ipv4": v4}} for name, (v6, v4) in POOLS.items()
    }
    net["registered"] = [{"prefix": {"ipv6": "3fff::/20", "ipv4": "10.0.0.0/8"}, "source": "generated"}]
    units = [_unit("01", Level.PROVINCE, "")]
    for number in range(COMMUNES):
        district = f"{number // PER_DISTRICT:04}"
        if number % PER_DISTRICT == 0:
            units.append(_unit(district, Level.DISTRICT, "01"))
        units.append(_unit(f"{number:05}", Level.COMMUNE, district))
    network = Network.model_validate(net)
    return Province("country", EPOCH, date(2023, 1, 1), Profile.OWN, tuple(units), network)


def _unit(code: str, level: Level, parent: str) -> Unit:
    return Unit(code=code, name=f"Đơn vị {code}", level=level, type="Xã", parent=parent, source="generated")


def prove(province: Province) -> Plan:
    """Compile and prove a plan.

    Raises:
        MeasureError: the proof fails.
    """
    plan = compile_plan(province)
    if problems := verify(plan.document()):
        raise MeasureError(f"the plan of {province.site} is wrong: {problems[0]}")
    return plan


def measure(rounds: int) -> list[Result]:
    """Measure both cases."""
    reference = load_province(SITE, EPOCH)
    cases: list[tuple[str, Callable[[], Province], float]] = [
        (f"{len(reference.at_level(Level.COMMUNE))} communes", lambda: reference, 0.2),
        (f"{COMMUNES} communes", country, 10.0),
    ]
    results = []
    for case, make, allowed in cases:
        province = make()
        runs, plan = [], None
        for _ in range(rounds):
            began, cpu = time.perf_counter(), time.process_time()
            plan = prove(province)
            runs.append(Run(time.perf_counter() - began, 0, time.process_time() - cpu))
        results.append(Result(case, Sample(tuple(runs)), len(plan.allocations) if plan else 0, allowed))
    return results


if __name__ == "__main__":
    for result in measure(3):
        print(result.data())
