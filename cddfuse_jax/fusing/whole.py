"""The compute core: one pair of grey images through the network."""

import contextlib
import functools
from collections.abc import Callable, Iterable
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float

from cddfuse_jax.errors import InputError
from cddfuse_jax.fusing import buckets
from cddfuse_jax.fusing.buckets import Size, fuse_in_bucket
from cddfuse_jax.fusing.memory import memory_errors_explained, strip_rows, whole_pixels
from cddfuse_jax.fusing.network_check import why_only_whole
from cddfuse_jax.fusing.strips import fuse_in_strips
from cddfuse_jax.models import Precision, Residual
from cddfuse_jax.models.branches import check_parts
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.models.precision import computed, features_dtype


def make_fuse(
    model: CDDFuse,
    params,
    residual: Residual = "visible",
    max_memory: int | None = None,
    precision: Precision = "float32",
    device: jax.Device | None = None,
    sharing: int = 1,
    half_strips: bool = False,
    run: Path | None = None,
) -> Callable[..., Float[np.ndarray, "*n h w"]]:
    """Return the function that fuses the luma of one pair, or of a batch in one go if it fits.

    It takes visible and infrared, float32 in [0, 1] of one size from 2x2 up, and returns what the
    network computes: float32 in (0, 1), not stretched. Each image size compiles once, whatever the
    weights; where a ``bucket`` that holds the image is given, each bucket.

    An image too large for ``max_memory`` bytes, or for the share of free memory that
    `memory.strip_rows` grants without it, is fused in strips of rows, with the same result;
    ``half_strips`` has them keep features in float16, in half the memory.

    ``precision`` is that of the network's features and products, see `precision`. All is computed
    on ``device``, by default JAX's; ``sharing`` such functions run at a time in one memory.

    Batches, buckets and strips are for networks that `why_only_whole` lets be fused so; ``run`` is
    the folder that keeps its answer.
    """
    model = model.clone(dtype=features_dtype(precision))
    check_parts(model)
    apply = _compiled(model, residual)
    variables = jax.device_put({"params": params}, device)

    def one(
        visible: Float[np.ndarray, "h w"], infrared: Float[np.ndarray, "h w"], bucket: Size | None
    ) -> Float[np.ndarray, "h w"]:
        numbers = (model.features, visible.dtype.itemsize, max_memory, sharing, device)
        fits = bucket is not None and bucket[0] * bucket[1] <= whole_pixels(*numbers)
        if bucket is not None and fits and not why_only_whole(model, params, run):
            return fuse_in_bucket(model, variables, visible, infrared, residual, bucket)
        height, width = visible.shape
        rows = strip_rows(height, width, *numbers, half=half_strips)
        if rows:
            if reason := why_only_whole(model, params, run):
                raise InputError(
                    f"{width}x{height} does not fit in memory as a whole, and {reason}"
                )
            half = half_strips and model.dtype is None  # bfloat16 has half the bytes already
            return fuse_in_strips(model, variables, visible, infrared, residual, rows, half)
        images = jax.device_put([x[None, :, :, None] for x in (visible, infrared)], device)
        return np.asarray(apply(variables, *images))[0, :, :, 0]

    def fuse(
        visible: Float[np.ndarray, "*n h w"],
        infrared: Float[np.ndarray, "*n h w"],
        bucket: Size | None = None,
    ) -> Float[np.ndarray, "*n h w"]:
        with contextlib.ExitStack() as stack:
            stack.enter_context(memory_errors_explained(*visible.shape[-2:]))
            if device:  # whose implementations are traced, see `derivatives.by_platform`
                stack.enter_context(jax.default_device(device))
            if visible.ndim == 2:
                return one(visible, infrared, bucket)
            most = whole_pixels(model.features, visible.dtype.itemsize, max_memory, sharing, device)
            if visible.size > most or why_only_whole(model, params, run):
                pairs = zip(visible, infrared, strict=True)
                return np.stack([one(*pair, bucket) for pair in pairs])
            images = jax.device_put([x[..., None] for x in (visible, infrared)], device)
            return np.asarray(apply(variables, *images))[..., 0]

    return computed(fuse, precision)


def check_finite_output(fused: Float[np.ndarray, "*maps h w"]) -> None:
    """Check what the network computed: NaN would be written as black, without a word."""
    if bad := fused.size - int(np.isfinite(fused).sum()):
        raise InputError(
            f"the network's output must be finite, {bad} of {fused.size} values are not; the "
            "weights are too large for this image, or for the precision: try --precision highest"
        )


def plan_buckets(
    features: int, sizes: Iterable[Size], max_memory: int | None = None
) -> dict[Size, Size]:
    """Choose few buckets for many sizes, as `buckets.plan`, none too large to be fused whole."""
    most = whole_pixels(features, np.dtype(np.float32).itemsize, max_memory)
    return buckets.plan(sizes, most_pixels=most)


@functools.cache
def _compiled(model: CDDFuse, residual: Residual):
    return jax.jit(functools.partial(model.apply, method="fuse", residual=residual))
