"""What the front door needs of the identity server, for tests without one."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from http.server import BaseHTTPRequestHandler
from typing import ClassVar
from urllib.parse import parse_qs

from infra.components.edge.sign_in import client_id
from infra.components.manifest import Object

#: The client of the name `guarded` at the identity server, and the path at which the proxy asks it.
SECRET = "between gateway and identity"
CREDENTIALS = base64.b64encode(f"{client_id('guarded')}:{SECRET}".encode()).decode()
TOKENS = "/realms/province/protocol/openid-connect/token"


class Identity(BaseHTTPRequestHandler):
    """A token endpoint: gives a token once for a code, to the client that proves to be the one that asked for it."""

    #: Code -> challenge of the browser's request (RFC 7636); what people do at the real one's login form.
    codes: ClassVar[dict[str, str]] = {}

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        asked = {name: value for name, (value, *_) in parse_qs(body.decode()).items()}
        digest = hashlib.sha256(asked.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        known = self.path == TOKENS and self.headers.get("authorization") == f"Basic {CREDENTIALS}"
        good = known and challenge == self.codes.pop(asked.get("code", ""), None)
        token = ".".join(
            base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
            for part in (
                {"alg": "RS256", "typ": "JWT"},
                {"sub": "lan", "exp": int(time.time()) + 300},
                "signature",
            )
        )
        told: Object = {"access_token": token, "id_token": token, "token_type": "Bearer", "expires_in": 300}
        answer = json.dumps(told if good else {"error": "invalid_grant"}).encode()
        self.send_response(200 if good else 400)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass
