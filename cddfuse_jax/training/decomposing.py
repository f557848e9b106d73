"""What the network takes a pair apart into: base and detail features, and how they correlate."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cddfuse_jax.models import Residual
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.models.convolutions import AnyArray
from cddfuse_jax.training.losses import decomposition


class Decomposition(NamedTuple):
    """One pair taken apart: visible, infrared, fused; maps are means over channels.

    ``cc_base`` and ``cc_detail`` are the correlations of the two modalities' features, -1 to 1,
    mean over channels; ``decomposition`` is cc_detail² / (1.01 + cc_base), which training lowers.
    Once cc_detail is near 0 it no longer raises cc_base (docs/weights.md).
    """

    images: Float[np.ndarray, "3 h w"]
    base: Float[np.ndarray, "3 h w"]
    detail: Float[np.ndarray, "3 h w"]
    cc_base: float
    cc_detail: float
    decomposition: float


def decompose(
    model: CDDFuse,
    params,
    visible: Float[np.ndarray, "h w"],
    infrared: Float[np.ndarray, "h w"],
    residual: Residual,
) -> Decomposition:
    """Take a pair apart and fuse it; images are in [0, 1], at least 2x2."""
    pair = jnp.stack([visible, infrared])[..., None]
    maps, measured = _compiled(model, residual)(params, pair)
    images, base, detail = map(np.asarray, maps)
    numbers = {name: float(value) for name, value in measured.items()}
    return Decomposition(images, base, detail, **numbers)


@functools.cache
def _compiled(model: CDDFuse, residual: Residual):
    @jax.jit
    def parts(
        params, pair: Float[AnyArray, "2 h w 1"]
    ) -> tuple[list[Float[Array, "3 h w"]], dict[str, Float[Array, ""]]]:
        fusion: Any = model.apply(
            {"params": params}, *jnp.split(pair, 2), residual, method="fuse_with_features"
        )
        base, detail, _, fused_base, fused_detail, fused = fusion
        maps = [
            jnp.concatenate([pair, fused])[..., 0],
            jnp.concatenate([base, fused_base]).mean(-1),
            jnp.concatenate([detail, fused_detail]).mean(-1),
        ]
        return maps, decomposition(base, detail)

    return parts
