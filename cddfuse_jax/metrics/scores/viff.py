"""VIFF: visual information fidelity for fusion (Han et al., 2013)."""

import numpy as np

from cddfuse_jax.metrics.record import Plane, metric, refuse_smaller_than
from cddfuse_jax.metrics.scores.vif import SMALLEST, WINDOWS, channel
from cddfuse_jax.metrics.windows import fitting, gaussian

NOISE = 0.005 * 255 * 255  # variance of the visual noise, squared grey levels
WEIGHTS = (1 / 2.15, 0.0, 0.15 / 2.15, 1 / 2.15)  # of the scales
_TINY = 1e-7


@metric(
    "VIFF",
    unit="about 0 to 1; more where contrast was raised",
    measures="visual information of the source that is rendered worse, over its own",
    source="Han et al. 2013, as in the authors' VIFF_Public",
    protocols=("papers",),
)
def visual_information_fidelity_for_fusion(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """VIFF: weighted sum over four scales of distorted over undistorted information.

    Scales, windows, gain g = c/v1 and residue s as in VIF, noise n = 325.125. At every place the
    source with the smaller gain counts (infrared where they are equal): sum of
    log10(1 + g² v1/(s + n)) over sum of log10(1 + v1/n), 1e-7 added to each place of both. Weights
    1, 0, 0.15, 1 over 2.15. Two flat sources: 1.

    What CDDFuse's tables call VIF, and its program VIFF, is the sum of two plain VIF (`VIF`).
    """
    refuse_smaller_than(SMALLEST, fused, "VIFF")
    images, score = np.stack([fused, visible, infrared]), 0.0
    for scale, (width, weight) in enumerate(zip(WINDOWS, WEIGHTS)):
        window = gaussian(width, width / 5)
        if scale:
            images = fitting(images, window)[:, ::2, ::2]
        if weight == 0:
            continue
        means = fitting(images, window)
        variances = np.maximum(fitting(images * images, window) - means * means, 0)
        kept, present, gains = [], [], []
        for k in (1, 2):
            covariance = fitting(images[k] * images[0], window) - means[k] * means[0]
            gain, v1, residue = channel(variances[k], variances[0], covariance)
            gains.append(gain)
            kept.append(np.log10(1 + gain * gain * v1 / (residue + NOISE)))
            present.append(np.log10(1 + v1 / NOISE))
        first = gains[0] < gains[1]
        sums = [(np.where(first, *each) + _TINY).sum() for each in (kept, present)]
        score += weight * sums[0] / sums[1]
    return score
