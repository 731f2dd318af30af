"""A few REST calls to an API server, by a kubeconfig with embedded client certificates.

The full client library takes most of a second to import; these calls need requests only.
"""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
import yaml


class Api:
    """One API server.

    Args:
        kubeconfig: file with one cluster and one user, as `lab.sim.plan.kubeconfig` makes it.
    """

    def __init__(self, kubeconfig: Path) -> None:
        data = yaml.safe_load(kubeconfig.read_text())
        cluster, user = data["clusters"][0]["cluster"], data["users"][0]["user"]
        self.url = cluster["server"]
        # TLS libraries read certificates from files only; the folder is private and goes away with the object
        self._files = tempfile.TemporaryDirectory(prefix="tinh-sim-")
        self._session = requests.Session()
        self._session.trust_env = False  # a proxy of the environment must not see loopback traffic
        self._session.verify = self._file("ca", cluster["certificate-authority-data"])
        self._session.cert = (
            self._file("crt", user["client-certificate-data"]),
            self._file("key", user["client-key-data"]),
        )

    def _file(self, name: str, data: str) -> str:
        file = Path(self._files.name) / name
        file.write_bytes(base64.b64decode(data))
        return str(file)

    def ok(self, url: str) -> bool:
        """Tell whether a health endpoint answers 200; `url` is a path of the server or a full URL."""
        try:
            return self._session.get(self._full(url), timeout=2).ok
        except requests.RequestException:
            return False

    def call(self, method: str, path: str, body: object = None, content: str = "application/json") -> Any:  # noqa: ANN401 - JSON
        """Make one call and return the answer.

        Raises:
            requests.HTTPError: the server refused.
            requests.RequestException: the server cannot be reached.
        """
        headers = {"Content-Type": content}
        answer = self._session.request(method, self._full(path), json=body, headers=headers, timeout=10)
        answer.raise_for_status()
        return answer.json()

    def watch(self, path: str, version: str, seconds: int) -> Iterator[bytes]:
        """Yield the events of a collection after a resource version, until `seconds` have passed."""
        query = {"watch": "true", "resourceVersion": version, "timeoutSeconds": str(seconds)}
        with self._session.get(
            self._full(path), params=query, stream=True, timeout=(5, seconds + 5)
        ) as answer:
            answer.raise_for_status()
            yield from answer.iter_lines()

    def _full(self, url: str) -> str:
        return url if url.startswith("https://") else self.url + url
