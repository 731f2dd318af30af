"""Pushes to a small HTTPS server that speaks the upload protocol and can misbehave."""

import base64
import datetime
import hashlib
import http.server
import io
import ipaddress
import json
import re
import socket
import ssl
import threading
import uuid
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from infra.errors import IntegrityError, ToolError
from lab.toolchain import oci
from lab.toolchain.model import ImageBuild, Tool
from lab.toolchain.push import push, push_all, upstream


class Registry(http.server.ThreadingHTTPServer):
    """What it stores, and how it misbehaves."""

    daemon_threads = True

    def __init__(self, context):
        super().__init__(("127.0.0.1", 0), Handler)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.blobs, self.manifests, self.requests = {}, {}, []
        self.password = self.break_off = self.lie = None
        self.guard = threading.Lock()

    @property
    def address(self):
        return f"127.0.0.1:{self.server_address[1]}"

    def count(self, method, pattern):
        return sum(1 for m, path in self.requests if m == method and re.search(pattern, path))

    def handle_error(self, request, client_address):
        """Broken connections are on purpose here."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_args):
        """Stay quiet."""

    def answer(self, status, headers=None, body=b""):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def allowed(self):
        url = urlsplit(self.path)
        with self.server.guard:
            self.server.requests.append((self.command, self.path))
        self.at, self.query = url.path, parse_qs(url.query)
        wanted = self.server.password
        if wanted and self.headers.get("Authorization") != f"Basic {base64.b64encode(wanted).decode()}":
            self.answer(401, body=b'{"errors":[{"code":"UNAUTHORIZED"}]}')
            return False
        return True

    def do_HEAD(self):
        if self.allowed():
            repository, digest = re.fullmatch(r"/v2/(.+)/blobs/(.+)", self.at).groups()
            self.answer(200 if (repository, digest) in self.server.blobs else 404)

    def do_POST(self):
        if not self.allowed():
            return
        repository = re.fullmatch(r"/v2/(.+)/blobs/uploads/", self.at)[1]
        if "mount" in self.query:
            digest, home = self.query["mount"][0], self.query["from"][0]
            if (home, digest) in self.server.blobs:
                self.server.blobs[repository, digest] = self.server.blobs[home, digest]
                self.answer(201)
                return
        # a relative location with a query of its own, as registries may send
        self.answer(202, {"Location": f"/v2/{repository}/blobs/uploads/{uuid.uuid4()}?_state=secret"})

    def do_PUT(self):
        if not self.allowed():
            return
        if self.server.break_off and "/uploads/" in self.at:
            self.rfile.read(10)
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        data = self.rfile.read(int(self.headers["Content-Length"]))
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if upload := re.fullmatch(r"/v2/(.+)/blobs/uploads/.+", self.at):
            assert self.query["_state"] == ["secret"]
            if self.query["digest"] != [digest]:
                self.answer(400, body=b'{"errors":[{"code":"DIGEST_INVALID"}]}')
                return
            self.server.blobs[upload[1], digest] = data
        else:
            repository, name = re.fullmatch(r"/v2/(.+)/manifests/(.+)", self.at).groups()
            content = json.loads(data)
            for part in (content["config"], *content["layers"]) if "config" in content else ():
                assert (repository, part["digest"]) in self.server.blobs
            self.server.manifests[repository, name] = (self.headers["Content-Type"], data)
        self.answer(201, {"Docker-Content-Digest": self.server.lie or digest})


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pki")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "registry")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "ca.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return folder


@pytest.fixture
def ca(certificate):
    return certificate / "ca.crt"


@pytest.fixture
def registry(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "ca.crt", certificate / "key")
    server = Registry(context)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def make(tmp_path):
    def layout(name, **files):
        out = tmp_path / name
        out.mkdir()
        spec = ImageBuild(
            kind="image",
            ref=f"up.example/{name}:1",
            files={f"/{path}": f"text:{text}" for path, text in files.items()},
        )
        tool = Tool(name=name, version="1", kind="image", why="test", stage="lab", build=spec)
        oci.build(tool, {}, out, io.StringIO())
        return out

    return layout


def layers(layout):
    return [path for path in (layout / "blobs" / "sha256").iterdir() if path.read_bytes()[:2] == b"\x1f\x8b"]


def test_a_pushed_image_is_complete_and_the_second_push_sends_nothing(registry, ca, make):
    layout = make("one", a="hello")
    pushed = push(layout, registry.address, "up.example/one", "1", ca=ca)
    media, data = registry.manifests["up.example/one", "1"]
    assert media == oci.MANIFEST
    assert f"sha256:{hashlib.sha256(data).hexdigest()}" == pushed.digest
    assert pushed.uploaded == sum(len(blob) for blob in registry.blobs.values()) > 0
    again = push(layout, registry.address, "up.example/one", "1", ca=ca)
    assert again.uploaded == 0
    assert registry.count("POST", "uploads") == 2


def test_images_are_stored_under_their_upstream_names_and_share_blobs(registry, ca, make):
    layouts = {f"up.example/n{i}:v{i}": make(f"n{i}", shared="same") for i in range(6)}
    seen = []
    result = push_all(
        layouts,
        registry.address,
        ca=ca,
        progress=lambda pushed, done, total: seen.append((pushed.ref, done, total)),
    )
    assert [pushed.ref for pushed in result] == list(layouts)
    assert set(registry.manifests) == {(f"up.example/n{i}", f"v{i}") for i in range(6)}
    # one layer and one config are the same in all images: sent once, mounted into the others
    assert registry.count("PUT", "uploads") == 2
    assert sorted(done for _, done, _ in seen) == [1, 2, 3, 4, 5, 6]
    assert {total for _, _, total in seen} == {6}


def test_an_index_of_platforms_is_pushed_with_its_images(registry, ca, make):
    layout = make("multi", a="x")
    top = json.loads((layout / "index.json").read_text())
    data = json.dumps({"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": top["manifests"]}).encode()
    digest = hashlib.sha256(data).hexdigest()
    (layout / "blobs" / "sha256" / digest).write_bytes(data)
    below = top["manifests"][0]["digest"]
    top["manifests"] = [{"mediaType": oci.INDEX, "digest": f"sha256:{digest}", "size": len(data)}]
    (layout / "index.json").write_text(json.dumps(top))
    push(layout, registry.address, "up.example/multi", "1", ca=ca)
    assert set(registry.manifests) == {("up.example/multi", below), ("up.example/multi", "1")}


def test_a_damaged_blob_is_not_the_registrys_fault(registry, ca, make):
    layout = make("bad", a="hello")
    layer = layers(layout)[0]
    layer.write_bytes(layer.read_bytes()[:-1] + b"!")
    with pytest.raises(IntegrityError, match="damaged"):
        push(layout, registry.address, "up.example/bad", "1", ca=ca)
    assert not registry.manifests


def test_a_missing_blob_is_named(registry, ca, make):
    layout = make("gap", a="hello")
    (layer,) = layers(layout)
    layer.unlink()
    with pytest.raises(IntegrityError, match=layer.name):
        push(layout, registry.address, "up.example/gap", "1", ca=ca)


def test_a_damaged_manifest_is_found_before_anything_is_sent(registry, ca, make):
    layout = make("man", a="hello")
    digest = json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]
    (layout / "blobs" / digest.replace(":", "/")).write_text("{}")
    with pytest.raises(IntegrityError, match="damaged"):
        push(layout, registry.address, "up.example/man", "1", ca=ca)
    assert not registry.requests


def test_a_registry_that_stores_something_else_is_not_trusted(registry, ca, make):
    registry.lie = f"sha256:{'0' * 64}"
    with pytest.raises(IntegrityError, match="stored sha256:000"):
        push(make("lie", a="x"), registry.address, "up.example/lie", "1", ca=ca)


def test_a_dying_upload_sets_no_tag_and_can_be_repeated(registry, ca, make):
    layout = make("dying", a="x" * 100_000)
    registry.break_off = True
    with pytest.raises(ToolError, match="broke off") as caught:
        push(layout, registry.address, "up.example/dying", "1", ca=ca)
    assert "secret" not in str(caught.value)
    assert not registry.manifests
    registry.break_off = False
    push(layout, registry.address, "up.example/dying", "1", ca=ca)
    assert ("up.example/dying", "1") in registry.manifests


def test_credentials_are_sent_and_a_refusal_is_told(registry, ca, make):
    registry.password = b"tinh:s3cret"
    layout = make("auth", a="x")
    with pytest.raises(ToolError, match="answered 401") as caught:
        push(layout, registry.address, "up.example/auth", "1", ca=ca, auth=("tinh", "wr0ng"))
    assert "wr0ng" not in str(caught.value)
    push(layout, registry.address, "up.example/auth", "1", ca=ca, auth=("tinh", "s3cret"))
    assert registry.manifests


def test_an_unknown_authority_is_refused_even_when_the_environment_trusts_it(
    registry, ca, make, tmp_path, monkeypatch
):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "other")])
    now = datetime.datetime.now(datetime.UTC)
    other = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "other.crt").write_bytes(other.public_bytes(serialization.Encoding.PEM))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(ca))
    with pytest.raises(ToolError, match="not trusted"):
        push(make("tls", a="x"), registry.address, "up.example/tls", "1", ca=tmp_path / "other.crt")


def test_a_silent_port_is_told(ca, make):
    with pytest.raises(ToolError, match="does not answer"):
        push(make("off", a="x"), "127.0.0.1:1", "up.example/off", "1", ca=ca)


def test_one_failure_is_reported_and_other_images_stay_whole(registry, ca, make):
    layouts = {f"up.example/m{i}:1": make(f"m{i}", a=str(i)) for i in range(3)}
    (layer,) = layers(layouts["up.example/m1:1"])
    layer.write_bytes(b"\x1f\x8b damaged")
    with pytest.raises(IntegrityError):
        push_all(layouts, registry.address, ca=ca)
    assert ("up.example/m1", "1") not in registry.manifests


@pytest.mark.parametrize(
    ("ref", "split"),
    [
        ("registry.k8s.io/pause:3.10.2", ("registry.k8s.io/pause", "3.10.2")),
        ("localhost:5000/a/b:c", ("localhost:5000/a/b", "c")),
    ],
)
def test_full_names_are_split(ref, split):
    assert upstream(ref) == split


@pytest.mark.parametrize(
    "ref", ["busybox", "busybox:1", "rancher/local-path:1", "quay.io/x", "localhost:5000/x", "quay.io/:1"]
)
def test_short_names_are_refused(ref):
    with pytest.raises(ToolError, match="not a full image name"):
        upstream(ref)
