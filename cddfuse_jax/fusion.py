"""The compute core: one pair of grey images through the network."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from cddfuse_jax.models.cddfuse import CDDFuse, Residual

Fuse = Callable[[np.ndarray, np.ndarray], np.ndarray]


def make_fuse(params, residual: Residual = "visible") -> Fuse:
    """Return the function that fuses the luma of one pair.

    It takes visible and infrared, float32 HxW in [0, 1] of one size from 2x2 up, and returns what
    the network computes: float32 HxW in (0, 1), not stretched. Each image size compiles
    once, whatever the weights.
    """
    apply = _compiled(CDDFuse.from_params(params), residual)
    variables = jax.device_put({"params": params})

    def fuse(visible: np.ndarray, infrared: np.ndarray) -> np.ndarray:
        images = (jnp.asarray(image[None, :, :, None]) for image in (visible, infrared))
        return np.asarray(apply(variables, *images))[0, :, :, 0]

    return fuse


@functools.cache
def _compiled(model: CDDFuse, residual: Residual):
    return jax.jit(functools.partial(model.apply, method="fuse", residual=residual))
