"""MS-SSIM: structural similarity at five resolutions (Wang, Simoncelli and Bovik, 2003)."""

import functools
from collections.abc import Callable

import numpy as np

from cddfuse_jax.metrics.record import Plane, metric, refuse_smaller_than
from cddfuse_jax.metrics.shapes import Float
from cddfuse_jax.metrics.windows import C1, C2, gaussian, moments, similarity

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_TAPS = 11
_SMALLEST = (_TAPS - 1) * 2 ** (len(WEIGHTS) - 1) + 1  # so that the last one holds a window


MS_SSIM = functools.partial(
    metric, "MS-SSIM", measures="structural likeness to the sources at five resolutions"
)


@MS_SSIM(
    unit="0 to 1",
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
    return _multiscale([fused, visible, infrared], C1, C2, _halved) / 2


@MS_SSIM(unit="sum of 2", source="Wang et al. 2003, as in IVIF_ZOO", protocols=("ivif_zoo",))
def multiscale_structural_similarity_1(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """MS-SSIM of the protocol `ivif_zoo`, sum of two: data range 1 instead of 255.

    Odd sides get a line of zeros in front before they are halved, which counts in the mean.
    """
    return _multiscale([fused, visible, infrared], 0.01**2, 0.03**2, _halved_with_zeros)


def _multiscale(
    images: list[Plane], c1: float, c2: float, halved: Callable[[Plane], Plane]
) -> float:
    refuse_smaller_than(_SMALLEST, images[0], "MS-SSIM")
    product, window = [1.0, 1.0], gaussian(_TAPS, 1.5)
    for scale, exponent in enumerate(WEIGHTS):
        if scale:
            images = [halved(image) for image in images]
        for k in range(2):
            pair = moments(images[1 + k], images[0], window)
            if scale == len(WEIGHTS) - 1:
                likeness = similarity(pair, c1, c2)
            else:
                likeness = (2 * pair.covariance + c2) / (
                    pair.variance_first + pair.variance_second + c2
                )
            product[k] *= max(float(likeness.mean()), 0.0) ** exponent
    return sum(product)


def _halved(image: Plane) -> Float[np.ndarray, "half_h half_w"]:
    height, width = image.shape
    return _means_of_four(np.pad(image, ((0, height % 2), (0, width % 2)), mode="edge"))


def _halved_with_zeros(image: Plane) -> Float[np.ndarray, "half_h half_w"]:
    height, width = image.shape
    return _means_of_four(np.pad(image, ((height % 2, 0), (width % 2, 0))))


def _means_of_four(even: Plane) -> Float[np.ndarray, "half_h half_w"]:
    rows = even[::2] + even[1::2]
    return (rows[:, ::2] + rows[:, 1::2]) / 4
