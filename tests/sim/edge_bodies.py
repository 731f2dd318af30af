"""Bodies of requests, as browsers send them."""

from __future__ import annotations

from urllib.parse import quote


def form(**fields: str) -> tuple[bytes, dict[str, str]]:
    text = "&".join(f"{name}={quote(value, safe='')}" for name, value in fields.items())
    return text.encode(), {"content-type": "application/x-www-form-urlencoded"}


def upload(name: str, content: bytes) -> tuple[bytes, dict[str, str]]:
    edge = "----3f1c"
    head = f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
    body = head.encode() + b"Content-Type: application/pdf\r\n\r\n" + content + f"\r\n--{edge}--\r\n".encode()
    return body, {"content-type": f"multipart/form-data; boundary={edge}"}


def filled(**fields: str) -> tuple[bytes, dict[str, str]]:
    """A form as browsers send it when there is a field for a file in it."""
    parts = [
        f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    return ("".join(parts) + "--x--\r\n").encode(), {"content-type": "multipart/form-data; boundary=x"}
