"""The address plan of a province at one epoch: what renderers and the command line read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from socket import AF_INET, AF_INET6, inet_ntop
from typing import Any

from infra.address import ledger as book
from infra.address.compiler import compile_ledger
from infra.address.ledger import Ledger, Pair
from infra.errors import TinhError
from infra.model.net import DualAddress, DualPrefix
from infra.model.network import Kind
from infra.model.province import Province, Record, load_record


@dataclass(frozen=True, slots=True)
class Allocation:
    """One prefix of one unit for one purpose in one family."""

    unit: str
    unit_name: str
    unit_level: str
    purpose: str
    domain: str
    family: str
    vlan: int | None
    first: int
    length: int
    step: int

    @property
    def prefix(self) -> IPv4Network | IPv6Network:
        """The prefix."""
        net = IPv4Network if self.family == "ipv4" else IPv6Network
        return net((self.first, self.length))

    @property
    def gateway(self) -> IPv4Address | IPv6Address:
        """The first usable address: a LAN's gateway, the upper end of a link, the address of a loopback."""
        return self.prefix[self.step]

    def data(self) -> dict[str, Any]:
        """Return it as plain data; a country has several hundred thousand, hence no `ipaddress` objects here."""
        return {
            "unit": self.unit,
            "unit_name": self.unit_name,
            "unit_level": self.unit_level,
            "purpose": self.purpose,
            "domain": self.domain,
            "family": self.family,
            "prefix": f"{_text(self.family, self.first)}/{self.length}",
            "gateway": _text(self.family, self.first + self.step),
            "vlan": self.vlan,
        }


@dataclass(frozen=True)
class Owner:
    """Whose an address is.

    Args:
        state: `allocated`, `block` (in a unit's block, for no purpose), `quarantine`, `pool` or `registered` (free).
    """

    state: str
    prefix: str
    domain: str = ""
    unit: str = ""
    purpose: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Plan:
    """The plan: a province at an epoch and its ledger."""

    province: Province
    ledger: Ledger

    @cached_property
    def allocations(self) -> tuple[Allocation, ...]:
        """All allocations: by unit, then purpose in the order of the rules, IPv6 first."""
        return tuple(self._allocations())

    @cached_property
    def _by_unit(self) -> dict[str, dict[str, Pair]]:
        found: dict[str, dict[str, Pair]] = defaultdict(dict)
        for (unit, _), block in self.ledger.blocks.items():
            if block.released is None:
                found[unit] |= {n: s.pair for n, s in block.slots.items() if s.released is None}
        return found

    def purposes(self, unit: str) -> list[str]:
        """Return the purposes for which a unit has prefixes, in the order of the rules."""
        return [name for name in self.province.network.purposes if name in self._by_unit.get(unit, ())]

    def of(self, unit: str, purpose: str) -> DualPrefix:
        """Return a unit's prefix for a purpose.

        Raises:
            TinhError: it has none.
        """
        return _dual(self._pair(unit, purpose))

    def gateway(self, unit: str, purpose: str) -> DualAddress:
        """Return the gateway of a LAN, the upper end of a link, or a loopback's address: the first usable address.

        Raises:
            TinhError: the unit has no such prefix.
        """
        pair = self._pair(unit, purpose)
        step = self._step(purpose)
        return DualAddress(
            ipv4=IPv4Address(pair.ipv4[0] + step),
            ipv6=IPv6Address(pair.ipv6[0] + step),
        )

    def block(self, unit: str, domain: str) -> DualPrefix | None:
        """Return a unit's block in a domain: the route that it announces there; None when it has none."""
        block = self.ledger.blocks.get((unit, domain))
        return None if block is None or block.released else _dual(block.pair)

    def who(self, address: str) -> Owner | None:
        """Return whose an address is; None outside the registered space.

        Raises:
            TinhError: it is no IP address.
        """
        try:
            ip = ip_address(address)
        except ValueError:
            raise TinhError(
                f"{address!r} is no IP address", where="argument ADDRESS", fix="write 10.1.2.3 or 2001:db8::1"
            ) from None
        family = f"ipv{ip.version}"
        for (code, domain), block in self.ledger.blocks.items():
            if not _holds(getattr(block.pair, family), int(ip)):
                continue
            for name, slot in block.slots.items():
                mine = getattr(slot.pair, family)
                if _holds(mine, int(ip)) and not (block.released or slot.released):
                    return Owner("allocated", str(book.network(family, mine)), domain, code, name)
            net = str(book.network(family, getattr(block.pair, family)))
            if block.released:
                return Owner("quarantine", net, domain, code, detail=f"released {block.released}")
            return Owner("block", net, domain, code, detail="in the unit's block, for no purpose")
        for name, pool in self.province.network.pools.items():
            if ip in getattr(pool.prefix, family):
                return Owner("pool", str(getattr(pool.prefix, family)), pool.domain, detail=f"pool {name}")
        for entry in self.province.network.registered:
            if ip in getattr(entry.prefix, family):
                return Owner("registered", str(getattr(entry.prefix, family)), detail="in no pool")
        return None

    def document(self) -> dict[str, Any]:
        """Return the plan as plain data: allocations, and the certificate that `verify` checks them against."""
        net = self.province.network
        return {
            "site": self.province.site,
            "epoch": self.province.epoch,
            "date": self.province.day.isoformat(),
            "profile": self.province.profile.value,
            "registered": [entry.model_dump(mode="json") for entry in net.registered],
            "pools": [
                {
                    "name": name,
                    "domain": pool.domain,
                    "family": family,
                    "prefix": str(getattr(pool.prefix, family)),
                }
                for name, pool in net.pools.items()
                for family in ("ipv6", "ipv4")
            ],
            "domains": {name: {"leaks": list(domain.leaks)} for name, domain in net.domains.items()},
            "purposes": {
                name: purpose.model_dump(mode="json", include={"kind", "domain", "zone", "vlan", "hosts"})
                for name, purpose in net.purposes.items()
            },
            "units": {u.code: {"name": u.name, "level": u.level.value} for u in self.province.units},
            "held": [
                {
                    "unit": unit,
                    "domain": domain,
                    "family": family,
                    "prefix": str(book.network(family, prefix)),
                }
                for (unit, domain), block in sorted(self.ledger.blocks.items())
                if block.released
                for family, prefix in (("ipv6", block.pair.ipv6), ("ipv4", block.pair.ipv4))
            ],
            "allocations": [allocation.data() for allocation in self.allocations],
        }

    def _pair(self, unit: str, purpose: str) -> Pair:
        pair = self._by_unit.get(unit, {}).get(purpose)
        if pair is None:
            raise TinhError(
                f"unit {unit!r} has no prefix for {purpose!r}",
                where=f"plan of {self.province.site}, epoch {self.province.epoch}",
                fix=f"it has: {', '.join(self.purposes(unit)) or 'none; the unit is not in this epoch'}",
            )
        return pair

    def _step(self, purpose: str) -> int:
        """Offset of the gateway: a LAN's first address names the network (IPv4) or its routers (RFC 4291 2.6.1)."""
        return 1 if self.province.network.purposes[purpose].kind is Kind.LAN else 0

    def _allocations(self) -> Iterator[Allocation]:
        purposes = self.province.network.purposes
        steps = {name: self._step(name) for name in purposes}
        for unit in self.province.units:
            mine = self._by_unit.get(unit.code, {})
            level = unit.level.value
            for name, purpose in purposes.items():
                if name in mine:
                    common = unit.code, unit.name, level, name, purpose.domain
                    (v6, bits6), (v4, bits4) = mine[name].ipv6, mine[name].ipv4
                    yield Allocation(*common, "ipv6", purpose.vlan, v6, 128 - bits6, steps[name])
                    yield Allocation(*common, "ipv4", purpose.vlan, v4, 32 - bits4, steps[name])


