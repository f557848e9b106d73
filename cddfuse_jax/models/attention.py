"""Attention between channels: all that it needs of an image are sums over its pixels."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from cddfuse_jax.models.convolutions import (
    AnyArray,
    channel_products,
    channel_products_over_one_axis,
    mix_channels,
)
from cddfuse_jax.models.derivatives import by_platform, or_plain, summing_dtype


class GramSums(NamedTuple):
    """All that attention between channels needs to know of q and k: sums over pixels.

    Attributes:
        qk: the products of each channel of q with each of k.
        qq: the squares of q.
        kk: the squares of k.
    """

    qk: Float[AnyArray, "n c c"]
    qq: Float[AnyArray, "n c"]
    kk: Float[AnyArray, "n c"]


def gram_sums(q: Float[AnyArray, "n h w c"], k: Float[AnyArray, "n h w c"]) -> GramSums:
    """Sum over the pixels of q and k; the sums of an image's parts add up.

    In float32 or wider, whatever the type of q and k.
    """
    return by_platform(q, k, gpu=_sums_on_gpus, default=_sums)


def _with_own_derivative(sums):
    # The choice of a platform stays outside: within a custom_vjp in a scan, JAX (0.12 too) mixes up
    # what is saved for a second derivative.
    sums = jax.custom_vjp(sums)
    sums.defvjp(lambda q, k: (sums(q, k), (q, k)), _gram_sums_backward)
    return or_plain(sums)


def _gram_sums_backward(saved, cotangent):
    # Autodiff gives q and k cotangents with the channels in front, and everything after transposes.
    q, k = saved
    qk, qq, kk = (x.astype(q.dtype) for x in cotangent)
    d_q = mix_channels(k, qk.swapaxes(1, 2)) + 2 * q * qq[:, None, None]
    d_k = mix_channels(q, qk) + 2 * k * kk[:, None, None]
    return d_q, d_k


@_with_own_derivative
def _sums(q, k):
    def squares(x):
        return jnp.einsum("nhwc,nhwc->nc", x, x, preferred_element_type=summing_dtype(x))

    return GramSums(channel_products(q, k), squares(q), squares(k))


@_with_own_derivative
def _sums_on_gpus(q, k):
    def squares(x):
        return jnp.sum(jnp.square(x.astype(summing_dtype(x))), (1, 2))

    return GramSums(channel_products_over_one_axis(q, k), squares(q), squares(k))


def attention_kernel(
    sums: GramSums, temperature: Float[AnyArray, " heads"], project_out: Float[AnyArray, "c c"]
) -> Float[Array, "n c c"]:
    """Return the matrix that attends and projects: the attention output is v times it."""
    c, heads = project_out.shape[0], temperature.shape[0]
    head = np.arange(c) // (c // heads)  # known while tracing: it may index params held in NumPy

    def inverse_norm(square: Float[AnyArray, "n c"]) -> Float[Array, "n c"]:
        # Clamped inside the root: a finite gradient where all is zero.
        return lax.rsqrt(jnp.maximum(square, 1e-24))

    cosine = sums.qk * inverse_norm(sums.qq)[:, :, None] * inverse_norm(sums.kk)[:, None, :]
    logits = jnp.where(head[:, None] == head, cosine * temperature[head, None], -jnp.inf)
    return jnp.einsum("ncd,co->ndo", jax.nn.softmax(logits, axis=-1), project_out)


def transposed_attention(
    sums: GramSums,
    v: Float[AnyArray, "n h w c"],
    temperature: Float[AnyArray, " heads"],
    project_out: Float[AnyArray, "c c"],
) -> Float[Array, "n h w c"]:
    """Attention between channels, then a 1x1 convolution.

    Per head: project_out(softmax(q̂ k̂ᵀ · temperature) v), where q̂ and k̂ are q and k divided by their
    norm over all pixels, that norm being at least 1e-12.

    All heads share one c x c Gram matrix, masked to its diagonal blocks; the norms are divided out
    of it, not of q and k; and attention and projection are one c x c matrix applied to v.

    ``sums`` are those over the whole image, v and the result are of any part of it.
    """
    return mix_channels(v, attention_kernel(sums, temperature, project_out).astype(v.dtype))
