"""A real browser for tests: Chromium without a screen, spoken to by its DevTools protocol.

What the page says on the console and what it asks the network for is kept, for tests to look at.
"""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import websocket

NAMES = ("chromium-headless-shell", "chromium", "google-chrome")
PATIENCE = 60  # seconds
MISSING = f"no browser: none of {', '.join(NAMES)} is on PATH; install Debian's package {NAMES[0]}"


def browser() -> str | None:
    """Return the browser's program; None: there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """One page.

    Args:
        socket: connection to the browser.
    """

    def __init__(self, socket: websocket.WebSocket) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._socket, self._numbers, self._session, self._loaded = socket, itertools.count(1), "", False
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method and return its result."""
        number = next(self._numbers)
        session = {"sessionId": self._session} if self._session else {}
        self._socket.send(json.dumps({"id": number, "method": method, "params": params} | session))
        while True:
            message = self._next()
            if message.get("id") == number:
                assert "error" not in message, message["error"]
                return message["result"]

    def open(self, url: str, width: int, height: int) -> None:
        """Load a page in a window of a size in pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self._loaded = False
        self.call("Page.navigate", url=url)
        while not self._loaded:
            self._next()

    def run(self, script: str) -> Any:
        """Return the value of an expression in the page."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def picture(self, file: Path) -> None:
        """Write a PNG of what is to be seen."""
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def _next(self) -> dict[str, Any]:
        message = json.loads(self._socket.recv())
        params = message.get("params", {})
        match message.get("method"):
            case "Page.loadEventFired":
                self._loaded = True
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Log.entryAdded":
                self.complaints.append(params["entry"]["text"])
            case "Runtime.exceptionThrown" | "Runtime.consoleAPICalled":
                self.complaints.append(json.dumps(params))
        return message


@contextmanager
def page() -> Iterator[Page]:
    """Start a browser and give a page in it."""
    program = browser()
    assert program, MISSING
    with tempfile.TemporaryDirectory(prefix="tinh-browser-", ignore_cleanup_errors=True) as home:
        process = subprocess.Popen(
            [program, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0",
             "--disable-background-networking", f"--user-data-dir={home}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            port, path = _address(Path(home) / "DevToolsActivePort", process)
            socket = websocket.create_connection(
                f"ws://127.0.0.1:{port}{path}", timeout=PATIENCE, suppress_origin=True
            )
            yield Page(socket)
            socket.close()
        finally:
            process.terminate()
            process.wait()


def _address(file: Path, process: subprocess.Popen[bytes]) -> list[str]:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        lines = file.read_text().split() if file.exists() else []
        if len(lines) == 2:
            return lines
        assert process.poll() is None, f"the browser ended with {process.returncode}"
        time.sleep(0.05)
    raise AssertionError("the browser did not start")
