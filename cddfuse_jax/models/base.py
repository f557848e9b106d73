"""The base branch: the paper's Lite Transformer block, as the release computes it."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from cddfuse_jax.models.attention import transposed_attention
from cddfuse_jax.models.convolutions import (
    AnyArray,
    conv1x1,
    conv1x1_bordered,
    depthwise3x3,
    torch_uniform,
)
from cddfuse_jax.models.layers import LayerNorm, conv3x3_in_parts, gelu, kernel, sums, zero_padded


class BaseAttention(nn.Module):
    """Transposed attention whose q, k, v come from a 1x1 and then a full 3x3 convolution.

    Neither has a bias and the 3x3 pads with zeros, so the two are one 3x3 convolution whose kernel
    is their product: 40 % of the whole network's arithmetic less.
    """

    heads: int

    @nn.compact
    def __call__(self, x: Float[AnyArray, "n h w c"]) -> Float[AnyArray, "n h w c"]:
        """Apply the attention."""
        c = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (self.heads,), jnp.float32)
        qkv1 = self.param("qkv1", torch_uniform, (c, 3 * c))
        qkv2 = self.param("qkv2", torch_uniform, (3, 3, 3 * c, 3 * c))
        proj = self.param("proj", torch_uniform, (c, c))
        qkv = jnp.einsum("im,yxmo->yxio", qkv1, qkv2).astype(x.dtype)
        q, k, v = conv3x3_in_parts(x, qkv, 3)
        return transposed_attention(sums(q, k), v, scale, proj)


class BaseFeedForward(nn.Module):
    """Gated feed-forward network with a grouped 3x3 convolution: 2 channels in, 2 out per group."""

    @nn.compact
    def __call__(self, x: Float[AnyArray, "n h w c"]) -> Float[AnyArray, "n h w c"]:
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

        x = zero_padded(x)
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
    def __call__(self, x: Float[AnyArray, "n h w c"]) -> Float[AnyArray, "n h w c"]:
        """Apply the branch."""
        x = x + BaseAttention(self.heads, name="attn")(LayerNorm(name="norm1")(x))
        return x + BaseFeedForward(name="mlp")(LayerNorm(name="norm2")(x))
