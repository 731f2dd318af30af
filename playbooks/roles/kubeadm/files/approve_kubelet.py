#!/usr/bin/python3
"""Approve what a node's kubelet asks to serve with, when it names nothing but the node and its addresses.

Usage: tinh-approve-kubelet NODE ADDRESS,ADDRESS SECONDS
Ends when the kubelet serves with a certificate of the cluster's CA; a kubelet that restarts asks anew, so what was
approved once need not be what it serves with. A request that names more is refused.
Source: https://kubernetes.io/docs/tasks/administer-cluster/kubeadm/kubeadm-certs/#kubelet-serving-certs
"""

from __future__ import annotations

import base64
import ipaddress
import json
import re
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator

KUBECTL = ("kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf")


def output(*command: str, data: bytes | None = None) -> bytes:
    """Run a command and return what it prints."""
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout


def names(request: bytes) -> set[str]:
    """Return all alternative names of a request: addresses as such, others as `kind:value`."""
    text = output("openssl", "req", "-noout", "-text", data=request).decode()
    found = re.findall(r"(DNS|IP Address|URI|email|othername|DirName|Registered ID):\s*([^,\s]+)", text)
    return {
        str(ipaddress.ip_address(value)) if kind == "IP Address" else f"{kind}:{value}"
        for kind, value in found
    }


def pending(node: str) -> Iterator[tuple[str, set[str]]]:
    """Yield name and alternative names of a node's requests that nobody decided yet."""
    for item in json.loads(output(*KUBECTL, "get", "csr", "-o", "json"))["items"]:
        spec = item["spec"]
        of_node = (
            spec["username"] == f"system:node:{node}"
            and spec["signerName"] == "kubernetes.io/kubelet-serving"
        )
        if of_node and not item.get("status", {}).get("conditions"):
            yield item["metadata"]["name"], names(base64.b64decode(spec["request"]))


def serves(address: str) -> bool:
    """Return whether the kubelet at an address shows a certificate of the cluster's CA for it."""
    context = ssl.create_default_context(cafile="/etc/kubernetes/pki/ca.crt")
    try:
        with socket.create_connection((address, 10250), timeout=5) as plain:
            context.wrap_socket(plain, server_hostname=address).close()
    except OSError:
        return False
    return True


def main(node: str, addresses: str, seconds: str) -> None:
    """Approve until the kubelet serves, or end with a message."""
    own = addresses.split(",")
    allowed = {f"DNS:{node}", *(str(ipaddress.ip_address(address)) for address in own)}
    end = time.monotonic() + int(seconds)
    while True:
        for name, asked in pending(node):
            if asked - allowed:
                sys.exit(
                    f"{name} of {node} asks for {', '.join(sorted(asked - allowed))}, which is not this machine's"
                )
            output(*KUBECTL, "certificate", "approve", name)
            print("approved", name)
        if all(serves(address) for address in own):
            return
        if time.monotonic() > end:
            sys.exit(
                f"the kubelet of {node} does not serve with a certificate of the cluster after {seconds} s"
            )
        time.sleep(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
