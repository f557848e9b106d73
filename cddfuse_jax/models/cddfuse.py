"""CDDFuse: a shared encoder, two fusion layers and a decoder."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from cddfuse_jax.models.arrays import AnyArray
from cddfuse_jax.models.encoder_decoder import Decoder, Encoder
from cddfuse_jax.models.extent import WHOLE, Extent
from cddfuse_jax.models.inn import DetailFeatureExtraction
from cddfuse_jax.models.lite_transformer import BaseFeatureExtraction
from cddfuse_jax.models.modalities import encode_sums, sum_of_halves
from cddfuse_jax.models.options import RESIDUALS, Residual

MODULES = ("encoder", "decoder", "base_fusion", "detail_fusion")


class Fusion(NamedTuple):
    """A fused pair, in (0, 1), and all features on the way, of both modalities: first n visible."""

    base: Float[AnyArray, "2*n h w features"]
    detail: Float[AnyArray, "2*n h w features"]
    shallow: Float[AnyArray, "2*n h w features"]
    fused_base: Float[AnyArray, "n h w features"]
    fused_detail: Float[AnyArray, "n h w features"]
    image: Float[AnyArray, "n h w channels"]


class CDDFuse(nn.Module):
    """The network of the release (Zhao et al., CVPR 2023); its sizes are the defaults.

    Call its methods through ``apply``::

        model = CDDFuse()
        variables = {"params": params}
        base, detail, shallow = model.apply(variables, image, method="encode")
        image = model.apply(variables, image, method="reconstruct")
        fused = model.apply(variables, visible, infrared, residual="visible", method="fuse")

    Images are in [0, 1], with h and w at least 2. They fill their arrays, unless an ``extent``
    tells which part of them an array shows or holds.

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
        self.detail_fusion = DetailFeatureExtraction(1, self.features, self.remat)

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

    def encode(
        self, image: Float[AnyArray, "n h w {self.channels}"], extent: Extent = WHOLE
    ) -> tuple[
        Float[AnyArray, "n h w {self.features}"],
        Float[AnyArray, "n h w {self.features}"],
        Float[AnyArray, "n h w {self.features}"],
    ]:
        """Return the image's (base, detail, shallow) features."""
        return self.encoder(image, extent)

    def fuse_features(
        self,
        base: Float[AnyArray, "n h w {self.features}"],
        detail: Float[AnyArray, "n h w {self.features}"],
        extent: Extent = WHOLE,
    ) -> tuple[Float[AnyArray, "n h w {self.features}"], Float[AnyArray, "n h w {self.features}"]]:
        """Fuse base and detail features, each the sum over both modalities."""
        return self.base_fusion(base, extent), self.detail_fusion(detail, extent)

    def decode(
        self,
        base: Float[AnyArray, "n h w {self.features}"],
        detail: Float[AnyArray, "n h w {self.features}"],
        residual: Float[AnyArray, "n h w {self.channels}"] | None,
        extent: Extent = WHOLE,
    ) -> Float[AnyArray, "n h w {self.channels}"]:
        """Decode features to an image in (0, 1); ``residual`` is added before the sigmoid."""
        return self.decoder(base, detail, residual, extent)

    def reconstruct(
        self, image: Float[AnyArray, "n h w {self.channels}"], residual: bool = True
    ) -> Float[AnyArray, "n h w {self.channels}"]:
        """Encode and decode one modality; ``residual`` tells whether the decoder adds the image."""
        base, detail, _ = self.encode(image)
        return self.decode(base, detail, image if residual else None)

    def fuse(
        self,
        visible: Float[AnyArray, "n h w {self.channels}"],
        infrared: Float[AnyArray, "n h w {self.channels}"],
        residual: Residual = "visible",
        extent: Extent = WHOLE,
    ) -> Float[AnyArray, "n h w {self.channels}"]:
        """Fuse a visible and an infrared image to an image in (0, 1).

        ``residual`` is what the decoder adds: the visible image, ``sum`` of both (the release's
        way to fuse medical pairs with infrared-visible weights), or ``none`` (medical weights).
        """
        fused = self.fuse_features(*self.encode_sums(visible, infrared, extent), extent)
        return self.decode(*fused, select_residual(residual, visible, infrared), extent)

    __call__ = fuse

    def fuse_with_features(
        self,
        visible: Float[AnyArray, "n h w {self.channels}"],
        infrared: Float[AnyArray, "n h w {self.channels}"],
        residual: Residual = "visible",
    ) -> Fusion:
        """Like `fuse`, with the features on the way: what losses and pictures are made of."""
        base, detail, shallow = self.encode(jnp.concatenate([visible, infrared]))
        fused = self.fuse_features(sum_of_halves(base), sum_of_halves(detail))
        image = self.decode(*fused, select_residual(residual, visible, infrared))
        return Fusion(base, detail, shallow, *fused, image)

    def encode_sums(
        self,
        visible: Float[AnyArray, "n h w {self.channels}"],
        infrared: Float[AnyArray, "n h w {self.channels}"],
        extent: Extent = WHOLE,
    ) -> tuple[Float[AnyArray, "n h w {self.features}"], Float[AnyArray, "n h w {self.features}"]]:
        """Return base and detail features, each summed over both modalities.

        In the form that suits the platform that the program is lowered for.
        """
        if self.is_initializing():
            return self.encode(visible, extent)[:2]
        encoder = self.encoder.clone(parent=None, name=None)
        params = self.encoder.variables["params"]
        return encode_sums(encoder, params, visible, infrared, extent)


def select_residual(
    residual: Residual,
    visible: Float[AnyArray, "n h w channels"],
    infrared: Float[AnyArray, "n h w channels"],
) -> Float[AnyArray, "n h w channels"] | None:
    """Return the image that the decoder adds when it fuses."""
    if residual not in RESIDUALS:
        raise ValueError(f"residual must be one of {', '.join(RESIDUALS)}, got {residual!r}")
    if residual == "sum":
        return visible + infrared
    return visible if residual == "visible" else None
