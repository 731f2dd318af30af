"""The front door as processes: Envoy Gateway, Envoy and the firewall, given the objects that the stacks declare.

Envoy Gateway reads them from a file instead of a cluster. It knows no ListenerSets and no Services there: a listener
becomes one of the Gateway, a Service a `Backend` on loopback; the rest is what the cluster gets.
"""

from __future__ import annotations

import base64
import copy
import json
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml
from edge_identity import SECRET, Identity

from infra.components.edge.firewall import rules
from infra.components.edge.gateway import GatewayArgs, gateway
from infra.components.edge.public_name import PublicNameArgs, public_name
from infra.components.edge.sign_in import SERVICE, Provider
from infra.components.manifest import Object
from infra.model.certificates import Certificates
from infra.model.exposure import Exposure
from infra.model.net import DualAddress
from lab.pki import ensure_ca, ensure_certificate
from lab.toolchain import ensure

NAMESPACE = "edge"
LOOPBACK = {"ipv4": "127.0.0.1", "ipv6": "::1"}
GROUP = "gateway.envoyproxy.io"


class Echo(BaseHTTPRequestHandler):
    """A backend that tells what it got."""

    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        told = {"method": self.command, "path": self.path, "headers": dict(self.headers), "bytes": len(body)}
        answer = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.send_header("x-frame-options", "DENY")
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PUT = do_HEAD = handle_any

    def log_message(self, *_: object) -> None:
        pass


class Server6(ThreadingHTTPServer):
    address_family = socket.AF_INET6
    daemon_threads = True


def free_port() -> int:
    with socket.socket(socket.AF_INET6) as found:
        found.bind(("::", 0))
        return found.getsockname()[1]


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    cookies: list[str] = field(default_factory=list)

    @property
    def told(self) -> Object:
        return json.loads(self.body)


@dataclass
class Edge:
    """What runs: ports and files, and how to be its client."""

    folder: Path
    https: int
    http: int
    processes: dict[str, subprocess.Popen] = field(default_factory=dict)

    def ask(
        self,
        host: str,
        path: str = "/",
        *,
        family: str = "ipv6",
        method: str = "GET",
        body: bytes | Iterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        client: str = "",
        sni: str = "",
        source: str = "",
    ) -> Answer:
        """Send one request on a connection of its own; the certificate is verified.

        Args:
            host: name of the request.
            path: with query.
            family: address family.
            method: method.
            body: body.
            headers: further headers.
            client: certificate of the client, by its name in the folder.
            sni: name in the handshake, when it is not the host.
            source: address that the client uses.
        """
        context = ssl.create_default_context(cafile=str(self.folder / "ca.crt"))
        if client:
            context.load_cert_chain(self.folder / f"{client}.crt", self.folder / f"{client}.key")
        connection = HTTPSConnection(LOOPBACK[family], self.https, context=context, timeout=30)
        raw = socket.create_connection(
            (LOOPBACK[family], self.https), timeout=30, source_address=(source, 0) if source else None
        )
        connection.sock = context.wrap_socket(raw, server_hostname=sni or host)
        try:
            with suppress(OSError):  # the answer may come before all was sent
                connection.request(method, path, body=body, headers={"host": host, **(headers or {})})
            answer = connection.getresponse()
            headers_ = {k.lower(): v for k, v in answer.getheaders()}
            return Answer(answer.status, headers_, answer.read(), answer.headers.get_all("set-cookie") or [])
        finally:
            connection.close()

    def log(self) -> list[Object]:
        """Return the lines of Envoy's access log so far."""
        lines = (self.folder / "envoy.log").read_text("utf-8", "replace").splitlines()
        found = []
        for line in lines:
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return [line for line in found if "client_port" in line]

    def logged(self, **fields: str) -> list[Object]:
        """Return the lines of the log with these fields; Envoy writes every ten seconds."""
        for _ in range(60):
            if found := [line for line in self.log() if fields.items() <= line.items()]:
                return found
            time.sleep(0.25)
        return []


def _objects(names: Mapping[str, Exposure], authority: str) -> list[Object]:
    objs = []
    for name, exposure in names.items():
        objs += public_name(
            name,
            PublicNameArgs(
                host=f"{name}.x.test",
                namespace=NAMESPACE,
                part_of="test",
                service="echo",
                port=80,
                issuer="site-ca",
                gateway="edge",
                gateway_namespace=NAMESPACE,
                simulated=True,
                exposure=exposure,
                certificates=Certificates(),
                authority=authority if exposure.clients else "",
                provider=Provider(host="id.x.test", realm="province", secret=SECRET)
                if exposure.sign_in
                else None,
            ),
        )
    return objs


