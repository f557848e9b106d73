"""The base branch: the paper's Lite Transformer block, as the release computes it."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from cddfuse_jax.models.arrays import AnyArray
from cddfuse_jax.models.attention import transposed_attention
from cddfuse_jax.models.convolutions import (
    conv1x1,
    conv1x1_bordered,
    conv3x3,
    depthwise3x3,
    pad,
    torch_uniform,
)
from cddfuse_jax.models.extent import WHOLE, Extent, Strip
from cddfuse_jax.models.kernels import kernel
from cddfuse_jax.models.restormer import LayerNorm, gelu


class BaseAttention(nn.Module):
    """Transposed attention whose q, k, v come from a 1x1 and then a full 3x3 convolution.

    Neither has a bias and the 3x3 pads with zeros, so the two are one 3x3 convolution whose kernel
    is their product: 40 % of the whole network's arithmetic less.
    """

    heads: int

    @nn.compact
    def __call__(
        self, x: Float[AnyArray, "n h w c"], extent: Extent = WHOLE
    ) -> Float[AnyArray, "n h w c"]:
        """Apply the attention."""
        c = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (self.heads,), jnp.float32)
        qkv1 = self.param("qkv1", torch_uniform, (c, 3 * c))
        qkv2 = self.param("qkv2", torch_uniform, (3, 3, 3 * c, 3 * c))
        proj = self.param("proj", torch_uniform, (c, c))
        qkv = jnp.einsum("im,yxmo->yxio", qkv1, qkv2).astype(x.dtype)
        x = extent.border(x)
        if isinstance(extent, Strip):  # one program asks for q and k, another for v
            q, k, v = (conv3x3(x, each) for each in jnp.split(qkv, 3, -1))
        else:
            q, k, v = jnp.split(conv3x3(x, qkv), 3, -1)
        sums = extent.sums(q, k)
        self.sow("intermediates", "sums", sums)
        return transposed_attention(sums, v, scale, proj)


class BaseFeedForward(nn.Module):
    """Gated feed-forward network with a grouped 3x3 convolution: 2 channels in, 2 out per group."""

    @nn.compact
    def __call__(
        self, x: Float[AnyArray, "n h w c"], extent: Extent = WHOLE
    ) -> Float[AnyArray, "n h w c"]:
        """Apply the network."""
        c = x.shape[-1]
        project_in = kernel(self, "project_in", (c, 2 * c), x)
        dwconv = kernel(self, "dwconv", (3, 3, 2, 2 * c), x)
        project_out = kernel(self, "project_out", (c, c), x)

        def grouped(
            weights: Float[AnyArray, "c c"], taps: Float[AnyArray, "3 3 2 c"]
        ) -> Float[AnyArray, "n h w c"]:
            # Each output sees both channels of its pair: two depthwise convolutions, one of every
            # pair's first channel and one of its second, repeated for both outputs.
            own = [jnp.repeat(weights[:, i::2], 2, axis=-1) for i in (0, 1)]
            first, second = (conv1x1_bordered(x, each) for each in own)
            return depthwise3x3(first, taps[:, :, :1]) + depthwise3x3(second, taps[:, :, 1:])

        x = pad(extent.border(x))
        a, b = (
            grouped(weights, taps)
            for weights, taps in zip(
                jnp.split(project_in, 2, -1), jnp.split(dwconv, 2, -1), strict=True
            )
        )
        return conv1x1(gelu(a) * b, project_out)


class BaseFeatureExtraction(nn.Module):
    """Base features: x += attention(LayerNorm(x)); x += feed-forward(LayerNorm(x))."""

    heads: int

    @nn.compact
    def __call__(
        self, x: Float[AnyArray, "n h w c"], extent: Extent = WHOLE
    ) -> Float[AnyArray, "n h w c"]:
        """Apply the branch."""
        x = x + BaseAttention(self.heads, name="attn")(LayerNorm(name="norm1")(x), extent)
        return x + BaseFeedForward(name="mlp")(LayerNorm(name="norm2")(x), extent)
