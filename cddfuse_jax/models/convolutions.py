"""The three convolutions of the network, on NHWC arrays, with torch's default initial weights.

A depthwise 3x3 is nine shifted multiply-adds: XLA's own grouped convolution is several times slower
on CPUs. Both 3x3 convolutions have their own derivative, so that autodiff keeps their input alone
and not nine shifted copies of it.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from cddfuse_jax.models.derivatives import (
    AnyArray,
    as_matrix,
    by_platform,
    conv3x3_backward,
    correlate,
    correlate_depthwise,
    depthwise_backward,
    or_plain,
    summing_dtype,
)


def torch_uniform(
    key: Key[Array, ""], shape: tuple[int, ...], dtype=jnp.float32
) -> Float[Array, "..."]:
    """Torch's default for a convolution: uniform in ±1/sqrt(fan_in).

    Kernels are (c_in, c_out) for a 1x1 and (3, 3, c_in / groups, c_out) for a 3x3, so that fan_in
    is the product of all axes but the last.
    """
    bound = 1 / math.sqrt(math.prod(shape[:-1]))
    return jax.random.uniform(key, shape, dtype, -bound, bound)


@jax.custom_vjp
def conv1x1(
    x: Float[AnyArray, "n h w c_in"], kernel: Float[AnyArray, "c_in c_out"]
) -> Float[AnyArray, "n h w c_out"]:
    """Mix channels, 1x1."""
    return x @ kernel


def _conv1x1_forward(x, kernel):
    return x @ kernel, (x, kernel)


def _conv1x1_backward(saved, cotangent):
    x, kernel = saved
    # Autodiff's kernel gradient transposes the cotangent, and computes it anew in that order.
    return cotangent @ kernel.T, as_matrix(x).T @ as_matrix(cotangent)


conv1x1.defvjp(_conv1x1_forward, _conv1x1_backward)
conv1x1 = or_plain(conv1x1)  # type: ignore[assignment]


def channel_products(
    a: Float[AnyArray, "n h w c"], b: Float[AnyArray, "n h w d"]
) -> Float[Array, "n c d"]:
    """Sum over pixels the products of each channel of ``a`` with each of ``b``, image by image.

    In float32 or wider.
    """
    return jnp.einsum("nhwc,nhwd->ncd", a, b, preferred_element_type=summing_dtype(a))


def channel_products_over_one_axis(
    a: Float[AnyArray, "n h w c"], b: Float[AnyArray, "n h w d"]
) -> Float[Array, "n c d"]:
    """Like `channel_products`: of sums over two axes, XLA makes transposes on GPUs."""
    a, b = (x.reshape(x.shape[0], -1, x.shape[-1]) for x in (a, b))
    return jnp.einsum("npc,npd->ncd", a, b, preferred_element_type=summing_dtype(a))


@jax.custom_vjp
def mix_channels(
    x: Float[AnyArray, "n h w c_in"], kernels: Float[AnyArray, "n c_in c_out"]
) -> Float[Array, "n h w c_out"]:
    """Like `conv1x1` with a kernel per image."""
    return jnp.einsum("nhwc,nco->nhwo", x, kernels)


def _mix_forward(x, kernels):
    return mix_channels(x, kernels), (x, kernels)


def _mix_backward(saved, cotangent):
    x, kernels = saved
    d_kernels = by_platform(
        x, cotangent, gpu=channel_products_over_one_axis, default=channel_products
    ).astype(kernels.dtype)
    return mix_channels(cotangent, kernels.swapaxes(1, 2)), d_kernels


mix_channels.defvjp(_mix_forward, _mix_backward)
mix_channels = or_plain(mix_channels)  # type: ignore[assignment]


@jax.custom_vjp
def depthwise3x3(
    padded: Float[AnyArray, "n h w c"], kernel: Float[AnyArray, "3 3 1 c"]
) -> Float[AnyArray, "n h-2 w-2 c"]:
    """Depthwise 3x3 of an image that has a border already, as `pad` adds it."""
    return correlate_depthwise(padded, kernel)


def _depthwise_forward(padded, kernel):
    return correlate_depthwise(padded, kernel), (padded, kernel)


depthwise3x3.defvjp(_depthwise_forward, depthwise_backward)
depthwise3x3 = or_plain(depthwise3x3)  # type: ignore[assignment]


@jax.custom_vjp
def conv3x3(
    x: Float[AnyArray, "n h w c_in"], kernel: Float[AnyArray, "3 3 c_in c_out"]
) -> Float[Array, "n h w c_out"]:
    """Dense 3x3 with zero padding."""
    return correlate(jnp.asarray(x), jnp.asarray(kernel))


def _conv3x3_forward(x, kernel):
    return conv3x3(x, kernel), (x, kernel)


conv3x3.defvjp(_conv3x3_forward, conv3x3_backward)
conv3x3 = or_plain(conv3x3)  # type: ignore[assignment]
