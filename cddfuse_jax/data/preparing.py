"""A pair as training reads it."""

import numpy as np
from jaxtyping import Float

from cddfuse_jax.images import levels
from cddfuse_jax.pairs.read import ImagePair


def prepared(images: ImagePair) -> tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
    """Return (visible, infrared) in [0, 1], of 8-bit files as the release prepares them.

    Visible is luma, not rounded; infrared is what is fused: grey rounded to 8 bits of an 8-bit
    file, luma at full depth of a deeper one.
    """
    return levels.luma(images.visible.pixels), levels.network_input(images.infrared.pixels)
