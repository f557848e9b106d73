"""CDDFuse: a shared encoder, two fusion layers and a decoder."""

import functools
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from cddfuse_jax.errors import InputError
from cddfuse_jax.models import RESIDUALS, Residual
from cddfuse_jax.models.branches import base_branch, detail_branch
from cddfuse_jax.models.convolutions import AnyArray, conv1x1, summing_dtype, torch_uniform
from cddfuse_jax.models.derivatives import by_platform
from cddfuse_jax.models.extent import Extent, current, of_arrays
from cddfuse_jax.models.layers import conv3x3
from cddfuse_jax.models.pieces import module_in_pieces
from cddfuse_jax.models.restormer import RestormerBlocks

MODULES = ("encoder", "decoder", "base_fusion", "detail_fusion")


class Encoder(nn.Module):
    """An image to its base, detail and shallow features; one encoder serves both modalities."""

    channels: int
    features: int
    heads: int
    depth: int
    coupling_layers: int
    remat: bool
    piece: int = 0
    dtype: Any = None
    own_base: str = ""
    own_detail: str = ""

    def setup(self):  # noqa: D102
        shape = (3, 3, self.channels, self.features)
        self.patch_embed = self.param("patch_embed", torch_uniform, shape)
        self.blocks = RestormerBlocks(self.depth, self.heads, self.remat, self.piece)
        self.base = base_branch(self.own_base, self.features, self.heads)
        self.detail = detail_branch(
            self.own_detail, self.features, self.coupling_layers, self.remat, self.piece
        )

    def __call__(
        self, image: Float[AnyArray, "n h w {self.channels}"]
    ) -> tuple[
        Float[AnyArray, "n h w {self.features}"],
        Float[AnyArray, "n h w {self.features}"],
        Float[AnyArray, "n h w {self.features}"],
    ]:
        """Map images in [0, 1] to (base, detail, shallow)."""
        if image.ndim != 4 or image.shape[-1] != self.channels:
            raise InputError(
                f"images are (n, h, w, {self.channels}), got shape {image.shape}; a grey image is "
                "image[None, :, :, None]"
            )
        shallow = self.blocks(self.embed(image))
        base = module_in_pieces(self.base, shallow, self.piece)
        return base, self.detail(shallow), shallow

    def embed(
        self, image: Float[AnyArray, "n h w {self.channels}"]
    ) -> Float[AnyArray, "n h w {self.features}"]:
        """Map images to features of their type."""
        image = image if self.dtype is None else image.astype(self.dtype)
        return conv3x3(image, self.patch_embed.astype(image.dtype))


