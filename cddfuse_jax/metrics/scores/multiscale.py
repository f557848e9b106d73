"""MS-SSIM: structural similarity at five resolutions (Wang, Simoncelli and Bovik, 2003)."""

import numpy as np
from jaxtyping import Float

from cddfuse_jax.metrics.record import Plane, metric, refuse_smaller_than
from cddfuse_jax.metrics.windows import C2, gaussian, moments, similarity

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_TAPS = 11
_SMALLEST = (_TAPS - 1) * 2 ** (len(WEIGHTS) - 1) + 1  # so that the last one holds a window


@metric(
    "MS-SSIM",
    unit="0 to 1",
    measures="structural likeness to the sources at five resolutions",
    source="Wang et al. 2003, data range 255; mean over the two sources",
    protocols=("papers",),
)
def multiscale_structural_similarity(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """Mean over both sources of the product of cs^0.0448, 0.2856, 0.3001, 0.2363, ssim^0.1333.

    cs = (2 cov + C2)/(v1 + v2 + C2), at the last scale the whole SSIM, each the mean where the
    gaussian window (11 taps, sigma 1.5) fits whole, negative means as 0; between scales the mean
    of 2x2 pixels, odd sides repeating the last. Not the MS-SSIM of Ma et al. (2015) for
    multi-exposure fusion, which some toolboxes give that name.
    """
    refuse_smaller_than(_SMALLEST, fused, "MS-SSIM")
    product, window = [1.0, 1.0], gaussian(_TAPS, 1.5)
    images = [fused, visible, infrared]
    for scale, exponent in enumerate(WEIGHTS):
        if scale:
            images = [_halved(image) for image in images]
        for k in range(2):
            pair = moments(images[1 + k], images[0], window)
            if scale == len(WEIGHTS) - 1:
                likeness = similarity(pair)
            else:
                likeness = (2 * pair.covariance + C2) / (
                    pair.variance_first + pair.variance_second + C2
                )
            product[k] *= max(float(likeness.mean()), 0.0) ** exponent
    return sum(product) / 2


def _halved(image: Plane) -> Float[np.ndarray, "half_h half_w"]:
    height, width = image.shape
    even = np.pad(image, ((0, height % 2), (0, width % 2)), mode="edge")
    rows = even[::2] + even[1::2]
    return (rows[:, ::2] + rows[:, 1::2]) / 4
