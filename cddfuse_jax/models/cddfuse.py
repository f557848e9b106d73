"""CDDFuse: a shared encoder, two fusion layers and a decoder."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Float

from cddfuse_jax.models import RESIDUALS, Residual
from cddfuse_jax.models.base import BaseFeatureExtraction
from cddfuse_jax.models.branches import part
from cddfuse_jax.models.decoder import Decoder
from cddfuse_jax.models.derivatives import AnyMap, by_platform
from cddfuse_jax.models.detail import DetailFeatureExtraction
from cddfuse_jax.models.encoder import Encoder
from cddfuse_jax.models.extent import current, of_arrays

MODULES = ("encoder", "decoder", "base_fusion", "detail_fusion")


class Sum(nn.Module):
    """The fusion rule of the paper."""

    def __call__(
        self, visible: Float[AnyMap, "n h w c"], infrared: Float[AnyMap, "n h w c"]
    ) -> Float[AnyMap, "n h w c"]:
        """Add the features of both modalities."""
        return visible + infrared


class FusionLayer(nn.Module):
    """Features of both modalities, base or detail, to fused ones: the fusion rule, then a branch.

    The params are those of the branch, and ``merge``, where a custom rule has some.
    """

    branch: Callable[[], nn.Module]
    rule: Callable[[], nn.Module]

    def setup(self):  # noqa: D102
        self.merge = self.rule()
        self.layer = self.branch()
        nn.share_scope(self, self.layer)

    def __call__(
        self, visible: Float[AnyMap, "n h w c"], infrared: Float[AnyMap, "n h w c"]
    ) -> Float[AnyMap, "n h w c"]:
        """Fuse."""
        return self.layer(self.merge(visible, infrared))


class Fusion(NamedTuple):
    """A fused pair, in (0, 1), and all features on the way, of both modalities: first n visible."""

    base: Float[AnyMap, "2*n h w features"]
    detail: Float[AnyMap, "2*n h w features"]
    shallow: Float[AnyMap, "2*n h w features"]
    fused_base: Float[AnyMap, "n h w features"]
    fused_detail: Float[AnyMap, "n h w features"]
    image: Float[AnyMap, "n h w channels"]


class CDDFuse(nn.Module):
    """The network of the release (Zhao et al., CVPR 2023); its sizes are the defaults.

    Call its methods through ``apply``::

        model = CDDFuse()
        variables = {"params": params}
        base, detail, shallow = model.apply(variables, image, method="encode")
        image = model.apply(variables, image, method="reconstruct")
        fused = model.apply(variables, visible, infrared, residual="visible", method="fuse")

    Images are in [0, 1], with h and w at least 2.

    Attributes:
        features: channels of every feature map; even, and a multiple of ``heads``.
        heads: attention heads.
        blocks: RestormerBlocks in the encoder, and as many in the decoder.
        channels: channels of an image.
        coupling_layers: coupling layers in the encoder's detail branch; the fusion layer has one.
        remat: recompute blocks in the backward pass instead of storing what they computed.
        dtype: of features, such as bfloat16; None for that of the images. Params, sums over pixels
            and decoded images stay in float32 or wider.
        block: a custom block in place of each RestormerBlock, as "MODULE:CLASS" or "FILE.py:CLASS"
            (`custom_code.load`); "" for the release's.
        base: a custom base branch, in the encoder and in the fusion layer.
        detail: a custom detail branch, in both too.
        merge: a custom fusion rule in place of `Sum`, for base and for detail features: a module or
            a function of the visible and of the infrared features.
    """

    features: int = 64
    heads: int = 8
    blocks: int = 4
    channels: int = 1
    coupling_layers: int = 3
    remat: bool = True
    dtype: Any = None
    block: str = ""
    base: str = ""
    detail: str = ""
    merge: str = ""

    def setup(self):  # noqa: D102
        if self.features % self.heads or self.features % 2:
            raise ValueError(
                f"features must be even and a multiple of heads, "
                f"got features={self.features}, heads={self.heads}"
            )
        sizes = {"heads": self.heads, "remat": self.remat}
        both = sizes | {
            "channels": self.channels, "depth": self.blocks, "custom_block": self.block
        }  # fmt: skip
        self.encoder = Encoder(
            **both,
            features=self.features,
            coupling_layers=self.coupling_layers,
            dtype=self.dtype,
            custom_base=self.base,
            custom_detail=self.detail,
        )
        self.decoder = Decoder(**both)
        make = functools.partial(part, features=self.features, **sizes)
        rule = functools.partial(make, self.merge, Sum)
        base = functools.partial(make, self.base, BaseFeatureExtraction)
        detail = functools.partial(make, self.detail, DetailFeatureExtraction, layers=1)
        self.base_fusion = FusionLayer(base, rule)
        self.detail_fusion = FusionLayer(detail, rule)

    @classmethod
    def from_params(cls, params: Any, **options) -> "CDDFuse":
        """Return the release's network in the sizes of ``params``."""
        encoder = params["encoder"]
        channels, features = encoder["patch_embed"].shape[2:]
        return cls(
            features=features,
            heads=encoder["blocks"]["0"]["attn"]["temperature"].shape[0],
            blocks=len(encoder["blocks"]),
            channels=channels,
            coupling_layers=len(encoder["detail"]),
            **options,
        )

    def encode(
        self, image: Float[AnyMap, "n h w {self.channels}"]
    ) -> tuple[
        Float[AnyMap, "n h w {self.features}"],
        Float[AnyMap, "n h w {self.features}"],
        Float[AnyMap, "n h w {self.features}"],
    ]:
        """Return the image's (base, detail, shallow) features."""
        return self.encoder(image)

    def fuse_features(
        self, visible: Sequence[AnyMap], infrared: Sequence[AnyMap]
    ) -> tuple[Float[AnyMap, "n h w {self.features}"], Float[AnyMap, "n h w {self.features}"]]:
        """Fuse what `encode` returned for two images: base, then detail features."""
        return (
            self.base_fusion(visible[0], infrared[0]),
            self.detail_fusion(visible[1], infrared[1]),
        )

    def decode(
        self,
        base: Float[AnyMap, "n h w {self.features}"],
        detail: Float[AnyMap, "n h w {self.features}"],
        residual: Float[AnyMap, "n h w {self.channels}"] | None,
    ) -> Float[AnyMap, "n h w {self.channels}"]:
        """Decode features to an image in (0, 1); ``residual`` is added before the sigmoid."""
        return self.decoder(base, detail, residual)

    def reconstruct(
        self, image: Float[AnyMap, "n h w {self.channels}"], residual: bool = True
    ) -> Float[AnyMap, "n h w {self.channels}"]:
        """Encode and decode one modality; ``residual`` says whether the decoder adds the image."""
        base, detail, _ = self.encode(image)
        return self.decode(base, detail, image if residual else None)

    def fuse(
        self,
        visible: Float[AnyMap, "n h w {self.channels}"],
        infrared: Float[AnyMap, "n h w {self.channels}"],
        residual: Residual = "visible",
    ) -> Float[AnyMap, "n h w {self.channels}"]:
        """Fuse a visible and an infrared image to an image in (0, 1).

        ``residual`` is what the decoder adds: the visible image, ``sum`` of both (the release's
        way to fuse medical pairs with infrared-visible weights), or ``none`` (medical weights).
        """
        fused = self.fuse_features(*self.encode_pair(visible, infrared))
        return self.decode(*fused, select_residual(residual, visible, infrared))

    __call__ = fuse

    def fuse_with_features(
        self,
        visible: Float[AnyMap, "n h w {self.channels}"],
        infrared: Float[AnyMap, "n h w {self.channels}"],
        residual: Residual = "visible",
    ) -> Fusion:
        """Like `fuse`, with the features on the way: what losses and pictures are made of."""
        base, detail, shallow = self.encode(jnp.concatenate([visible, infrared]))
        fused = self.fuse_features(*zip(jnp.split(base, 2), jnp.split(detail, 2), strict=True))
        image = self.decode(*fused, select_residual(residual, visible, infrared))
        return Fusion(base, detail, shallow, *fused, image)

    def encode_pair(
        self,
        visible: Float[AnyMap, "n h w {self.channels}"],
        infrared: Float[AnyMap, "n h w {self.channels}"],
    ) -> tuple[Sequence[AnyMap], Sequence[AnyMap]]:
        """Return the (base, detail) features of both images."""
        if self.is_initializing():
            return (self.encode(visible)[:2],) * 2
        encoder = self.encoder.clone(parent=None, name=None)
        variables, extent = self.encoder.variables, current()

        def encode(images):
            with of_arrays(extent):
                return encoder.apply(variables, images)[:2]

        def at_once(visible, infrared):
            features = encode(jnp.concatenate([visible, infrared]))
            return [jnp.split(each, 2) for each in features]

        def one_by_one(visible, infrared):  # takes less memory, and more of it is in caches
            return [list(each) for each in lax.map(encode, jnp.stack([visible, infrared]))]

        base, detail = by_platform(visible, infrared, cpu=one_by_one, default=at_once)
        return (base[0], detail[0]), (base[1], detail[1])


def select_residual(
    residual: Residual,
    visible: Float[AnyMap, "n h w channels"],
    infrared: Float[AnyMap, "n h w channels"],
) -> Float[AnyMap, "n h w channels"] | None:
    """Return the image that the decoder adds when it fuses."""
    if residual not in RESIDUALS:
        raise ValueError(f"residual must be one of {', '.join(RESIDUALS)}, got {residual!r}")
    if residual == "sum":
        return visible + infrared
    return visible if residual == "visible" else None