def recorded(site: str) -> tuple[Record, Ledger]:
    """Return a site's province and its ledger, which is empty before anything was given out.

    Raises:
        TinhError: see `load_record` and `infra.address.ledger.read`.
    """
    record = load_record(site)
    return record, book.read(record.folder / book.FILE, site)


def compile_plan(province: Province, before: Ledger | None = None) -> Plan:
    """Return the plan of a province at its epoch; see `compile_ledger`."""
    return Plan(province, compile_ledger(province, before))


def plan_at(record: Record, epoch: str | None = None, before: Ledger | None = None) -> Plan:
    """Return the plan at an epoch, reached from the ledger through every epoch between.

    Args:
        record: the site's province.
        epoch: name of the epoch; none: the current one.
        before: the recorded ledger; none or an empty one: from the first epoch on.

    Raises:
        TinhError: see `Record.at` and `compile_ledger`.
    """
    target = record.at(epoch)
    names = record.epochs
    end = names.index(target.epoch)
    ledger = before or Ledger()
    if ledger.epoch and ledger.epoch not in names:
        raise TinhError(
            f"the ledger is of epoch {ledger.epoch!r}, which there is no more",
            where=str(record.folder / "plan.json"),
            fix=f"give province.yaml that epoch again; it has {', '.join(names)}",
        )
    begin = names.index(ledger.epoch) + 1 if ledger.epoch else 0
    for name in names[begin:end]:
        ledger = compile_ledger(record.at(name), ledger)
    return compile_plan(target, ledger)


def _dual(pair: Pair) -> DualPrefix:
    return DualPrefix.model_validate(
        {"ipv4": book.network("ipv4", pair.ipv4), "ipv6": book.network("ipv6", pair.ipv6)}
    )


def _text(family: str, address: int) -> str:
    if family == "ipv4":
        return inet_ntop(AF_INET, address.to_bytes(4, "big"))
    return inet_ntop(AF_INET6, address.to_bytes(16, "big"))


def _holds(prefix: tuple[int, int], address: int) -> bool:
    return prefix[0] <= address < prefix[0] + (1 << prefix[1])
