"""Logs and figures of a router: rsyslog over TLS (RFC 5425) and SNMPv3 with authPriv (circular 06/2026 annex I)."""

from __future__ import annotations

from infra.network.device import Device
from infra.render.firewall import SYSLOG_TLS
from infra.render.options import Options

QUEUE_MB = 50  # on disk, while the server cannot be reached


def render_rsyslog(options: Options) -> str:
    """Return `rsyslog.conf`: everything goes to the central server, over IPv6 or else IPv4, and nowhere else.

    Raises:
        ValueError: there is no `syslog`.
    """
    if options.syslog is None:
        raise ValueError("no log server")
    server = options.syslog
    lines = [
        "# managed by tinh",
        'module(load="imuxsock")',
        'module(load="imklog")',
        'global(workDirectory="/var/spool/rsyslog" defaultNetstreamDriver="gtls"',
        f'       defaultNetstreamDriverCAFile="{server.ca}")',
        'ruleset(name="central" queue.type="LinkedList" queue.filename="central"',
        f'        queue.maxDiskSpace="{QUEUE_MB}m" queue.saveOnShutdown="on") {{',
    ]
    for number, address in enumerate(server.server.pair()):
        lines += [
            f'  action(type="omfwd" target="{address}" port="{SYSLOG_TLS}" protocol="tcp"',
            '         template="RSYSLOG_SyslogProtocol23Format" TCP_Framing="octet-counted"',
            '         streamDriver="gtls" streamDriverMode="1" streamDriverAuthMode="x509/name"',
            f'         streamDriverPermittedPeers="{server.name}"',
            f'         action.resumeInterval="10" action.resumeRetryCount="{0 if number == 0 else -1}"'
            + (' action.execOnlyWhenPreviousIsSuspended="on")' if number else ")"),
        ]
    return "\n".join([*lines, "}", "*.* call central"]) + "\n"


def render_snmpd(device: Device, options: Options) -> str:
    """Return `snmpd.conf`: one user who reads, with authentication and privacy; no communities.

    The text holds the user's secrets: it is given to the router as a secret.

    Raises:
        ValueError: there is no `snmp`.
    """
    if options.snmp is None:
        raise ValueError("no SNMP user")
    snmp, (v6, v4) = options.snmp, device.loopback.pair()
    lines = [
        "# managed by tinh",
        f"agentaddress udp6:[{v6}]:161,udp:{v4}:161",
        f"sysName {device.name}",
        f"sysLocation {device.unit}",
        "view tinh included .1.3.6.1.2.1",
        f'createUser {snmp.user} SHA-256 "{snmp.auth.get_secret_value()}" AES "{snmp.privacy.get_secret_value()}"',
        f"rouser {snmp.user} authpriv -V tinh",
    ]
    return "\n".join([*lines, "master agentx"] if options.agentx else lines) + "\n"
