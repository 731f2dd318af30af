"""Fixtures of all tests: a recording Pulumi engine, a throw-away state folder, golden files."""

from __future__ import annotations

import asyncio
import difflib
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Never

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key
from google.protobuf import json_format
from hypothesis import settings
from pulumi.runtime import reset_options
from pulumi.runtime.mocks import MockCallArgs, MockMonitor, MockResourceArgs, Mocks, set_mocks
from pulumi.runtime.settings import get_root_resource
from pulumi.runtime.stack import Stack, wait_for_rpcs

from infra import paths
from infra.components.manifest import Object
from infra.model.site import Site, load_site

pytest_plugins = ["tests.budget"]
# How long an example takes depends on how busy the machine is.
settings.register_profile("tinh", deadline=None)
settings.load_profile("tinh")

SECRET = "[secret]"
#: Marks a special value on the wire (sdk/python/lib/pulumi/runtime/rpc.py, _special_sig_key).
_SIGNATURE = "4dabf18193072939515e22adb298388d"


@pytest.fixture(autouse=True)
def _ctrl_c() -> Iterator[None]:
    """A command line that has ended does not listen to Ctrl-C any more; the tests do."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@dataclass(frozen=True)
class Recorded:
    """One registered resource, as the engine was asked for it."""

    type: str
    name: str
    inputs: dict[str, Any]
    parent: str
    protect: bool
    depends_on: tuple[str, ...]
    provider: str
    timeout: str

    @property
    def kind(self) -> str:
        return self.type.rsplit(":", 1)[-1]


class Recorder(MockMonitor):
    """A monitor that keeps what mocks do not see: protection, dependencies, timeouts, what is secret."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.engine = engine

    def RegisterResource(self, request: Any) -> Any:
        if request.type != "pulumi:pulumi:Stack":
            self.engine.resources.append(
                Recorded(
                    type=request.type,
                    name=request.name,
                    inputs=secrets_masked(request.object),
                    parent=request.parent,
                    protect=request.protect,
                    depends_on=tuple(request.dependencies),
                    provider=request.provider,
                    timeout=request.customTimeouts.create,
                )
            )
        return super().RegisterResource(request)


def secrets_masked(struct: Any) -> dict[str, Any]:
    """Return a wire struct as Python values with every secret replaced."""

    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            if _SIGNATURE in value:
                return SECRET
            return {key: walk(item) for key, item in value.items()}
        if isinstance(value, list):
            return [walk(item) for item in value]
        return int(value) if isinstance(value, float) and value.is_integer() else value

    return walk(json_format.MessageToDict(struct))


@dataclass
class Engine(Mocks):
    """What a program registered. Absence may be asserted: all is drained when `deploy` returns."""

    outputs_of: dict[str, dict[str, Any]] = field(default_factory=dict)
    resources: list[Recorded] = field(default_factory=list)
    exports: dict[str, Any] = field(default_factory=dict)

    def new_resource(self, args: MockResourceArgs) -> tuple[str, dict[str, Any]]:
        state = dict(args.inputs)
        if args.typ == "pulumi:pulumi:StackReference":
            state["outputs"] = self.outputs_of.get(args.inputs["name"], {})
        return f"{args.name}-id", state

    def call(self, args: MockCallArgs) -> Never:
        raise AssertionError(f"a program must not call functions of providers: {args.token}")

    def objects(self, kind: str | None = None) -> list[Recorded]:
        """Return the Kubernetes objects, of one kind or all."""
        return [
            item
            for item in self.resources
            if item.type.startswith("kubernetes:") and (kind is None or item.kind == kind)
        ]

    def one(self, kind: str, name: str, namespace: str | None = None) -> Recorded:
        """Return the object of a kind and name; fails unless there is exactly one."""
        found = [
            item
            for item in self.objects(kind)
            if item.inputs["metadata"]["name"] == name
            and (namespace is None or item.inputs["metadata"].get("namespace") == namespace)
        ]
        assert len(found) == 1, f"{kind}/{name}: {len(found)} found"
        return found[0]


Deploy = Callable[..., Engine]


@pytest.fixture
def deploy() -> Iterator[Deploy]:
    """Run a Pulumi program against a recording engine: a loop of its own, and nothing left behind."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)

    def run(
        program: Callable[[], object],
        *,
        stack: str = "base.lab",
        outputs_of: dict[str, dict[str, Any]] | None = None,
    ) -> Engine:
        engine = Engine(outputs_of or {})

        async def main() -> None:
            set_mocks(engine, project="tinh", stack=stack, preview=False, monitor=Recorder(engine))
            program()
            await wait_for_rpcs()
            root = get_root_resource()
            assert isinstance(root, Stack)
            engine.exports.update(root.outputs)

        loop.run_until_complete(main())
        return engine

    yield run
    pending = asyncio.all_tasks(loop)
    for task in pending:
        task.cancel()
    if pending:
        loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
    loop.close()
    asyncio.set_event_loop(None)
    reset_options()


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the state of all sites into a throw-away folder."""
    monkeypatch.setenv("TINH_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("TINH_INSTANCE", "test")
    return tmp_path / "state" / "test"


def known_key(site: str) -> None:
    """Give a site the key that golden files know; its number is no secret."""
    file = paths.state(site).root / "dnssec" / "1.pem"
    file.parent.mkdir(exist_ok=True)
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    file.write_bytes(derive_private_key(7, SECP256R1()).private_bytes(*form))


@pytest.fixture
def lab(state: Path) -> Site:
    """The lab as its site file describes it, not as a running lab has moved it."""
    return load_site("lab")


@pytest.fixture
def sim(state: Path) -> Site:
    """The sim."""
    return load_site("sim")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that accepts what stacks now declare."""
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite golden files; review the difference"
    )


@pytest.fixture
def golden_text(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    """Compare a text with a golden file; the difference is in the failure."""

    def check(file: Path, text: str) -> None:
        if request.config.getoption("--update-golden"):
            file.parent.mkdir(exist_ok=True, parents=True)
            file.write_text(text, "utf-8")
        expected = file.read_text("utf-8") if file.exists() else ""
        if text != expected:
            lines = difflib.unified_diff(
                expected.splitlines(), text.splitlines(), "golden", "now", lineterm=""
            )
            pytest.fail(f"{file.name} differs; accept with --update-golden\n" + "\n".join(lines))

    return check


@pytest.fixture
def golden(golden_text: Callable[[Path, str], None]) -> Callable[[Path, object], None]:
    """Compare a value with a golden YAML file."""

    def check(file: Path, value: object) -> None:
        golden_text(file, yaml.safe_dump(value, sort_keys=True, allow_unicode=True, width=110))

    return check


def set_at(path: Sequence[str | int], value: object) -> Callable[[Any], None]:
    """Return a change of nested data: what lies at a path becomes a value."""

    def change(data: Any) -> None:
        *parents, last = path
        for key in parents:
            data = data[key]
        data[last] = value

    return change


def tiny(kind: str, name: str, **more: Any) -> Object:
    """Return a minimal Kubernetes object for tests of bundles."""
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **more}