def standalone(names: Mapping[str, Exposure], edge: Edge, ports: Mapping[str, int]) -> list[Object]:
    """Return the objects of the names in the form that Envoy Gateway takes from a file."""
    base = copy.deepcopy(
        gateway(
            GatewayArgs(
                namespace=NAMESPACE,
                address=DualAddress.model_validate({"ipv6": "::1", "ipv4": "127.0.0.1"}),
                image="envoy:v1.39.3",
                replicas=1,
                simulated=True,
            )
        )
    )
    proxy, _, _, door, _ = base
    proxy["spec"]["provider"] = {"type": "Host", "host": {"envoyVersion": "1.39.3"}}
    door["spec"].pop("allowedListeners")
    door["spec"]["listeners"][0]["port"] = edge.http
    result = [*base]
    for obj in copy.deepcopy(_objects(names, (edge.folder / "clients" / "ca.crt").read_text("utf-8"))):
        name = obj["metadata"]["name"]
        if obj["kind"] == "Certificate":
            result.append(_tls(edge.folder, obj["spec"]))
        elif obj["kind"] == "ListenerSet":
            (listener,) = obj["spec"]["listeners"]
            door["spec"]["listeners"].append(listener | {"name": name, "port": edge.https})
        else:
            if obj["kind"] == "ClientTrafficPolicy":
                ref = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "edge"}
                obj["spec"]["targetRefs"] = [ref | {"sectionName": name}]
            if obj["kind"] == "Secret":
                text = obj.pop("stringData")
                obj["data"] = {key: base64.b64encode(value.encode()).decode() for key, value in text.items()}
            if obj["kind"] == "HTTPRoute":
                obj["spec"]["parentRefs"] = [{"name": "edge", "sectionName": name}]
            result.append(_backends(obj))
    for name, port in ports.items():
        spec: Object = {"endpoints": [{"ip": {"address": "127.0.0.1", "port": port}}]}
        if name == "waf":
            spec["appProtocols"] = ["gateway.envoyproxy.io/h2c"]
        result.append(
            {
                "apiVersion": f"{GROUP}/v1alpha1",
                "kind": "Backend",
                "metadata": {"name": name, "namespace": NAMESPACE},
                "spec": spec,
            }
        )
    return result


def _backends(value: Object) -> Object:
    """Let everything that names a Service name a Backend."""

    def walk(node: object) -> object:
        if isinstance(node, dict):
            return {
                key: [{"group": GROUP, "kind": "Backend", "name": ref["name"]} for ref in item]
                if key == "backendRefs"
                else walk(item)
                for key, item in node.items()
            }
        return [walk(item) for item in node] if isinstance(node, list) else node

    changed = walk(value)
    assert isinstance(changed, dict)
    return changed


def _tls(folder: Path, spec: Object) -> Object:
    (host,) = spec["dnsNames"]
    ensure_certificate(folder, host, host, names=(host,))
    files = {"tls.crt": folder / f"{host}.crt", "tls.key": folder / f"{host}.key"}
    data = {item: base64.b64encode(file.read_bytes()).decode() for item, file in files.items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": spec["secretName"], "namespace": NAMESPACE},
        "type": "kubernetes.io/tls",
        "data": data,
    }


def _wait(what: str, port: int, process: subprocess.Popen | None = None, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process and process.poll() is not None:
            raise AssertionError(f"{what} has ended with {process.returncode}")
        try:
            socket.create_connection(("::1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"{what} does not listen on {port}")


@contextmanager
def running(folder: Path, names: Mapping[str, Exposure]) -> Iterator[Edge]:
    """Run the front door with these names; everything ends with the block."""
    edge = Edge(folder, free_port(), free_port())
    tools = ensure(["envoy", "envoy-gateway", "waf"])
    ensure_ca(folder, "x.test")
    ensure_certificate(folder, "stranger", "stranger", client=True)
    (folder / "clients").mkdir()
    ensure_ca(folder / "clients", "agencies")
    ensure_certificate(folder / "clients", "agency", "agency", names=("files.agency.test",), client=True)
    echo, identity, waf = Server6(("::", 0), Echo), Server6(("::", 0), Identity), free_port()
    for server in (echo, identity):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    (folder / "site.conf").write_text(
        rules({f"{name}.x.test": exposure for name, exposure in names.items()}), "utf-8"
    )
    ports = {"echo": echo.server_address[1], SERVICE: identity.server_address[1], "waf": waf}
    objects = standalone(names, edge, ports)
    (folder / "objects").mkdir()
    (folder / "objects" / "all.yaml").write_text(yaml.safe_dump_all(objects), "utf-8")
    envoy = folder / "data" / "envoy-versions" / "1.39.3" / "bin"
    envoy.mkdir(parents=True)
    (envoy / "envoy").symlink_to(tools["envoy"] / "bin" / "envoy")
    host = {f"{item}Home": str(folder / item) for item in ("config", "data", "state")}
    config = {
        "apiVersion": f"{GROUP}/v1alpha1",
        "kind": "EnvoyGateway",
        "gateway": {"controllerName": f"{GROUP}/gatewayclass-controller"},
        "provider": {
            "type": "Custom",
            "custom": {
                "resource": {"type": "File", "file": {"paths": [str(folder / "objects")]}},
                "infrastructure": {"type": "Host", "host": host | {"runtimeDir": str(folder / "run")}},
            },
        },
        "extensionApis": {"enableBackend": True},
        "logging": {"level": {"default": "info"}},
    }
    (folder / "gateway.yaml").write_text(yaml.safe_dump(config), "utf-8")

    def start(name: str, *command: str | Path) -> subprocess.Popen:
        log = (folder / f"{name}.log").open("wb")
        # A group of its own: Envoy is a child of Envoy Gateway.
        process = subprocess.Popen(
            [*map(str, command)], stdout=log, stderr=subprocess.STDOUT, env=os.environ, start_new_session=True
        )
        edge.processes[name] = process
        return process

    try:
        program = tools["waf"] / "bin" / "waf"
        start("waf", program, "-listen", f"[::]:{waf}", "-rules", folder / "site.conf")
        _wait("the firewall", waf, edge.processes["waf"])
        gateways = tools["envoy-gateway"] / "bin" / "envoy-gateway"
        subprocess.run(
            [gateways, "certgen", "--local", "--config-home", folder / "config"],
            check=True,
            capture_output=True,
        )
        start("envoy", gateways, "server", "--config-path", folder / "gateway.yaml")
        _wait("Envoy", edge.https, edge.processes["envoy"])
        yield edge
    finally:
        for process in edge.processes.values():
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, 9)
        echo.shutdown()
        identity.shutdown()
