"""The address plan as CSV and as one HTML page."""

from __future__ import annotations

import csv
import io
from html import escape

from infra.address.plan import Plan

FIELDS = ("unit", "unit_name", "unit_level", "purpose", "domain", "family", "prefix", "gateway", "vlan")
STYLE = (
    "body{font:14px/1.4 system-ui,sans-serif;margin:2rem;max-width:80rem}table{border-collapse:collapse;width:100%}"
    "th,td{padding:.25rem .5rem;text-align:left;border-bottom:1px solid #ccc;vertical-align:top}"
    "th{position:sticky;top:0;background:#fff}td.n{font-family:ui-monospace,monospace}"
    "@media print{th{position:static}}"
)


def render_csv(plan: Plan) -> str:
    """Return the allocations as CSV with a header (RFC 4180, lines end in LF)."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(FIELDS)
    table.writerows(allocation.data().values() for allocation in plan.allocations)
    return out.getvalue()


def render_html(plan: Plan) -> str:
    """Return the plan as a page that needs nothing else: pools, then both families of every unit and purpose."""
    province, net = plan.province, plan.province.network
    title = f"{province.site}, {province.epoch}"
    pools = [
        _row(name, net.domains[pool.domain].title.vi, *pool.prefix.pair()) for name, pool in net.pools.items()
    ]
    rows = []
    for unit in province.units:
        for purpose in plan.purposes(unit.code):
            rule = net.purposes[purpose]
            rows.append(
                _row(
                    unit.code,
                    unit.name,
                    rule.title.vi,
                    net.domains[rule.domain].title.vi,
                    *plan.of(unit.code, purpose).pair(),
                    *plan.gateway(unit.code, purpose).pair(),
                    str(rule.vlan or ""),
                )
            )
    return (
        f'<!doctype html>\n<html lang="vi"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style></head><body>\n<h1>Quy hoạch địa chỉ: {escape(title)}</h1>\n"
        f"<p>{len(province.units)} đơn vị, {len(rows)} mạng, hiệu lực {province.day.isoformat()}</p>\n"
        + _table(("Dải", "Miền", "IPv6", "IPv4"), pools)
        + "<h2>Phân bổ</h2>\n"
        + _table(("Mã", "Đơn vị", "Mục đích", "Miền", "IPv6", "IPv4", "Cổng IPv6", "Cổng IPv4", "VLAN"), rows)
        + "</body></html>\n"
    )


def _row(*cells: str) -> str:
    return (
        "<tr>"
        + "".join(f'<td class="n">{escape(c)}</td>' if _code(c) else f"<td>{escape(c)}</td>" for c in cells)
        + "</tr>\n"
    )


def _code(cell: str) -> bool:
    return "." in cell or ":" in cell or cell.isdecimal()


def _table(head: tuple[str, ...], rows: list[str]) -> str:
    return (
        "<table><thead><tr>"
        + "".join(f"<th>{h}</th>" for h in head)
        + "</tr></thead><tbody>\n"
        + "".join(rows)
        + "</tbody></table>\n"
    )
