"""Attention between channels: all that it needs of an image are sums over its pixels."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cddfuse_jax.models.convolutions import channel_products, mix_channels
from cddfuse_jax.models.precision import summing_dtype


class GramSums(NamedTuple):
    """All that attention between channels needs to know of q and k: sums over pixels.

    Attributes:
        qk: (n, c, c), the products of each channel of q with each of k.
        qq: (n, c), the squares of q.
        kk: (n, c), the squares of k.
    """

    qk: jax.Array
    qq: jax.Array
    kk: jax.Array


@jax.custom_vjp
def gram_sums(q: jax.Array, k: jax.Array) -> GramSums:
    """Sum over the pixels of q and k, (n, h, w, c); the sums of an image's parts add up.

    In float32 or wider, whatever the type of q and k.
    """
    summed = functools.partial(jnp.einsum, preferred_element_type=summing_dtype(q))
    squares = (summed("nhwc,nhwc->nc", x, x) for x in (q, k))
    return GramSums(channel_products(q, k), *squares)


def _gram_sums_forward(q, k):
    return gram_sums(q, k), (q, k)


def _gram_sums_backward(saved, cotangent):
    # Autodiff gives q and k cotangents with the channels in front, and everything after transposes.
    q, k = saved
    qk, qq, kk = (x.astype(q.dtype) for x in cotangent)
    d_q = mix_channels(k, qk.swapaxes(1, 2)) + 2 * q * qq[:, None, None]
    d_k = mix_channels(q, qk) + 2 * k * kk[:, None, None]
    return d_q, d_k


gram_sums.defvjp(_gram_sums_forward, _gram_sums_backward)


def attention_kernel(sums: GramSums, temperature, project_out) -> jax.Array:
    """Return the (n, c, c) matrix that attends and projects: the attention output is v times it."""
    c, heads = project_out.shape[0], temperature.shape[0]
    head = np.arange(c) // (c // heads)  # known while tracing: it may index params held in NumPy

    def inverse_norm(square):  # clamped inside the root: a finite gradient where all is zero
        return lax.rsqrt(jnp.maximum(square, 1e-24))

    cosine = sums.qk * inverse_norm(sums.qq)[:, :, None] * inverse_norm(sums.kk)[:, None, :]
    logits = jnp.where(head[:, None] == head, cosine * temperature[head, None], -jnp.inf)
    return jnp.einsum("ncd,co->ndo", jax.nn.softmax(logits, axis=-1), project_out)


def transposed_attention(sums: GramSums, v, temperature, project_out) -> jax.Array:
    """Attention between channels, then a 1x1 convolution.

    Per head: project_out(softmax(q̂ k̂ᵀ · temperature) v), where q̂ and k̂ are q and k divided by their
    norm over all pixels, that norm being at least 1e-12.

    All heads share one c x c Gram matrix, masked to its diagonal blocks; the norms are divided out
    of it, not of q and k; and attention and projection are one c x c matrix applied to v.

    ``sums`` are those over the whole image, v and the result are (n, h, w, c) of any part of it,
    temperature is (heads,), project_out a (c, c) kernel.
    """
    return mix_channels(v, attention_kernel(sums, temperature, project_out).astype(v.dtype))
