"""CDDFuse (CVPR 2023) in JAX and Flax: fusion of visible and infrared, or of two medical images.

from cddfuse_jax import Fuser

fused = Fuser()(visible, infrared)  # or Fuser("CDDFuse_IVF.pth")
"""

import importlib
import sys

from cddfuse_jax.runtime import huge_pages

__version__ = "0.1.0"
__all__ = ["Fuser", "InputError"]

# Imported when first used, so that commands that need no JAX start without it.
_HOMES = {"Fuser": "cddfuse_jax.fusing.fuser", "InputError": "cddfuse_jax.errors"}

if sys.argv[:1] == ["-m"]:  # what Python calls itself while it looks for the command's module
    huge_pages.restart()


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
