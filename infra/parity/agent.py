"""Runs on a client outside, which has network namespaces `ipv4`, `ipv6` and `dual`: looks at published names.

Python 3 and its standard library, curl, dig and openssl; the request is JSON on standard input, the answer JSON on
standard output::

    {"names": [{"name": HOST, "path": "/"}], "ca": FILE, "doors": {"ipv4": [ADDRESS], "ipv6": [ADDRESS]},
     "closed": [PORT], "rounds": N}
    -> {"names": {HOST: {"ipv4/ipv6": LOOK, ...}}, "open": {"ipv4 ADDRESS": [PORT]}}

A LOOK is keyed by client and family; a client without the family is asked too, and must get nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

CLIENTS = ("ipv4", "ipv6", "dual")
FAMILIES = {"ipv4": ("-4", "A"), "ipv6": ("-6", "AAAA")}
#: Headers that differ from one answer to the next by their nature.
VOLATILE = {
    "date",
    "age",
    "set-cookie",
    "expires",
    "last-modified",
    "x-request-id",
    "x-envoy-upstream-service-time",
}
CONNECT = """
import socket, sys
found = []
for port in sys.argv[2:]:
    try:
        socket.create_connection((sys.argv[1], int(port)), timeout=2).close()
        found.append(int(port))
    except OSError:
        pass
print(found)
"""


def inside(client: str, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command where a client is."""
    command = ["ip", "netns", "exec", client, *words]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)


def page(client: str, family: str, url: str, ca: str, *options: str) -> dict[str, Any]:
    """Fetch a page; return what curl says, and headers and body of the last answer."""
    flag = FAMILIES[family][0]
    with tempfile.TemporaryDirectory() as folder:
        head, body = Path(folder, "head"), Path(folder, "body")
        done = inside(
            client, "curl", flag, "-sS", "--max-time", "10", "--cacert", ca, "-D", str(head), "-o", str(body),
            "-w", "%{json}", *options, url,
        )  # fmt: skip
        try:
            said = json.loads(done.stdout)
        except ValueError:
            said = {}
        text = head.read_text("utf-8", "replace") if head.exists() else ""
        content = body.read_bytes() if body.exists() else b""
    return {
        "exit": done.returncode,
        "error": done.stderr.strip()[-200:],
        "status": said.get("http_code", 0),
        "verified": done.returncode == 0 and said.get("ssl_verify_result") == 0,
        "address": said.get("remote_ip", ""),
        "redirects": said.get("num_redirects", 0),
        "end": said.get("url_effective", ""),
        "to": said.get("redirect_url") or "",
        "headers": headers(text),
        "body": hashlib.sha256(content).hexdigest(),
        "microseconds": round(said.get("time_total", 0) * 1_000_000),
    }


def headers(text: str) -> dict[str, str]:
    """Return the headers of the last answer that mean something, by name in lower case."""
    blocks = [block for block in re.split(r"\r?\n\r?\n", text) if block.strip()]
    lines = blocks[-1].splitlines()[1:] if blocks else []
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {
        name.strip().lower(): value.strip() for name, value in pairs if name.strip().lower() not in VOLATILE
    }


def chain(client: str, family: str, name: str) -> list[str]:
    """Return SHA-256 of every certificate that a server shows, its own first."""
    flag = FAMILIES[family][0]
    done = inside(
        client, "openssl", "s_client", flag, "-connect", f"{name}:443", "-servername", name, "-showcerts"
    )
    found = re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", done.stdout, re.DOTALL)
    return [hashlib.sha256(re.sub(r"\s", "", text).encode()).hexdigest() for text in found]


def answers(client: str, name: str) -> dict[str, list[str]]:
    """Return what a client's resolver says: family -> addresses."""
    return {
        family: sorted(inside(client, "dig", "+short", "+time=3", name, kind).stdout.split())
        for family, (_, kind) in FAMILIES.items()
    }


def look(client: str, family: str, item: dict[str, str], ca: str, rounds: int) -> dict[str, Any]:
    """Look at a name from one client over one family."""
    name, url = item["name"], f"https://{item['name']}{item['path']}"
    first = page(client, family, url, ca, "-L")
    if client not in (family, "dual"):
        return {"page": first, "names": answers(client, name)}
    if first["exit"]:  # nothing came, and the rest would only wait for nothing
        return {
            "page": first, "plain": first, "chain": [], "names": answers(client, name),
            "microseconds": first["microseconds"],
        }  # fmt: skip
    times = [page(client, family, url, ca, "-L")["microseconds"] for _ in range(rounds)]
    return {
        "page": first,
        "plain": page(client, family, f"http://{name}/", ca),
        "chain": chain(client, family, name),
        "names": answers(client, name),
        "microseconds": round(statistics.median([first["microseconds"], *times])),
    }


def main() -> None:
    """Read the request, look, print."""
    request = json.loads(sys.stdin.read())
    looks: dict[str, dict[str, Any]] = {}
    for item in request["names"]:
        looks[item["name"]] = {
            f"{client}/{family}": look(client, family, item, request["ca"], request["rounds"])
            for client in CLIENTS
            for family in FAMILIES
        }
    ports = [str(port) for port in request["closed"]]
    places = [(family, address) for family, found in request["doors"].items() for address in found]

    def opened(place: tuple[str, str]) -> list[int]:
        return json.loads(inside("dual", sys.executable, "-c", CONNECT, place[1], *ports).stdout or "null")

    with ThreadPoolExecutor() as pool:
        found = list(pool.map(opened, places))
    opens = {f"{family} {address}": ports for (family, address), ports in zip(places, found, strict=True)}
    print(json.dumps({"names": looks, "open": opens}))


if __name__ == "__main__":
    main()
