"""An image to features and back: what both modalities, and both stages of training, share."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from cddfuse_jax.models.arrays import AnyArray
from cddfuse_jax.models.convolutions import conv1x1, conv3x3, torch_uniform
from cddfuse_jax.models.extent import WHOLE, Extent
from cddfuse_jax.models.inn import DetailFeatureExtraction
from cddfuse_jax.models.lite_transformer import BaseFeatureExtraction
from cddfuse_jax.models.precision import summing_dtype
from cddfuse_jax.models.restormer import RestormerBlocks


class Encoder(nn.Module):
    """An image to its base, detail and shallow features; one encoder serves both modalities."""

    channels: int
    features: int
    heads: int
    depth: int
    coupling_layers: int
    remat: bool
    dtype: Any = None

    def setup(self):  # noqa: D102
        shape = (3, 3, self.channels, self.features)
        self.patch_embed = self.param("patch_embed", torch_uniform, shape)
        self.blocks = RestormerBlocks(self.depth, self.heads, self.remat)
        self.base = BaseFeatureExtraction(self.heads)
        self.detail = DetailFeatureExtraction(self.coupling_layers, self.features, self.remat)

    def __call__(
        self, image: Float[AnyArray, "n h w {self.channels}"], extent: Extent = WHOLE
    ) -> tuple[
        Float[AnyArray, "n h w {self.features}"],
        Float[AnyArray, "n h w {self.features}"],
        Float[AnyArray, "n h w {self.features}"],
    ]:
        """Map images in [0, 1] to (base, detail, shallow)."""
        shallow = self.blocks(self.embed(image, extent), extent)
        return self.base(shallow, extent), self.detail(shallow, extent), shallow

    def embed(
        self, image: Float[AnyArray, "n h w {self.channels}"], extent: Extent = WHOLE
    ) -> Float[AnyArray, "n h w {self.features}"]:
        """Map images to features of their type."""
        image = extent.border(image if self.dtype is None else image.astype(self.dtype))
        return conv3x3(image, self.patch_embed.astype(image.dtype))


class Decoder(nn.Module):
    """Base and detail features back to an image."""

    channels: int
    features: int
    heads: int
    depth: int
    remat: bool

    def setup(self):  # noqa: D102
        c = self.features
        self.reduce_channel = self.param("reduce_channel", torch_uniform, (2 * c, c))
        self.output1 = self.param("output1", torch_uniform, (3, 3, c, c // 2))
        self.output2 = self.param("output2", torch_uniform, (3, 3, c // 2, self.channels))
        self.blocks = RestormerBlocks(self.depth, self.heads, self.remat)

    def __call__(
        self,
        base: Float[AnyArray, "n h w {self.features}"],
        detail: Float[AnyArray, "n h w {self.features}"],
        residual: Float[AnyArray, "n h w {self.channels}"] | None,
        extent: Extent = WHOLE,
    ) -> Float[AnyArray, "n h w {self.channels}"]:
        """Map features to images in (0, 1), float32 or wider.

        ``residual`` is added before the sigmoid.
        """
        x = self.blocks(self.join(base, detail, extent), extent)
        return self.image(x, residual, extent)

    def join(
        self,
        base: Float[AnyArray, "n h w {self.features}"],
        detail: Float[AnyArray, "n h w {self.features}"],
        extent: Extent = WHOLE,
    ) -> Float[AnyArray, "n h w {self.features}"]:
        """Make one feature map of two."""
        del extent  # no 3x3 convolution
        return conv1x1(jnp.concatenate([base, detail], -1), self.reduce_channel.astype(base.dtype))

    def image(
        self,
        x: Float[AnyArray, "n h w {self.features}"],
        residual: Float[AnyArray, "n h w {self.channels}"] | None,
        extent: Extent = WHOLE,
    ) -> Float[AnyArray, "n h w {self.channels}"]:
        """Map joined features to images in (0, 1), as `__call__`."""
        output1, output2 = (kernel.astype(x.dtype) for kernel in (self.output1, self.output2))
        x = nn.leaky_relu(conv3x3(extent.border(x), output1), 0.01)
        x = conv3x3(extent.border(x), output2).astype(summing_dtype(x))
        return nn.sigmoid(x if residual is None else x + residual)
