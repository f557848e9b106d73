"""The compute core: one pair of grey images through the network."""

import functools
from collections.abc import Callable

import jax
import numpy as np

from cddfuse_jax.memory import strip_rows
from cddfuse_jax.models.cddfuse import CDDFuse, Residual
from cddfuse_jax.streaming import fuse_in_strips

Fuse = Callable[[np.ndarray, np.ndarray], np.ndarray]


def make_fuse(
    params,
    residual: Residual = "visible",
    max_memory: int | None = None,
    device: jax.Device | None = None,
    sharing: int = 1,
) -> Fuse:
    """Return the function that fuses the luma of one pair.

    It takes visible and infrared, float32 HxW in [0, 1] of one size from 2x2 up, and returns what
    the network computes: float32 HxW in (0, 1), not stretched. Each image size compiles
    once, whatever the weights.

    An image too large for ``max_memory`` bytes, or for the share of free memory that
    `memory.strip_rows` grants without it, is fused in strips of rows, with the same result.

    All is computed on ``device``, by default JAX's; ``sharing`` such functions run at a time in one
    memory.
    """
    model = CDDFuse.from_params(params)
    apply = _compiled(model, residual)
    variables = jax.device_put({"params": params}, device)

    def fuse(visible: np.ndarray, infrared: np.ndarray) -> np.ndarray:
        itemsize = visible.dtype.itemsize
        rows = strip_rows(*visible.shape, model.features, itemsize, max_memory, sharing)
        if rows:
            return fuse_in_strips(variables["params"], visible, infrared, residual, rows)
        images = jax.device_put([x[None, :, :, None] for x in (visible, infrared)], device)
        return np.asarray(apply(variables, *images))[0, :, :, 0]

    return fuse


@functools.cache
def _compiled(model: CDDFuse, residual: Residual):
    return jax.jit(functools.partial(model.apply, method="fuse", residual=residual))
