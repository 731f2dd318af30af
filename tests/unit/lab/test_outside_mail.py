"""The simulator of the Government's mail system, with a real mail client."""

from __future__ import annotations

import smtplib
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.outside import mail
from lab.pki import ensure_ca, ensure_certificate

NAME = "mx.test"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """Return the port of a running simulator, and the folder with its mail and its authority."""
    ensure_ca(tmp_path, "test")
    ensure_certificate(tmp_path, "mx", NAME, names=(NAME,))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        mail.__file__,
        port,
        tmp_path / "mx.crt",
        tmp_path / "mx.key",
        tmp_path / "mail",
    ]
    process = subprocess.Popen([str(part) for part in command])
    try:
        _wait(port)
        yield port, tmp_path
    finally:
        process.kill()
        process.wait()


def _wait(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("::1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the simulator does not listen")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_encrypted_mail_is_kept_with_its_envelope(server: tuple[int, Path], address: str) -> None:
    port, folder = server
    with smtplib.SMTP(address, port, timeout=20) as client:
        context = ssl.create_default_context(cafile=folder / "ca.crt")
        client._host = NAME  # what the certificate is compared with
        client.starttls(context=context)
        client.sendmail("a@lab.test", ["b@gov.test"], "Subject: x\r\n\r\n.dot at the start\r\nend\r\n")
    (kept,) = (folder / "mail").glob("*.eml")
    text = kept.read_text()
    assert "X-Envelope-From: a@lab.test" in text
    assert "X-Envelope-To: b@gov.test" in text
    assert "\n.dot at the start" in text


def test_clear_text_is_refused(server: tuple[int, Path]) -> None:
    port, folder = server
    with (
        smtplib.SMTP("::1", port, timeout=20) as client,
        pytest.raises(smtplib.SMTPResponseException) as caught,
    ):
        client.sendmail("a@lab.test", ["b@gov.test"], "x")
    assert caught.value.smtp_code == 530
    assert not list((folder / "mail").glob("*.eml"))
