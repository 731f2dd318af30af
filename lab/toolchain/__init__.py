"""Every tool and image of `tinh`, from the official release or built from package registries.

The catalogue is `*.yaml` in this folder; `docs/toolchain.md` tells how to use and extend it.
"""

from lab.toolchain.engine import artifact, bin_dir, ensure, images

__all__ = ["artifact", "bin_dir", "ensure", "images"]
