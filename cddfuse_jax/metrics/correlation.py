"""Scores by Pearson correlation r between the fused image and its sources: CC, SCD."""

import numpy as np

from cddfuse_jax.metrics.signature import of_three_images


@of_three_images
def correlation(fused, infrared, visible):
    """CC: (r(fused, infrared) + r(fused, visible))/2, -1 to 1.

    The correlation with a flat image is defined as 0 (the release: NaN).
    """
    return (_pearson(fused, infrared) + _pearson(fused, visible)) / 2


@of_three_images
def sum_of_correlations_of_differences(fused, infrared, visible):
    """SCD: r(fused - visible, infrared) + r(fused - infrared, visible), -2 to 2.

    A correlation in which either side is flat is defined as 0 (the release: NaN); so an image
    that merely copies one source gets nothing for the other.
    """
    fused, infrared, visible = (x.astype(np.float64) for x in (fused, infrared, visible))
    return _pearson(fused - visible, infrared) + _pearson(fused - infrared, visible)


def _pearson(first: np.ndarray, second: np.ndarray) -> float:
    # Flat is asked of the values: a mean of equal values may be off by a rounding, and then the
    # quotient of two rounding errors would pass for a correlation.
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    first, second = (x - x.mean(dtype=np.float64) for x in (first, second))
    return (first * second).sum() / np.sqrt((first * first).sum() * (second * second).sum())