class Decoder(nn.Module):
    """Base and detail features back to an image."""

    channels: int
    features: int
    heads: int
    depth: int
    remat: bool
    piece: int = 0

    def setup(self):  # noqa: D102
        c = self.features
        self.reduce_channel = self.param("reduce_channel", torch_uniform, (2 * c, c))
        self.output1 = self.param("output1", torch_uniform, (3, 3, c, c // 2))
        self.output2 = self.param("output2", torch_uniform, (3, 3, c // 2, self.channels))
        self.blocks = RestormerBlocks(self.depth, self.heads, self.remat, self.piece)

    def __call__(
        self,
        base: Float[AnyArray, "n h w {self.features}"],
        detail: Float[AnyArray, "n h w {self.features}"],
        residual: Float[AnyArray, "n h w {self.channels}"] | None,
    ) -> Float[AnyArray, "n h w {self.channels}"]:
        """Map features to images in (0, 1), float32 or wider.

        ``residual`` is added before the sigmoid.
        """
        x = self.blocks(self.join(base, detail))
        return self.image(x, residual)

    def join(
        self,
        base: Float[AnyArray, "n h w {self.features}"],
        detail: Float[AnyArray, "n h w {self.features}"],
    ) -> Float[AnyArray, "n h w {self.features}"]:
        """Make one feature map of two."""
        return conv1x1(jnp.concatenate([base, detail], -1), self.reduce_channel.astype(base.dtype))

    def image(
        self,
        x: Float[AnyArray, "n h w {self.features}"],
        residual: Float[AnyArray, "n h w {self.channels}"] | None,
    ) -> Float[AnyArray, "n h w {self.channels}"]:
        """Map joined features to images in (0, 1), as `__call__`."""
        output1, output2 = (kernel.astype(x.dtype) for kernel in (self.output1, self.output2))
        x = nn.leaky_relu(conv3x3(x, output1), 0.01)
        x = conv3x3(x, output2).astype(summing_dtype(x))
        return nn.sigmoid(x if residual is None else x + residual)


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

    Images are in [0, 1], with h and w at least 2.

    Attributes:
        features: channels of every feature map; even, and a multiple of ``heads``.
        heads: attention heads.
        blocks: RestormerBlocks in the encoder, and as many in the decoder.
        channels: channels of an image.
        coupling_layers: coupling layers in the encoder's detail branch; the fusion layer has one.
        remat: recompute blocks in the backward pass instead of storing what they computed.
        piece: images that a block computes at a time, for TPUs (docs/pods.md); 0 for the batch.
        dtype: of features, such as bfloat16; None for that of the images. Params, sums over pixels
            and decoded images stay in float32 or wider.
        base: a base branch of one's own, as "MODULE:CLASS", see `branches.own_branch`; "" for the
            release's.
        detail: a detail branch of one's own, likewise.
    """

    features: int = 64
    heads: int = 8
    blocks: int = 4
    channels: int = 1
    coupling_layers: int = 3
    remat: bool = True
    piece: int = 0
    dtype: Any = None
    base: str = ""
    detail: str = ""

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
            "piece": self.piece,
        }
        self.encoder = Encoder(
            **sizes,
            coupling_layers=self.coupling_layers,
            dtype=self.dtype,
            own_base=self.base,
            own_detail=self.detail,
        )
        self.decoder = Decoder(**sizes)
        self.base_fusion = base_branch(self.base, self.features, self.heads)
        self.detail_fusion = detail_branch(self.detail, self.features, 1, self.remat, self.piece)

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
        self, image: Float[AnyArray, "n h w {self.channels}"]
    ) -> tuple[
        Float[AnyArray, "n h w {self.features}"],
        Float[AnyArray, "n h w {self.features}"],
        Float[AnyArray, "n h w {self.features}"],
    ]:
        """Return the image's (base, detail, shallow) features."""
        return self.encoder(image)

    def fuse_features(
        self,
        base: Float[AnyArray, "n h w {self.features}"],
        detail: Float[AnyArray, "n h w {self.features}"],
    ) -> tuple[Float[AnyArray, "n h w {self.features}"], Float[AnyArray, "n h w {self.features}"]]:
        """Fuse base and detail features, each the sum over both modalities."""
        return module_in_pieces(self.base_fusion, base, self.piece), self.detail_fusion(detail)

    def decode(
        self,
        base: Float[AnyArray, "n h w {self.features}"],
        detail: Float[AnyArray, "n h w {self.features}"],
        residual: Float[AnyArray, "n h w {self.channels}"] | None,
    ) -> Float[AnyArray, "n h w {self.channels}"]:
        """Decode features to an image in (0, 1); ``residual`` is added before the sigmoid."""
        return self.decoder(base, detail, residual)

    def reconstruct(
        self, image: Float[AnyArray, "n h w {self.channels}"], residual: bool = True
    ) -> Float[AnyArray, "n h w {self.channels}"]:
        """Encode and decode one modality; ``residual`` says whether the decoder adds the image."""
        base, detail, _ = self.encode(image)
        return self.decode(base, detail, image if residual else None)

    def fuse(
        self,
        visible: Float[AnyArray, "n h w {self.channels}"],
        infrared: Float[AnyArray, "n h w {self.channels}"],
        residual: Residual = "visible",
    ) -> Float[AnyArray, "n h w {self.channels}"]:
        """Fuse a visible and an infrared image to an image in (0, 1).

        ``residual`` is what the decoder adds: the visible image, ``sum`` of both (the release's
        way to fuse medical pairs with infrared-visible weights), or ``none`` (medical weights).
        """
        fused = self.fuse_features(*self.encode_sums(visible, infrared))
        return self.decode(*fused, select_residual(residual, visible, infrared))

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
    ) -> tuple[Float[AnyArray, "n h w {self.features}"], Float[AnyArray, "n h w {self.features}"]]:
        """Return base and detail features, each summed over both modalities."""
        if self.is_initializing():
            return self.encode(visible)[:2]
        encoder = self.encoder.clone(parent=None, name=None)
        params = self.encoder.variables["params"]
        return _encode_sums(encoder, params, visible, infrared, current())


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


def _encode_sums(
    encoder: Encoder,
    params,
    visible: Float[AnyArray, "n h w {encoder.channels}"],
    infrared: Float[AnyArray, "n h w {encoder.channels}"],
    extent: Extent,
) -> tuple[Float[Array, "n h w {encoder.features}"], Float[Array, "n h w {encoder.features}"]]:
    """Return base and detail features, each summed over both modalities, in the platform's form."""
    # On CPUs one after the other takes 40 % less memory, and more of it is in the cache.
    return by_platform(
        params, visible, infrared, extent,
        cpu=functools.partial(_one_after_the_other, encoder),
        default=functools.partial(_both_at_once, encoder),
    )  # fmt: skip


def _both_at_once(encoder, params, visible, infrared, extent):
    with of_arrays(extent):
        images = jnp.concatenate([visible, infrared])
        base, detail, _ = encoder.apply({"params": params}, images)
    return sum_of_halves(base), sum_of_halves(detail)


def _one_after_the_other(encoder, params, visible, infrared, extent):
    def add(sums, image):
        with of_arrays(extent):
            base, detail, _ = encoder.apply({"params": params}, image)
        return (sums[0] + base, sums[1] + detail), None

    zeros = jnp.zeros((*visible.shape[:3], encoder.features), encoder.dtype or visible.dtype)
    return lax.scan(add, (zeros, zeros), jnp.stack([visible, infrared]))[0]


def sum_of_halves(features: Float[AnyArray, "n h w c"]) -> Float[AnyArray, "n//2 h w c"]:
    """Add the second half of a batch, the infrared images' features, to the first."""
    first, second = jnp.split(features, 2)
    return first + second
