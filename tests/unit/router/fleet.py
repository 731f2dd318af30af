"""Routers without a network: in memory for the provider's tests, in a folder for those with a real Pulumi."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from infra.errors import ToolError
from infra.providers.router.files import FILES
from infra.providers.router.transport import Observed, UnreachableError

DAY0_FILTER = "flush ruleset\n"


@dataclass
class Router:
    """One router. A text with `bad` in it is not valid, one with `cut` cuts management off."""

    files: dict[str, str] = field(
        default_factory=lambda: {"frr.conf": "! day 0\n", "nftables.conf": DAY0_FILTER}
    )
    running: dict[str, str] = field(default_factory=dict)
    day0: dict[str, str | None] = field(default_factory=dict)
    reachable: bool = True
    loads: int = 0


class Fleet:
    """All routers; `calls` is what was asked of them."""

    def __init__(self, **routers: Router) -> None:
        self.routers, self.calls = routers, []

    def _router(self, host: str) -> Router:
        router = self.routers.get(host)
        if router is None or not router.reachable:
            raise UnreachableError(
                f"router {host} does not answer", where=f"router {host}", fix="bring it back"
            )
        return router

    def read(self, host, names):
        self.calls.append(("read", host))
        router = self._router(host)
        running = {name: router.running.get(name, "") for name in names if FILES[name].show}
        return Observed({name: router.files.get(name) for name in names}, running)

    def apply(self, host, texts, *, force, seconds):
        self.calls.append(("apply", host))
        router = self._router(host)
        wanted = {name: router.day0.get(name) if text is None else text for name, text in texts.items()}
        changed = {name for name, text in wanted.items() if router.files.get(name) != text or name in force}
        if any("bad" in (wanted[name] or "") for name in changed):
            raise ToolError(f"router {host}: a text is not valid, nothing was changed")
        if any("cut" in (wanted[name] or "") for name in changed):
            raise ToolError(
                f"router {host} was not reached anew, the change undoes itself within {seconds} s"
            )
        for name in changed:
            router.day0.setdefault(name, router.files.get(name))
            router.files[name] = wanted[name]
            router.running[name] = f"running {wanted[name]}"
            router.loads += 1
            if wanted[name] is None:
                del router.files[name]
        for name, text in texts.items():
            if text is None:
                router.day0.pop(name, None)
        return self.read(host, texts)


class FolderFleet(Fleet):
    """The same, kept in one JSON file per router, so that the plugin's process and the test share them."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def load(self, host: str) -> Router:
        return Router(**json.loads((self.folder / f"{host}.json").read_text()))

    def save(self, host: str, router: Router) -> None:
        (self.folder / f"{host}.json").write_text(json.dumps(vars(router)))

    def _router(self, host: str) -> Router:
        self.routers[host] = self.routers.get(host) or self.load(host)
        return super()._router(host)

    def read(self, host, names):
        if not (self.calls and self.calls[-1] == ("apply", host)):
            self.routers.pop(host, None)
        return super().read(host, names)

    def apply(self, host, texts, *, force, seconds):
        self.routers.pop(host, None)
        seen = super().apply(host, texts, force=force, seconds=seconds)
        self.save(host, self.routers[host])
        return seen
