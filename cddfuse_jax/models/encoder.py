"""The encoder: an image to features, which both modalities share."""

from typing import Any

from flax import linen as nn
from jaxtyping import Float

from cddfuse_jax.errors import InputError
from cddfuse_jax.models.base import BaseFeatureExtraction
from cddfuse_jax.models.branches import part
from cddfuse_jax.models.convolutions import AnyArray
from cddfuse_jax.models.derivatives import AnyMap
from cddfuse_jax.models.detail import DetailFeatureExtraction
from cddfuse_jax.models.layers import conv3x3, kernel
from cddfuse_jax.models.restormer import RestormerBlocks


class Embedding(nn.Module):
    """An image to features: 3x3."""

    features: int
    dtype: Any = None

    @nn.compact
    def __call__(self, image: Float[AnyArray, "n h w c"]) -> Float[AnyArray, "n h w features"]:
        """Return features of ``dtype``, by default the image's."""
        image = image if self.dtype is None else image.astype(self.dtype)
        shape = (3, 3, image.shape[-1], self.features)
        return conv3x3(image, kernel(self, "patch_embed", shape, image))


class Encoder(nn.Module):
    """An image to its base, detail and shallow features; one encoder serves both modalities."""

    channels: int
    features: int
    heads: int
    depth: int
    coupling_layers: int
    remat: bool
    dtype: Any = None
    custom_block: str = ""
    custom_base: str = ""
    custom_detail: str = ""

    def setup(self):  # noqa: D102
        sizes = {"features": self.features, "heads": self.heads, "remat": self.remat}
        self.embedding = Embedding(self.features, self.dtype)
        nn.share_scope(self, self.embedding)  # its param is the encoder's own, here and below
        self.blocks = RestormerBlocks(self.depth, self.heads, self.remat, self.custom_block)
        self.base = part(self.custom_base, BaseFeatureExtraction, **sizes)
        self.detail = part(
            self.custom_detail, DetailFeatureExtraction, layers=self.coupling_layers, **sizes
        )

    def __call__(
        self, image: Float[AnyMap, "n h w {self.channels}"]
    ) -> tuple[
        Float[AnyMap, "n h w {self.features}"],
        Float[AnyMap, "n h w {self.features}"],
        Float[AnyMap, "n h w {self.features}"],
    ]:
        """Map images in [0, 1] to (base, detail, shallow)."""
        if image.ndim != 4 or image.shape[-1] != self.channels:
            raise InputError(
                f"images are (n, h, w, {self.channels}), got shape {image.shape}; a grey image is "
                "image[None, :, :, None]"
            )
        shallow = self.blocks(self.embedding(image))
        return self.base(shallow), self.detail(shallow), shallow
