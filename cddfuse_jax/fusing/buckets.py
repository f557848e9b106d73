"""Many image sizes in few compilations: an image fused inside a larger array, exactly.

`plan` chooses a few shapes, the buckets, for a folder's sizes. An image is padded to its bucket on
the right and below, and fused there by a function that is compiled once for the bucket and takes
where the image ends. Nothing that lies beyond is ever used: before each convolution it is zeroed
(zeros in the input alone would not do: LayerNorm makes its bias of them) or, in the detail branch,
holds what reflection would put there, and the sums of attention leave it out.
"""

import functools
import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from cddfuse_jax.models import Residual
from cddfuse_jax.models.cddfuse import CDDFuse
from cddfuse_jax.models.convolutions import AnyArray
from cddfuse_jax.models.extent import Corner, of_arrays

Size = tuple[int, int]  # height, width

MOST_SHAPES = 6
# Padding of fewer pixels in all costs less than compiling once more: on 2 cores, 4 s or 125,000
# pixels fused.
COMPILING_PIXELS = 100_000
MOST_FIRST_BUCKETS = 256


def plan(
    sizes: Iterable[Size], most: int = MOST_SHAPES, most_pixels: float = float("inf")
) -> dict[Size, Size]:
    """Choose the bucket of every size, so that there are few buckets and little padding.

    Each size begins as one bucket. The two whose common shape adds the fewest pixels over
    all their images become one, until there are ``most`` and the next merger would add more than
    compiling costs.

    Args:
        sizes: (height, width) of every image; repeated sizes weigh more.
        most: buckets that may remain. There are more only where ``most_pixels`` forbids to merge.
        most_pixels: of a bucket. Sizes above it are left out.

    Returns:
        Size -> the (height, width) of its bucket, for all sizes that share one. The others are
        their own, and need no padding.
    """
    counts = Counter(size for size in sizes if size[0] * size[1] <= most_pixels)
    heights, widths, images = _first_buckets(counts)
    while len(images) > 1:
        joint = np.maximum.outer(heights, heights) * np.maximum.outer(widths, widths)
        apart = images * heights * widths
        added = joint * np.add.outer(images, images) - np.add.outer(apart, apart)
        allowed = np.triu(joint <= most_pixels, 1)
        added = np.where(allowed, added, np.inf)
        first, second = np.unravel_index(np.argmin(added), added.shape)
        least = added[first, second]
        if least == np.inf or (len(images) <= most and least > COMPILING_PIXELS):
            break
        heights[first] = max(heights[first], heights[second])
        widths[first] = max(widths[first], widths[second])
        images[first] += images[second]
        heights, widths, images = (np.delete(x, second) for x in (heights, widths, images))
    shapes = [(int(height), int(width)) for height, width in zip(heights, widths, strict=True)]
    shapes.sort(key=math.prod)
    chosen = {
        (height, width): next(shape for shape in shapes if height <= shape[0] and width <= shape[1])
        for height, width in counts
    }
    sharing = Counter(chosen.values())
    return {size: shape for size, shape in chosen.items() if sharing[shape] > 1}


def _first_buckets(
    counts: Counter[Size],
) -> tuple[
    Float[np.ndarray, " buckets"], Float[np.ndarray, " buckets"], Float[np.ndarray, " buckets"]
]:
    """Return heights, widths and images of the buckets to merge: the sizes, if they are not many.

    Merging takes a time that grows with the cube of their number, so that of very many those near
    each other begin together.
    """
    step = 1
    while True:
        cells: dict[Size, list[int]] = {}
        for (height, width), count in counts.items():
            cell = cells.setdefault((-(-height // step), -(-width // step)), [0, 0, 0])
            cell[:] = max(cell[0], height), max(cell[1], width), cell[2] + count
        if len(cells) <= MOST_FIRST_BUCKETS:
            heights, widths, images = np.array(list(cells.values()), float).reshape(-1, 3).T
            return heights, widths, images
        step *= 2


def fuse_in_bucket(
    model: CDDFuse,
    variables,
    visible: Float[np.ndarray, "h w"],
    infrared: Float[np.ndarray, "h w"],
    residual: Residual,
    bucket: Size,
) -> Float[np.ndarray, "h w"]:
    """Fuse one pair as `CDDFuse.fuse` does, inside arrays of the bucket's shape.

    Each ``bucket``, (height, width) not below the images', is compiled once, whatever the sizes
    fused in it. The result is that without a bucket but for rounding.
    """
    height, width = visible.shape
    beyond = ((0, bucket[0] - height), (0, bucket[1] - width))
    images = (np.pad(image, beyond)[None, :, :, None] for image in (visible, infrared))
    extent = Corner(np.int32(height), np.int32(width))
    fused = _fuse(model, residual, variables, *images, extent)
    return np.asarray(fused)[0, :height, :width, 0]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _fuse(
    model: CDDFuse,
    residual: Residual,
    variables,
    visible: Float[AnyArray, "1 h w 1"],
    infrared: Float[AnyArray, "1 h w 1"],
    extent: Corner,
) -> Float[Array, "1 h w 1"]:
    with of_arrays(extent):
        fused: Any = model.apply(variables, visible, infrared, residual, method="fuse")
    return fused
