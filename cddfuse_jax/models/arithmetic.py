"""How much arithmetic the network needs, in multiply-adds of products and convolutions."""

from typing import NamedTuple

from cddfuse_jax.models.cddfuse import CDDFuse


class MultiplyAdds(NamedTuple):
    """Multiply-adds per pixel.

    Attributes:
        encode: of one image to its features.
        fuse_features: of the sums over both modalities.
        decode: of features to one image.
    """

    encode: int
    fuse_features: int
    decode: int

    @property
    def fuse(self) -> int:
        """Of a pair, to the fused image."""
        return 2 * self.encode + self.fuse_features + self.decode

    @property
    def reconstruct_both(self) -> int:
        """Of a pair, each image to its reconstruction."""
        return 2 * (self.encode + self.decode)


def multiply_adds(model: CDDFuse, in_products: bool = False) -> MultiplyAdds:
    """Count the multiply-adds per pixel that ``model`` needs.

    The base branch's 1x1 and 3x3 count as the one 3x3 that they are. ``in_products`` counts what a
    program does in matrix products and dense convolutions instead: the products of all channels of
    q and k, of which attention needs those within a head; twice the 1x1 before a grouped
    convolution; and no depthwise convolution, which is a sum of shifted images.
    """
    c, image = model.features, model.channels
    gram = c * c if in_products else c * c // model.heads
    taps = 0 if in_products else 9 * c  # a depthwise 3x3 of c channels
    attention = gram + c * c  # q with k; v with attention and projection, which are one
    mdta = 3 * c * c + 3 * taps + attention
    gdfn = 4 * c * c + 4 * taps + 2 * c * c
    grouped = (2 if in_products else 1) * 2 * c * c + 4 * taps + c * c
    base = 9 * c * 3 * c + attention + grouped
    residual = c // 2 * c + taps + c * (c // 2)
    coupling = c * c + 3 * residual
    blocks = model.blocks * (mdta + gdfn)
    encode = 9 * image * c + blocks + base + model.coupling_layers * coupling
    decode = 2 * c * c + blocks + 9 * c * (c // 2) + 9 * (c // 2) * image
    return MultiplyAdds(encode, base + coupling, decode)


def update_flops(model: CDDFuse, stage: str, pixels: int) -> float:
    """Return the flops that an update on ``pixels`` pixels of pairs needs, of stage ``stage``.

    Twice the multiply-adds of the forward pass, and the backward pass as twice that: what model
    flops utilisation is counted by. Recomputation does not count.
    """
    counted = multiply_adds(model)
    forward = counted.fuse if stage == "fusion" else counted.reconstruct_both
    return 3 * 2.0 * forward * pixels
