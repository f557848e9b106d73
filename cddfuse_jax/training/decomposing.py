"""What the network takes a pair apart into: base and detail features, and how they correlate."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cddfuse_jax.models import Residual
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.models.convolutions import AnyArray
from cddfuse_jax.models.detail import DetailFeatureExtraction
from cddfuse_jax.training.losses import decomposition


class Decomposition(NamedTuple):
    """One pair taken apart: visible, infrared, fused; maps are means over channels.

    ``cc_base`` and ``cc_detail`` are the correlations of the two modalities' features, -1 to 1,
    mean over channels; ``decomposition`` is cc_detail² / (1.01 + cc_base), which training lowers.
    Once cc_detail is near 0 it no longer raises cc_base (docs/weights.md). ``inverse_error`` is the
    largest difference between the shallow features of either image and what the exact inverse
    of the detail branch makes of its detail features, over the largest shallow value. In float32
    the couplings amplify rounding; ``inverse_error_float64`` is the same in double precision, where
    little is left. Both are NaN for a custom detail branch.
    """

    images: Float[np.ndarray, "3 h w"]
    base: Float[np.ndarray, "3 h w"]
    detail: Float[np.ndarray, "3 h w"]
    cc_base: float
    cc_detail: float
    decomposition: float
    inverse_error: float
    inverse_error_float64: float


def decompose(
    model: CDDFuse,
    params,
    visible: Float[np.ndarray, "h w"],
    infrared: Float[np.ndarray, "h w"],
    residual: Residual,
) -> Decomposition:
    """Take a pair apart and fuse it; images are in [0, 1], at least 2x2."""
    pair = jnp.stack([visible, infrared])[..., None]
    *parts, shallow = _compiled(model, residual)(params, pair)
    error = math.nan
    if not model.detail:
        branch = jax.tree.map(np.float64, params["encoder"]["detail"])
        # In double precision on the CPU: accelerators have none, or a slow one.
        with jax.enable_x64(True), jax.default_device(jax.local_devices(backend="cpu")[0]):
            error = float(_inverse_error(model)(branch, np.float64(shallow)))
    images, base, detail, *measured = map(np.asarray, parts)
    cc_base, cc_detail, ratio, inverse_error = map(float, measured)
    return Decomposition(
        images, base, detail, cc_base, cc_detail, ratio, inverse_error, inverse_error_float64=error
    )


@functools.cache
def _compiled(model: CDDFuse, residual: Residual):
    branch = _detail_branch(model)

    @jax.jit
    def parts(params, pair: Float[AnyArray, "2 h w 1"]) -> tuple[Float[Array, "..."], ...]:
        fusion: Any = model.apply(
            {"params": params}, *jnp.split(pair, 2), residual, method="fuse_with_features"
        )
        base, detail, shallow, fused_base, fused_detail, fused = fusion
        own = {"params": params["encoder"]["detail"]}
        inverted: Any = jnp.nan * shallow
        if not model.detail:
            inverted = branch.apply(own, detail, method="inverse")
        measured = decomposition(base, detail)
        return (
            jnp.concatenate([pair, fused])[..., 0],
            jnp.concatenate([base, fused_base]).mean(-1),
            jnp.concatenate([detail, fused_detail]).mean(-1),
            measured["cc_base"],
            measured["cc_detail"],
            measured["decomposition"],
            jnp.abs(inverted - shallow).max() / jnp.abs(shallow).max(),
            shallow,
        )

    return parts


@functools.cache
def _inverse_error(model: CDDFuse):
    branch = _detail_branch(model)

    @jax.jit
    def error(params, shallow: Float[AnyArray, "2 h w features"]) -> Float[Array, ""]:
        detail = branch.apply({"params": params}, shallow)
        inverted: Any = branch.apply({"params": params}, detail, method="inverse")
        return jnp.abs(inverted - shallow).max() / jnp.abs(shallow).max()

    return error


def _detail_branch(model: CDDFuse) -> DetailFeatureExtraction:
    return DetailFeatureExtraction(model.coupling_layers, model.features)
