"""Starts the server: `python -m tinh_plone.serve`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from Zope2.Startup.serve import main

if __name__ == "__main__":
    # Zope writes its compiled templates there and does not make the folder itself.
    (Path(os.environ["PLONE_DATA"]) / "templates").mkdir(exist_ok=True)
    sys.exit(main(["runwsgi", str(Path(os.environ["PLONE_HOME"]) / "etc" / "zope.ini")]))
