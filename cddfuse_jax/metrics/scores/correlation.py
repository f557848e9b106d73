"""Scores by Pearson correlation r between the fused image and its sources: CC, SCD."""

import numpy as np

from cddfuse_jax.metrics.record import Plane, metric


@metric(
    "CC",
    unit="-1 to 1",
    measures="mean linear correlation with the sources",
    source="Pearson's r, as in the CDDFuse release",
    protocols=("release", "corrected", "tang", "ivif_zoo"),
)
def correlation(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """CC: (r(fused, visible) + r(fused, infrared))/2, -1 to 1.

    The correlation with a flat image is defined as 0 (the release: NaN).
    """
    return (pearson(fused, visible) + pearson(fused, infrared)) / 2


@metric(
    "SCD",
    unit="sum of 2",
    measures="what each source added to the other, found in the sources",
    source="Aslantas and Bendes 2015",
    protocols=("release", "corrected", "tang", "ivif_zoo"),
)
def sum_of_correlations_of_differences(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """SCD: r(fused - infrared, visible) + r(fused - visible, infrared), -2 to 2.

    A correlation in which either side is flat is defined as 0 (the release: NaN); so an image
    that merely copies one source gets nothing for the other.
    """
    return pearson(fused - infrared, visible) + pearson(fused - visible, infrared)


def pearson(first: Plane, second: Plane) -> float:
    """Return the linear correlation of two images, 0 where either is flat."""
    # Flatness is tested on values: a mean of equal values may be off by a rounding, and then the
    # quotient of two rounding errors would pass for a correlation.
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    first, second = (x - x.mean() for x in (first, second))
    return (first * second).sum() / np.sqrt((first * first).sum() * (second * second).sum())
