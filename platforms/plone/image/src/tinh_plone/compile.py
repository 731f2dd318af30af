"""What is done once when the image is made: `python -m tinh_plone.compile`. Nothing can be written where it runs."""

from __future__ import annotations

import compileall
import sys
from pathlib import Path
from py_compile import PycInvalidationMode

from zope.i18n.compile import compile_mo_file


def main() -> None:
    """Compile our own translations, and every module (by its content: an image's layers have times of their own)."""
    here = Path(__file__).parent
    for folder in here.glob("locales/*/LC_MESSAGES"):
        compile_mo_file("tinh_plone", str(folder))
    # Some packages ship files for other versions of Python: what cannot be compiled is not imported either.
    compileall.compile_dir(
        str(here.parent), quiet=2, workers=0, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH
    )


if __name__ == "__main__":
    sys.exit(main())
