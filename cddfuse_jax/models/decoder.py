"""The decoder: base and detail features to an image."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from cddfuse_jax.models.convolutions import AnyArray, conv1x1, summing_dtype
from cddfuse_jax.models.derivatives import AnyMap
from cddfuse_jax.models.layers import conv3x3, kernel
from cddfuse_jax.models.restormer import RestormerBlocks


class Reduction(nn.Module):
    """Base and detail features to one feature map: 1x1."""

    @nn.compact
    def __call__(
        self, base: Float[AnyArray, "n h w c"], detail: Float[AnyArray, "n h w c"]
    ) -> Float[AnyArray, "n h w c"]:
        """Reduce the channels."""
        c = base.shape[-1]
        return conv1x1(
            jnp.concatenate([base, detail], -1), kernel(self, "reduce_channel", (2 * c, c), base)
        )


class Output(nn.Module):
    """Features to an image in (0, 1): 3x3, leaky relu, 3x3, sigmoid."""

    channels: int

    @nn.compact
    def __call__(
        self,
        x: Float[AnyArray, "n h w c"],
        residual: Float[AnyArray, "n h w {self.channels}"] | None,
    ) -> Float[AnyArray, "n h w {self.channels}"]:
        """Return images in float32 or wider; ``residual`` is added before the sigmoid."""
        c = x.shape[-1]
        output1 = kernel(self, "output1", (3, 3, c, c // 2), x)
        output2 = kernel(self, "output2", (3, 3, c // 2, self.channels), x)
        x = nn.leaky_relu(conv3x3(x, output1), 0.01)
        x = conv3x3(x, output2).astype(summing_dtype(x))
        return nn.sigmoid(x if residual is None else x + residual)


class Decoder(nn.Module):
    """Base and detail features back to an image."""

    channels: int
    heads: int
    depth: int
    remat: bool
    custom_block: str = ""

    def setup(self):  # noqa: D102
        self.reduction, self.output = Reduction(), Output(self.channels)
        nn.share_scope(self, self.reduction)
        nn.share_scope(self, self.output)
        self.blocks = RestormerBlocks(self.depth, self.heads, self.remat, self.custom_block)

    def __call__(
        self,
        base: Float[AnyMap, "n h w c"],
        detail: Float[AnyMap, "n h w c"],
        residual: Float[AnyMap, "n h w {self.channels}"] | None,
    ) -> Float[AnyMap, "n h w {self.channels}"]:
        """Map features to images in (0, 1), as `Output`."""
        return self.output(self.blocks(self.reduction(base, detail)), residual)
