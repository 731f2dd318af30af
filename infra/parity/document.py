"""The certificate: what was looked at, when, from where, and the verdict; signed JSON, and a page for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from infra.parity.judge import Check

KIND = "ipv6-parity"
PAGE = """<!doctype html>
<html lang="vi"><head><meta charset="utf-8"><title>{{ title }}</title><style>
body{font:14px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem}
table{border-collapse:collapse;width:100%}th,td{padding:.3rem .5rem;text-align:left;border-bottom:1px solid #bbb;
vertical-align:top}td.f{font-family:ui-monospace,monospace;overflow-wrap:anywhere}
.ok{color:#0a5c2b}.no{color:#a3001b;font-weight:600}</style></head><body>
<h1>{{ title }}</h1>
<p class="{{ 'ok' if body.alike else 'no' }}"><strong>{{ 'Đạt' if body.alike else 'Không đạt' }}</strong>
({{ 'alike' if body.alike else 'not alike' }}): {{ good }}/{{ body.checks | length }} · {{ body.at }} · {{ body.site }}
· {{ body.client }}</p>
{% if body.simulated %}<p>{{ body.simulated }}</p>{% endif %}
<table><thead><tr><th>Tên miền (name)</th><th>Nội dung kiểm tra (check)</th><th>Kết quả (result)</th>
<th>Đã thấy (found)</th></tr></thead><tbody>
{% for c in body.checks %}<tr><td>{{ c.subject }}</td><td>{{ c.check }}</td>
<td class="{{ 'ok' if c.ok else 'no' }}">{{ 'đạt (ok)' if c.ok else 'không đạt (not ok)' }}</td>
<td class="f">{{ c.found }}</td></tr>
{% endfor %}</tbody></table>
<p>Ed25519 {{ fingerprint }}. <code>tinh ipv6 verify</code></p></body></html>
"""


def body(
    site: str, client: str, at: datetime, checks: Sequence[Check], *, simulated: str = ""
) -> dict[str, Any]:
    """Return what is signed.

    Args:
        site: name.
        client: machine from which it was looked at.
        at: when.
        checks: every check.
        simulated: what of the outside is simulated; empty: nothing.
    """
    return {
        "kind": KIND,
        "site": site,
        "client": client,
        "at": at.isoformat(timespec="seconds"),
        "simulated": simulated,
        "alike": bool(checks) and all(check.ok for check in checks),
        "checks": [check.data() for check in checks],
    }


def render(content: dict[str, Any], fingerprint: str) -> str:
    """Return the page."""
    from jinja2 import Environment

    page = Environment(autoescape=True).from_string(PAGE)
    good = sum(check["ok"] for check in content["checks"])
    return page.render(title=f"IPv6: {content['site']}", body=content, good=good, fingerprint=fingerprint)
