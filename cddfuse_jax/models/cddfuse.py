"""CDDFuse: a shared encoder, two fusion layers and a decoder."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from cddfuse_jax.models.encoder_decoder import Decoder, Encoder
from cddfuse_jax.models.extent import WHOLE, Extent
from cddfuse_jax.models.inn import DetailFeatureExtraction
from cddfuse_jax.models.lite_transformer import BaseFeatureExtraction
from cddfuse_jax.models.modalities import encode_sums, sum_of_halves
from cddfuse_jax.models.options import RESIDUALS, Residual

MODULES = ("encoder", "decoder", "base_fusion", "detail_fusion")


class Fusion(NamedTuple):
    """A fused pair and all features on the way, of both modalities: visible, then infrared.

    Attributes:
        base: (2n, h, w, features).
        detail: likewise.
        shallow: likewise.
        fused_base: (n, h, w, features).
        fused_detail: likewise.
        image: (n, h, w, channels) in (0, 1).
    """

    base: jax.Array
    detail: jax.Array
    shallow: jax.Array
    fused_base: jax.Array
    fused_detail: jax.Array
    image: jax.Array


class CDDFuse(nn.Module):
    """The network of the release (Zhao et al., CVPR 2023); its sizes are the defaults.

    Call its methods through ``apply``::

        model = CDDFuse()
        variables = {"params": params}
        base, detail, shallow = model.apply(variables, image, method="encode")
        image = model.apply(variables, image, method="reconstruct")
        fused = model.apply(variables, visible, infrared, residual="visible", method="fuse")

    Images are (n, h, w, channels), float, in [0, 1], with h and w at least 2. They fill their
    arrays, unless an ``extent`` tells which part of them an array shows or holds.

    Attributes:
        features: channels of every feature map; even, and a multiple of ``heads``.
        heads: attention heads.
        blocks: RestormerBlocks in the encoder, and as many in the decoder.
        channels: channels of an image.
        coupling_layers: coupling layers in the encoder's detail branch; the fusion layer has one.
        remat: recompute blocks in the backward pass instead of storing what they computed.
        dtype: of features, such as bfloat16; None for that of the images. Params, sums over pixels
            and decoded images stay in float32 or wider.
    """

    features: int = 64
    heads: int = 8
    blocks: int = 4
    channels: int = 1
    coupling_layers: int = 3
    remat: bool = True
    dtype: Any = None

    def setup(self):  # noqa: D102
        if self.features % self.heads or self.features % 2:
            raise ValueError(
                f"features must be even and a multiple of heads, "
                f"got features={self.features}, heads={self.heads}"
            )
        sizes = {
            "channels": self.channels,
            "features": self.features,
            "heads": self.heads,
            "depth": self.blocks,
            "remat": self.remat,
        }
        self.encoder = Encoder(**sizes, coupling_layers=self.coupling_layers, dtype=self.dtype)
        self.decoder = Decoder(**sizes)
        self.base_fusion = BaseFeatureExtraction(self.heads)
        self.detail_fusion = DetailFeatureExtraction(1, self.features)

    @classmethod
    def from_params(cls, params: Any, **options) -> "CDDFuse":
        """Return the model whose sizes are those of ``params``."""
        encoder = params["encoder"]
        channels, features = encoder["patch_embed"].shape[2:]
        return cls(
            features=features,
            heads=encoder["base"]["attn"]["scale"].shape[0],
            blocks=len(encoder["blocks"]),
            channels=channels,
            coupling_layers=len(encoder["detail"]),
            **options,
        )

    def encode(self, image: jax.Array, extent: Extent = WHOLE):
        """Return the image's (base, detail, shallow) features, (n, h, w, features) each."""
        return self.encoder(image, extent)

    def fuse_features(self, base, detail, extent: Extent = WHOLE) -> tuple[jax.Array, jax.Array]:
        """Fuse base and detail features, each the sum over both modalities."""
        return self.base_fusion(base, extent), self.detail_fusion(detail, extent)

    def decode(self, base, detail, residual: jax.Array | None, extent: Extent = WHOLE) -> jax.Array:
        """Decode features to an image in (0, 1); ``residual`` is added before the sigmoid."""
        return self.decoder(base, detail, residual, extent)

    def reconstruct(self, image: jax.Array, residual: bool = True) -> jax.Array:
        """Encode and decode one modality; ``residual`` tells whether the decoder adds the image."""
        base, detail, _ = self.encode(image)
        return self.decode(base, detail, image if residual else None)

    def fuse(
        self,
        visible: jax.Array,
        infrared: jax.Array,
        residual: Residual = "visible",
        extent: Extent = WHOLE,
    ) -> jax.Array:
        """Fuse a visible and an infrared image of one shape to an image in (0, 1).

        ``residual`` is what the decoder adds: the visible image, ``sum`` of both (the release's
        way to fuse medical pairs with infrared-visible weights), or ``none`` (medical weights).
        """
        fused = self.fuse_features(*self.encode_sums(visible, infrared, extent), extent)
        return self.decode(*fused, select_residual(residual, visible, infrared), extent)

    __call__ = fuse

    def fuse_with_features(
        self, visible: jax.Array, infrared: jax.Array, residual: Residual = "visible"
    ) -> Fusion:
        """Like `fuse`, with the features on the way: what losses and pictures are made of."""
        base, detail, shallow = self.encode(jnp.concatenate([visible, infrared]))
        fused = self.fuse_features(sum_of_halves(base), sum_of_halves(detail))
        image = self.decode(*fused, select_residual(residual, visible, infrared))
        return Fusion(base, detail, shallow, *fused, image)

    def encode_sums(
        self, visible: jax.Array, infrared: jax.Array, extent: Extent = WHOLE
    ) -> tuple[jax.Array, jax.Array]:
        """Return base and detail features, each summed over both modalities.

        In the form that suits the platform that the program is lowered for.
        """
        if self.is_initializing():
            return self.encode(visible, extent)[:2]
        encoder = self.encoder.clone(parent=None, name=None)
        params = self.encoder.variables["params"]
        return encode_sums(encoder, params, visible, infrared, extent)


def select_residual(residual: Residual, visible, infrared) -> jax.Array | None:
    """Return the image that the decoder adds when it fuses."""
    if residual not in RESIDUALS:
        raise ValueError(f"residual must be one of {', '.join(RESIDUALS)}, got {residual!r}")
    if residual == "sum":
        return visible + infrared
    return visible if residual == "visible" else None
