"""CDDFuse (CVPR 2023) in JAX and Flax: fusion of visible and infrared, or of two medical images.

from cddfuse_jax import Fuser

fused = Fuser()(visible, infrared)  # or Fuser("CDDFuse_IVF.pth")
"""

import importlib
from typing import TYPE_CHECKING, Any

from cddfuse_jax._version import __version__ as __version__

if TYPE_CHECKING:
    from cddfuse_jax import metrics as metrics
    from cddfuse_jax.errors import InputError as InputError
    from cddfuse_jax.fusing.fuser import Fuser as Fuser
    from cddfuse_jax.models.cddfuse import CDDFuse as CDDFuse
    from cddfuse_jax.weights.any_format import load_params as load_params
    from cddfuse_jax.weights.any_format import save_params as save_params

__all__ = ["CDDFuse", "Fuser", "InputError", "load_params", "metrics", "save_params"]

# Imported when first used: what needs no JAX starts without it.
_HOMES = {
    "CDDFuse": "cddfuse_jax.models.cddfuse",
    "Fuser": "cddfuse_jax.fusing.fuser",
    "InputError": "cddfuse_jax.errors",
    "load_params": "cddfuse_jax.weights.any_format",
    "save_params": "cddfuse_jax.weights.any_format",
}


def __getattr__(name: str) -> Any:
    if name == "metrics":
        return importlib.import_module("cddfuse_jax.metrics")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
