"""CDDFuse: a shared encoder, two fusion layers and a decoder."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from cddfuse_jax.models.convolutions import Border, conv1x1, conv3x3, whole_image
from cddfuse_jax.models.inn import DetailFeatureExtraction
from cddfuse_jax.models.kernels import kernel
from cddfuse_jax.models.lite_transformer import BaseFeatureExtraction
from cddfuse_jax.models.options import RESIDUALS, Residual
from cddfuse_jax.models.precision import summing_dtype
from cddfuse_jax.models.restormer import RestormerBlocks, transposed_attention

MODULES = ("encoder", "decoder", "base_fusion", "detail_fusion")


class Encoder(nn.Module):
    """An image to its base, detail and shallow features; one encoder serves both modalities."""

    features: int
    heads: int
    blocks: int
    coupling_layers: int
    remat: bool
    border: Border = whole_image
    attend: Callable = transposed_attention

    @nn.compact
    def __call__(self, image: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Map (n, h, w, channels) in [0, 1] to (base, detail, shallow): (n, h, w, features)."""
        shape = (3, 3, image.shape[-1], self.features)
        x = conv3x3(image, kernel(self, "patch_embed", shape, image))
        hooks = (self.border, self.attend)
        blocks = RestormerBlocks(self.blocks, self.heads, self.remat, *hooks, name="blocks")
        base = BaseFeatureExtraction(self.heads, *hooks, name="base")
        detail = DetailFeatureExtraction(
            self.coupling_layers, self.features, self.border, name="detail"
        )
        shallow = blocks(x)
        return base(shallow), detail(shallow), shallow


class Decoder(nn.Module):
    """Base and detail features back to an image."""

    channels: int
    heads: int
    blocks: int
    remat: bool
    border: Border = whole_image
    attend: Callable = transposed_attention

    @nn.compact
    def __call__(self, base, detail, residual: jax.Array | None) -> jax.Array:
        """Map two (n, h, w, features) to (n, h, w, channels) in (0, 1), float32 or wider.

        ``residual``, (n, h, w, channels) or None, is added before the sigmoid.
        """
        c = base.shape[-1]
        reduce_channel = kernel(self, "reduce_channel", (2 * c, c), base)
        output1 = kernel(self, "output1", (3, 3, c, c // 2), base)
        output2 = kernel(self, "output2", (3, 3, c // 2, self.channels), base)
        x = conv1x1(jnp.concatenate([base, detail], -1), reduce_channel)
        hooks = (self.border, self.attend)
        x = RestormerBlocks(self.blocks, self.heads, self.remat, *hooks, name="blocks")(x)
        x = nn.leaky_relu(conv3x3(self.border(x), output1), 0.01)
        x = conv3x3(self.border(x), output2).astype(summing_dtype(x))
        return nn.sigmoid(x if residual is None else x + residual)


class CDDFuse(nn.Module):
    """The network of the release (Zhao et al., CVPR 2023); its sizes are the defaults.

    Call its methods through ``apply``::

        model = CDDFuse()
        variables = {"params": params}
        base, detail, shallow = model.apply(variables, image, method="encode")
        image = model.apply(variables, image, method="reconstruct")
        fused = model.apply(variables, visible, infrared, residual="visible", method="fuse")

    Images are (n, h, w, channels), float, in [0, 1], with h and w at least 2.

    Attributes:
        features: channels of every feature map; even, and a multiple of ``heads``.
        heads: attention heads.
        blocks: RestormerBlocks in the encoder, and as many in the decoder.
        channels: channels of an image.
        coupling_layers: coupling layers in the encoder's detail branch; the fusion layer has one.
        remat: recompute blocks in the backward pass instead of storing what they computed.
        border: called before every 3x3 convolution, see `whole_image`; one that masks lets an image
            lie in a larger array.
        attend: attention between channels, `transposed_attention` or one that leaves pixels out.
        dtype: of features, such as bfloat16; None for that of the images. Params, sums over pixels
            and decoded images stay in float32 or wider.
    """

    features: int = 64
    heads: int = 8
    blocks: int = 4
    channels: int = 1
    coupling_layers: int = 3
    remat: bool = True
    border: Border = whole_image
    attend: Callable = transposed_attention
    dtype: Any = None

    def setup(self):  # noqa: D102
        if self.features % self.heads or self.features % 2:
            raise ValueError(
                f"features must be even and a multiple of heads, "
                f"got features={self.features}, heads={self.heads}"
            )
        hooks = {"border": self.border, "attend": self.attend}
        common = {"heads": self.heads, "blocks": self.blocks, "remat": self.remat, **hooks}
        self.encoder = Encoder(
            features=self.features, coupling_layers=self.coupling_layers, **common
        )
        self.decoder = Decoder(channels=self.channels, **common)
        self.base_fusion = BaseFeatureExtraction(self.heads, **hooks)
        self.detail_fusion = DetailFeatureExtraction(1, self.features, self.border)

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

    def encode(self, image: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Return the image's (base, detail, shallow) features, (n, h, w, features) each."""
        return self.encoder(image if self.dtype is None else image.astype(self.dtype))

    def fuse_features(self, base, detail) -> tuple[jax.Array, jax.Array]:
        """Fuse base and detail features, each the sum over both modalities."""
        return self.base_fusion(base), self.detail_fusion(detail)

    def decode(self, base, detail, residual: jax.Array | None) -> jax.Array:
        """Decode features to an image in (0, 1); ``residual`` is added before the sigmoid."""
        return self.decoder(base, detail, residual)

    def reconstruct(self, image: jax.Array, residual: bool = True) -> jax.Array:
        """Encode and decode one modality; ``residual`` tells whether the decoder adds the image."""
        base, detail, _ = self.encode(image)
        return self.decode(base, detail, image if residual else None)

    def fuse(
        self, visible: jax.Array, infrared: jax.Array, residual: Residual = "visible"
    ) -> jax.Array:
        """Fuse a visible and an infrared image of one shape to an image in (0, 1).

        ``residual`` is what the decoder adds: the visible image, ``sum`` of both (the release's
        way to fuse medical pairs with infrared-visible weights), or ``none`` (medical weights).
        """
        fused = self.fuse_features(*self._encode_sums(visible, infrared))
        return self.decode(*fused, select_residual(residual, visible, infrared))

    __call__ = fuse

    def _encode_sums(self, visible, infrared) -> tuple[jax.Array, jax.Array]:
        """Return base and detail features, each summed over both modalities."""
        if self.is_initializing() or jax.default_backend() != "cpu":
            base, detail, _ = self.encode(jnp.concatenate([visible, infrared]))
            return tuple(sum(jnp.split(feature, 2)) for feature in (base, detail))
        # One after the other: 40 % less memory, and more of it in the cache.
        model, variables = self.clone(parent=None), {"params": self.variables["params"]}

        def add(sums, image):
            base, detail, _ = model.apply(variables, image, method="encode")
            return (sums[0] + base, sums[1] + detail), None

        zeros = jnp.zeros((*visible.shape[:3], self.features), self.dtype or visible.dtype)
        return lax.scan(add, (zeros, zeros), jnp.stack([visible, infrared]))[0]


def select_residual(residual: Residual, visible, infrared) -> jax.Array | None:
    """Return the image that the decoder adds when it fuses."""
    if residual not in RESIDUALS:
        raise ValueError(f"residual must be one of {', '.join(RESIDUALS)}, got {residual!r}")
    return {"visible": visible, "sum": visible + infrared, "none": None}[residual]
