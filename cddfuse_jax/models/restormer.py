"""Restormer blocks (Zamir et al., CVPR 2022) as the CDDFuse release computes them."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jax.scipy.special import erf

from cddfuse_jax.models.convolutions import (
    Border,
    channel_products,
    conv1x1,
    depthwise3x3,
    mix_channels,
    pad,
    torch_uniform,
    whole_image,
)
from cddfuse_jax.models.kernels import kernel
from cddfuse_jax.models.precision import summing_dtype


class LayerNorm(nn.Module):
    """Normalise each pixel of (n, h, w, c) over its channels: biased variance, epsilon 1e-5."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return weight · (x - mean) / sqrt(variance + 1e-5) + bias, like ``x``."""
        weight = self.param("weight", nn.initializers.ones, x.shape[-1:], jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:], jnp.float32)
        # Two passes: mean(x²) - mean(x)² would lose digits.
        wide = x.astype(summing_dtype(x))
        centred = wide - jnp.mean(wide, -1, keepdims=True)
        variance = jnp.mean(jnp.square(centred), -1, keepdims=True)
        return (centred * lax.rsqrt(variance + 1e-5) * weight + bias).astype(x.dtype)


def gelu(x: jax.Array) -> jax.Array:
    """Exact gelu, x · Φ(x), in the form that torch computes."""
    return 0.5 * x * (1 + erf(x * (0.5**0.5)))


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


def transposed_attention(q, k, v, temperature, project_out):
    """Attention between channels, then a 1x1 convolution.

    Per head: project_out(softmax(q̂ k̂ᵀ · temperature) v), where q̂ and k̂ are q and k divided by their
    norm over all pixels, that norm being at least 1e-12.

    All heads share one c x c Gram matrix, masked to its diagonal blocks; the norms are divided out
    of it, not of q and k; and attention and projection are one c x c matrix applied to v.

    q, k, v and the result are (n, h, w, c), temperature is (heads,), project_out a (c, c) kernel.
    """
    attention = attention_kernel(gram_sums(q, k), temperature, project_out).astype(v.dtype)
    return mix_channels(v, attention)


class MDTA(nn.Module):
    """Multi-Dconv head transposed attention: 1x1, depthwise 3x3, attention between channels.

    ``attend`` takes and gives what `transposed_attention` does.
    """

    heads: int
    border: Border = whole_image
    attend: Callable = transposed_attention

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (n, h, w, c) to (n, h, w, c)."""
        c = x.shape[-1]
        temperature = self.param("temperature", nn.initializers.ones, (self.heads,), jnp.float32)
        qkv = kernel(self, "qkv", (c, 3 * c), x)
        qkv_dwconv = kernel(self, "qkv_dwconv", (3, 3, 1, 3 * c), x)
        project_out = self.param("project_out", torch_uniform, (c, c))
        # Before the 1x1, which has no bias: the same, on a third of the channels.
        x = pad(self.border(x))
        # Apart, because splitting the wide result would copy it.
        q, k, v = (
            depthwise3x3(conv1x1(x, weights), taps)
            for weights, taps in zip(
                jnp.split(qkv, 3, -1), jnp.split(qkv_dwconv, 3, -1), strict=True
            )
        )
        return self.attend(q, k, v, temperature, project_out)


class GDFN(nn.Module):
    """Gated-Dconv feed-forward network: project_out(gelu(a) · b)."""

    expansion: int = 2
    border: Border = whole_image

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (n, h, w, c) to (n, h, w, c)."""
        c = x.shape[-1]
        hidden = self.expansion * c
        project_in = kernel(self, "project_in", (c, 2 * hidden), x)
        dwconv = kernel(self, "dwconv", (3, 3, 1, 2 * hidden), x)
        project_out = kernel(self, "project_out", (hidden, c), x)
        x = pad(self.border(x))
        a, b = (
            depthwise3x3(conv1x1(x, weights), taps)
            for weights, taps in zip(
                jnp.split(project_in, 2, -1), jnp.split(dwconv, 2, -1), strict=True
            )
        )
        return conv1x1(gelu(a) * b, project_out)


class RestormerBlock(nn.Module):
    """x += MDTA(LayerNorm(x)); x += GDFN(LayerNorm(x))."""

    heads: int
    border: Border = whole_image
    attend: Callable = transposed_attention

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (n, h, w, c) to (n, h, w, c)."""
        attention = MDTA(self.heads, self.border, self.attend, name="attn")
        x = x + attention(LayerNorm(name="norm1")(x))
        return x + GDFN(border=self.border, name="ffn")(LayerNorm(name="norm2")(x))


class RestormerBlocks(nn.Module):
    """``count`` RestormerBlocks in a row, with parameters named "0", "1", ...

    They are equal in shape, so one scan compiles them once. With ``remat`` its backward pass
    recomputes each block from its input: a fraction of the memory for a third more arithmetic.
    """

    count: int
    heads: int
    remat: bool = True
    border: Border = whole_image
    attend: Callable = transposed_attention

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (n, h, w, c) to (n, h, w, c)."""
        if self.is_initializing():
            for i in range(self.count):
                x = RestormerBlock(self.heads, self.border, self.attend, name=str(i))(x)
            return x
        blocks = [self.variables["params"][str(i)] for i in range(self.count)]
        block = RestormerBlock(self.heads, self.border, self.attend, parent=None)

        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *blocks)

        def apply(x, chosen):
            def pick(leaf):
                return jnp.tensordot(chosen.astype(leaf.dtype), leaf, 1, precision="highest")

            # Exact, and a product: mere indexing is fused into each loop over pixels on CPUs, and
            # done again for each of them.
            params = jax.tree.map(pick, stacked)
            return block.apply({"params": params}, x), None

        apply = jax.checkpoint(apply) if self.remat else apply
        return lax.scan(apply, x, jnp.eye(self.count))[0]
