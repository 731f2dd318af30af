"""The real parsers of rendered files. What is not installed is skipped by the tests that ask."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from infra.providers.router.files import FILES

#: File -> command that parses it, as on a router; {} is the file. nft asks the kernel: in a namespace of its own.
CHECKS = {name: file.check for name, file in FILES.items() if file.check}
CHECKS["nftables.conf"] = ("unshare", "-n", *CHECKS["nftables.conf"])
ZONE_CHECKS = (("named-checkzone", "{zone}", "{}"), ("kzonecheck", "-o", "{zone}", "{}"))


def available(name: str) -> bool:
    """Return whether the parser of a file is here and may be used."""
    words = CHECKS[name]
    if not all(shutil.which(word) for word in words if word in {words[0], "nft"}):
        return False
    probe = ["unshare", "-n", "nft", "list", "ruleset"]
    return words[0] != "unshare" or subprocess.run(probe, capture_output=True, check=False).returncode == 0


def problems(name: str, text: str) -> str:
    """Return what a file's parser says against a text; empty when it takes it."""
    return _run(CHECKS[name], name, text)


def zone_problems(zone: str, text: str) -> str | None:
    """Return what the first installed zone checker says; None when there is none."""
    for words in ZONE_CHECKS:
        if shutil.which(words[0]):
            return _run(tuple(word.replace("{zone}", zone) for word in words), "zone", text)
    return None


def knot_problems(text: str) -> str | None:
    """Return what Knot says against its configuration; None when it is not here."""
    return _run(("knotc", "-c", "{}", "conf-check"), "knot.conf", text) if shutil.which("knotc") else None


def _run(words: tuple[str, ...], name: str, text: str) -> str:
    with tempfile.TemporaryDirectory(prefix="tinh-parse-") as folder:
        file = Path(folder) / name
        file.write_text(text, "utf-8")
        command = [word.replace("{}", str(file)) for word in words]
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return (result.stderr or result.stdout or "refused") if result.returncode else ""
