"""Scores of the fused image alone, from its grey values and their differences: SD, SF, AG."""

import numpy as np

from cddfuse_jax.metrics.signature import of_three_images, refuse_smaller_than


@of_three_images
def standard_deviation(fused, infrared, visible):
    """SD, grey levels: population standard deviation of the fused image; flat: 0."""
    return fused.std(dtype=np.float64)


@of_three_images
def spatial_frequency(fused, infrared, visible):
    """SF, grey levels: sqrt(mean dx² + mean dy²) over neighbouring pixels; flat: 0.

    Each mean is over its own differences: H(W-1) of them across, (H-1)W down. An image one pixel
    wide or high has none in that direction, and they count as 0.
    """
    fused = fused.astype(np.float64)
    across, down = np.diff(fused, axis=1), np.diff(fused, axis=0)
    return np.sqrt(sum(np.mean(d * d) if d.size else 0.0 for d in (across, down)))


@of_three_images
def average_gradient(fused, infrared, visible):
    """AG, grey levels per pixel: mean of sqrt((gx² + gy²)/2); flat: 0.

    Differences are central inside and one-sided at the border.

    Raises:
        InputError: the image is smaller than 2x2.
    """
    refuse_smaller_than(2, fused, "AG")
    down, across = np.gradient(fused.astype(np.float64))
    return np.sqrt((across * across + down * down) / 2).mean()
