"""Restormer blocks (Zamir et al., CVPR 2022) as the CDDFuse release computes them."""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Float

from cddfuse_jax.models.arrays import AnyArray
from cddfuse_jax.models.attention import transposed_attention
from cddfuse_jax.models.convolutions import (
    conv1x1,
    conv1x1_bordered,
    depthwise3x3,
    pad,
    torch_uniform,
)
from cddfuse_jax.models.extent import WHOLE, Extent
from cddfuse_jax.models.kernels import kernel
from cddfuse_jax.models.precision import summing_dtype


class LayerNorm(nn.Module):
    """Normalise each pixel over its channels: biased variance, epsilon 1e-5."""

    @nn.compact
    def __call__(self, x: Float[AnyArray, "n h w c"]) -> Float[AnyArray, "n h w c"]:
        """Return weight · (x - mean) / sqrt(variance + 1e-5) + bias, like ``x``."""
        weight = self.param("weight", nn.initializers.ones, x.shape[-1:], jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:], jnp.float32)
        # Two passes: mean(x²) - mean(x)² would lose digits.
        wide = x.astype(summing_dtype(x))
        centred = wide - jnp.mean(wide, -1, keepdims=True)
        variance = jnp.mean(jnp.square(centred), -1, keepdims=True)
        return (centred * lax.rsqrt(variance + 1e-5) * weight + bias).astype(x.dtype)


@jax.custom_jvp
def erf(x: Float[AnyArray, "*shape"]) -> Float[AnyArray, "*shape"]:
    """Return the error function; its derivative is as torch computes it, 2/√π · exp(-x²).

    JAX 0.12 computes it by a polynomial that does not pass through `jax.shard_map`.
    """
    return lax.erf(x)


@erf.defjvp
def _erf_jvp(primals, tangents):
    (x,), (tangent,) = primals, tangents
    return erf(x), 2 / math.sqrt(math.pi) * (tangent * jnp.exp(-jnp.square(x)))


def gelu(x: Float[AnyArray, "*shape"]) -> Float[AnyArray, "*shape"]:
    """Exact gelu, x · Φ(x), in the form that torch computes."""
    return 0.5 * x * (1 + erf(x * (0.5**0.5)))


class MDTA(nn.Module):
    """Multi-Dconv head transposed attention: 1x1, depthwise 3x3, attention between channels."""

    heads: int

    @nn.compact
    def __call__(
        self, x: Float[AnyArray, "n h w c"], extent: Extent = WHOLE
    ) -> Float[AnyArray, "n h w c"]:
        """Apply the attention."""
        c = x.shape[-1]
        temperature = self.param("temperature", nn.initializers.ones, (self.heads,), jnp.float32)
        qkv = kernel(self, "qkv", (c, 3 * c), x)
        qkv_dwconv = kernel(self, "qkv_dwconv", (3, 3, 1, 3 * c), x)
        project_out = self.param("project_out", torch_uniform, (c, c))
        # Before the 1x1, which has no bias: the same, on a third of the channels.
        x = pad(extent.border(x))
        # Apart, because splitting the wide result would copy it.
        q, k, v = (
            depthwise3x3(conv1x1_bordered(x, weights), taps)
            for weights, taps in zip(
                jnp.split(qkv, 3, -1), jnp.split(qkv_dwconv, 3, -1), strict=True
            )
        )
        sums = extent.sums(q, k)
        self.sow("intermediates", "sums", sums)
        return transposed_attention(sums, v, temperature, project_out)


class GDFN(nn.Module):
    """Gated-Dconv feed-forward network: project_out(gelu(a) · b)."""

    expansion: int = 2

    @nn.compact
    def __call__(
        self, x: Float[AnyArray, "n h w c"], extent: Extent = WHOLE
    ) -> Float[AnyArray, "n h w c"]:
        """Apply the network."""
        c = x.shape[-1]
        hidden = self.expansion * c
        project_in = kernel(self, "project_in", (c, 2 * hidden), x)
        dwconv = kernel(self, "dwconv", (3, 3, 1, 2 * hidden), x)
        project_out = kernel(self, "project_out", (hidden, c), x)
        x = pad(extent.border(x))
        a, b = (
            depthwise3x3(conv1x1_bordered(x, weights), taps)
            for weights, taps in zip(
                jnp.split(project_in, 2, -1), jnp.split(dwconv, 2, -1), strict=True
            )
        )
        return conv1x1(gelu(a) * b, project_out)


class RestormerBlock(nn.Module):
    """x += MDTA(LayerNorm(x)); x += GDFN(LayerNorm(x))."""

    heads: int

    @nn.compact
    def __call__(
        self, x: Float[AnyArray, "n h w c"], extent: Extent = WHOLE
    ) -> Float[AnyArray, "n h w c"]:
        """Apply the block."""
        x = x + MDTA(self.heads, name="attn")(LayerNorm(name="norm1")(x), extent)
        return x + GDFN(name="ffn")(LayerNorm(name="norm2")(x), extent)


class RestormerBlocks(nn.Module):
    """``count`` RestormerBlocks in a row, with parameters named "0", "1", ...

    They are equal in shape, so one scan compiles them once. With ``remat`` its backward pass
    recomputes each block from its input: a fraction of the memory for a third more arithmetic.
    """

    count: int
    heads: int
    remat: bool = True

    @nn.compact
    def __call__(
        self, x: Float[AnyArray, "n h w c"], extent: Extent = WHOLE
    ) -> Float[AnyArray, "n h w c"]:
        """Apply all blocks."""
        if self.is_initializing():
            for i in range(self.count):
                x = RestormerBlock(self.heads, name=str(i))(x, extent)
            return x
        blocks = [self.variables["params"][str(i)] for i in range(self.count)]
        block = RestormerBlock(self.heads, parent=None)

        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *blocks)

        def apply(x, chosen):
            def pick(leaf):
                return jnp.tensordot(chosen.astype(leaf.dtype), leaf, 1, precision="highest")

            # Exact, and a product: mere indexing is fused into each loop over pixels on CPUs, and
            # done again for each of them.
            params = jax.tree.map(pick, stacked)
            return block.apply({"params": params}, x, extent), None

        apply = jax.checkpoint(apply) if self.remat else apply
        return lax.scan(apply, x, jnp.eye(self.count))[0]
