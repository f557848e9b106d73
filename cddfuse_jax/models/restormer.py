"""Restormer blocks (Zamir et al., CVPR 2022) as the CDDFuse release computes them."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Float

from cddfuse_jax.models.attention import transposed_attention
from cddfuse_jax.models.branches import part
from cddfuse_jax.models.convolutions import AnyArray, conv1x1, torch_uniform
from cddfuse_jax.models.layers import (
    LayerNorm,
    conv1x1_grouped3x3_in_parts,
    gelu,
    kernel,
    sums,
)


class MDTA(nn.Module):
    """Multi-Dconv head transposed attention: 1x1, depthwise 3x3, attention between channels."""

    heads: int

    @nn.compact
    def __call__(self, x: Float[AnyArray, "n h w c"]) -> Float[AnyArray, "n h w c"]:
        """Apply the attention."""
        c = x.shape[-1]
        temperature = self.param("temperature", nn.initializers.ones, (self.heads,), jnp.float32)
        qkv = self.param("qkv", torch_uniform, (c, 3 * c))
        qkv_dwconv = self.param("qkv_dwconv", torch_uniform, (3, 3, 1, 3 * c))
        project_out = self.param("project_out", torch_uniform, (c, c))
        q, k, v = conv1x1_grouped3x3_in_parts(x, qkv, qkv_dwconv, 3)
        return transposed_attention(sums(q, k), v, temperature, project_out)


class GDFN(nn.Module):
    """Gated-Dconv feed-forward network: project_out(gelu(a) · b).

    Its 3x3 convolution has ``per_group`` channels in, and as many out, in each group.
    """

    expansion: int = 2
    per_group: int = 1

    @nn.compact
    def __call__(self, x: Float[AnyArray, "n h w c"]) -> Float[AnyArray, "n h w c"]:
        """Apply the network."""
        c = x.shape[-1]
        hidden = self.expansion * c
        project_in = self.param("project_in", torch_uniform, (c, 2 * hidden))
        dwconv = self.param("dwconv", torch_uniform, (3, 3, self.per_group, 2 * hidden))
        project_out = kernel(self, "project_out", (hidden, c), x)
        a, b = conv1x1_grouped3x3_in_parts(x, project_in, dwconv, 2)
        return conv1x1(gelu(a) * b, project_out)


class RestormerBlock(nn.Module):
    """x += MDTA(LayerNorm(x)); x += GDFN(LayerNorm(x))."""

    heads: int

    @nn.compact
    def __call__(self, x: Float[AnyArray, "n h w c"]) -> Float[AnyArray, "n h w c"]:
        """Apply the block."""
        x = x + MDTA(self.heads, name="attn")(LayerNorm(name="norm1")(x))
        return x + GDFN(name="ffn")(LayerNorm(name="norm2")(x))


class RestormerBlocks(nn.Module):
    """``count`` RestormerBlocks, or custom blocks, in a row, with parameters named "0", "1", ...

    They are equal in shape, so one scan compiles them once. With ``remat`` its backward pass
    recomputes each block from its input: a fraction of the memory for a third more arithmetic.
    """

    count: int
    heads: int
    remat: bool = True
    block: str = ""

    @nn.compact
    def __call__(self, x: Float[AnyArray, "n h w c"]) -> Float[AnyArray, "n h w c"]:
        """Apply all blocks."""
        if self.is_initializing():
            for i in range(self.count):
                x = self.make_block(x.shape[-1], name=str(i))(x)
            return x
        blocks = [self.variables["params"][str(i)] for i in range(self.count)]
        block = self.make_block(x.shape[-1], parent=None)
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *blocks)

        def apply(x, chosen):
            def pick(leaf):
                return jnp.tensordot(chosen.astype(leaf.dtype), leaf, 1, precision="highest")

            # Pick a block by a product with 0 and 1, which is exact: on CPUs, XLA repeats a gather
            # for every pixel.
            return block.apply({"params": jax.tree.map(pick, stacked)}, x), None

        apply = jax.checkpoint(apply) if self.remat else apply
        return lax.scan(apply, x, jnp.eye(self.count))[0]

    @nn.nowrap
    def make_block(self, features: int, **bound: Any) -> nn.Module:
        """Return one block, ``bound`` by its ``name`` and ``parent``."""
        sizes = {"features": features, "heads": self.heads, "remat": self.remat}
        return part(self.block, RestormerBlock, **sizes, **bound)
