"""Starts the server: `python -m tinh_plone.serve`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from Zope2.Startup.serve import main


def trust() -> None:
    """Verify the identity platform by the site's own authority, where it has one (read by `requests`)."""
    authority = Path(os.environ["PLONE_AUTHORITY"])
    if authority.is_file() and authority.stat().st_size:
        os.environ["REQUESTS_CA_BUNDLE"] = str(authority)


if __name__ == "__main__":
    trust()
    sys.exit(main(["runwsgi", str(Path(os.environ["PLONE_HOME"]) / "etc" / "zope.ini")]))
