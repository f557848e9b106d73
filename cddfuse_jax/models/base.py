"""The base branch: the paper's Lite Transformer block, as the release computes it."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from cddfuse_jax.models.attention import transposed_attention
from cddfuse_jax.models.convolutions import AnyArray, torch_uniform
from cddfuse_jax.models.layers import LayerNorm, conv3x3_in_parts, sums
from cddfuse_jax.models.restormer import GDFN


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


class BaseFeatureExtraction(nn.Module):
    """Base features: x += attention(LayerNorm(x)); x += feed-forward(LayerNorm(x))."""

    heads: int

    @nn.compact
    def __call__(self, x: Float[AnyArray, "n h w c"]) -> Float[AnyArray, "n h w c"]:
        """Apply the branch."""
        x = x + BaseAttention(self.heads, name="attn")(LayerNorm(name="norm1")(x))
        return x + GDFN(expansion=1, per_group=2, name="mlp")(LayerNorm(name="norm2")(x))
