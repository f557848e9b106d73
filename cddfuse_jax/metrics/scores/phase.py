"""Qp: whether features of the sources, found by phase congruency, are in the fused image."""

import numpy as np

from cddfuse_jax.metrics.phase_congruency import phase_congruency
from cddfuse_jax.metrics.record import Plane, metric, refuse_smaller_than
from cddfuse_jax.metrics.windows import filtered, gaussian, moments_by

_FEATURE = 0.1  # phase congruency from which a pixel is one
_TAPS, _SIGMA = 11, 1.5
_TINY = 1e-4


@metric(
    "Qp",
    unit="about 0 to 1",
    measures="features of the sources, by phase congruency, that are kept",
    source="Zhao et al. 2007, with Kovesi's phase congruency as in Liu et al. 2012",
    protocols=("papers",),
)
def phase_congruency_preserved(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """Qp: product of three correlations: of phase congruency and of its two principal moments.

    Each is a sum over pixels, divided by the number of features (congruency of the stronger source
    above 0.1): of the largest of the local correlations of the fused image's map with those of
    visible, of infrared, and of the stronger source; a source's map is 0 where it has no feature.
    Windows are gaussian, 11 taps, sigma 1.5, zeros around. 0 where neither source has a feature.
    """
    refuse_smaller_than(_TAPS, fused, "Qp")
    own, first, second = (phase_congruency(image) for image in (fused, visible, infrared))
    stronger = first.congruency > second.congruency
    masks = [each.congruency > _FEATURE for each in (first, second)]
    masks.append(np.maximum(first.congruency, second.congruency) > _FEATURE)
    if not masks[2].any():
        return 0.0
    product = 1.0
    for ours, a, b in zip(own, first, second):
        maps = (a, b, np.where(stronger, a, b))
        found = [
            np.where(mask, _correlation(mask * theirs, ours), 0)
            for mask, theirs in zip(masks, maps)
        ]
        product *= np.max(found, axis=0).sum() / masks[2].sum()
    return product


def _correlation(first: Plane, second: Plane) -> Plane:
    """Local correlation; variances may come out below 0 by rounding, and count by their size."""
    window = gaussian(_TAPS, _SIGMA)
    *_, v1, v2, covariance = moments_by(lambda image: filtered(image, window), first, second)
    return (covariance + _TINY) / (np.sqrt(np.abs(v1 * v2)) + _TINY)
