"""Scores by correlation between the fused image and its sources: CC, SCD, NCIE, QNCIE."""

import numpy as np

from cddfuse_jax.metrics.record import Plane, metric
from cddfuse_jax.metrics.scores.information import (
    LEVELS,
    entropy_of,
    grey_levels,
    stretched_levels,
)
from cddfuse_jax.metrics.shapes import Float


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
    return (_pearson(fused, visible) + _pearson(fused, infrared)) / 2


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
    return _pearson(fused - infrared, visible) + _pearson(fused - visible, infrared)


@metric(
    "NCIE",
    unit="0 to 1",
    measures="nonlinear correlation of the fused image and both sources",
    source="Wang et al. 2005, on images stretched to 0-255 as in Liu et al. 2012",
    protocols=("papers",),
)
def nonlinear_correlation_information_entropy(
    fused: Plane, visible: Plane, infrared: Plane
) -> float:
    """NCIE, 0 to 1: 1 + sum (l/3) log_256(l/3) over the eigenvalues l of the 3x3 matrix of NCC.

    NCC(x, y) = H(x) + H(y) - H(x, y) with logarithms to the base 256, 1 on the diagonal; levels
    are those of the images stretched to 0-255. With nothing in common the score is
    1 - log_256(3) = 0.802.
    """
    levels = [grey_levels(stretched_levels(x)) for x in (visible, infrared, fused)]
    own = [entropy_of(np.bincount(x, minlength=LEVELS)) for x in levels]
    matrix = np.eye(3)
    for i in range(3):
        for j in range(i):
            joint = entropy_of(np.bincount(levels[i] * LEVELS + levels[j], minlength=LEVELS**2))
            matrix[i, j] = matrix[j, i] = (own[i] + own[j] - joint) / np.log(LEVELS)
    return _information_of(matrix)


@metric(
    "QNCIE",
    unit="0.8 to 1",
    measures="linear correlation of the fused image and both sources",
    source="as in IVIF_ZOO",
    protocols=("ivif_zoo",),
)
def linear_correlation_information_entropy(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """QNCIE: NCIE's formula with Pearson's r in place of the nonlinear correlation."""
    images = (visible, infrared, fused)
    matrix = [[1.0 if a is b else _pearson(a, b) for a in images] for b in images]
    return _information_of(np.array(matrix))


def _pearson(first: Plane, second: Plane) -> float:
    """Return the linear correlation of two images, 0 where either is flat."""
    # Flatness is tested on values: a mean of equal values may be off by a rounding, and then the
    # quotient of two rounding errors would pass for a correlation.
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    first, second = (x - x.mean() for x in (first, second))
    return (first * second).sum() / np.sqrt((first * first).sum() * (second * second).sum())


def _information_of(matrix: Float[np.ndarray, "3 3"]) -> float:
    values = np.linalg.eigvalsh(matrix) / 3
    values = values[values > 0]
    return 1 + (values * np.log(values)).sum() / np.log(LEVELS)
