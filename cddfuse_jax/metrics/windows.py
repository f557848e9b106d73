"""Filters, and local statistics of two images in a window: what many scores are made of."""

from collections.abc import Callable
from typing import NamedTuple, Optional

import numpy as np
import scipy  # whose parts are imported when first used

from cddfuse_jax.metrics.record import Plane
from cddfuse_jax.metrics.shapes import Float

Planes = Float[np.ndarray, "*n h w"]
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2  # SSIM's constants for values 0-255


class Moments(NamedTuple):
    """Local means, variances and covariance of two images."""

    mean_first: Plane
    mean_second: Plane
    variance_first: Plane
    variance_second: Plane
    covariance: Plane


def gaussian(taps: int, sigma: float) -> Float[np.ndarray, " {taps}"]:
    """Normalised gaussian window of one dimension, float64."""
    offsets = np.arange(taps) - (taps - 1) / 2
    window = np.exp(-(offsets**2) / (2 * sigma**2))
    return window / window.sum()


def sobel(image: Plane, border: str) -> tuple[Plane, Plane]:
    """Sobel differences (across, down) of an image, not divided by 8.

    ``border`` is SciPy's: "constant" for zeros around the image, "nearest" for its edge repeated,
    "mirror".
    """
    across, down = (scipy.ndimage.sobel(image, axis, mode=border) for axis in (1, 0))
    return across, down


def filtered(
    images: Planes,
    window: Float[np.ndarray, " taps"],
    down: Optional[Float[np.ndarray, " taps"]] = None,
) -> Planes:
    """Filter images with ``outer(down, window)``, down as across if None, zeros around them."""
    rows = scipy.ndimage.correlate1d(images, window, axis=-1, mode="constant")
    down = window if down is None else down
    return scipy.ndimage.correlate1d(rows, down, axis=-2, mode="constant")


def fitting(
    images: Planes, window: Float[np.ndarray, " taps"]
) -> Float[np.ndarray, "*n h-taps+1 w-taps+1"]:
    """Filter with ``outer(window, window)``, of odd length, where it fits whole."""
    margin = len(window) // 2
    rows = scipy.ndimage.correlate1d(images, window, axis=-1)[..., margin:-margin]
    return scipy.ndimage.correlate1d(rows, window, axis=-2)[..., margin:-margin, :]


def moments(first: Plane, second: Plane, window: Float[np.ndarray, " taps"]) -> Moments:
    """Local moments of two images where the window fits, as blur(x y) - blur(x) blur(y)."""
    return moments_by(lambda image: fitting(image, window), first, second)


def moments_by(blur: Callable[[Plane], Plane], first: Plane, second: Plane) -> Moments:
    """Local moments of two images by any blur."""
    mean_1, mean_2 = blur(first), blur(second)
    return Moments(
        mean_1,
        mean_2,
        blur(first * first) - mean_1 * mean_1,
        blur(second * second) - mean_2 * mean_2,
        blur(first * second) - mean_1 * mean_2,
    )


def similarity(pair: Moments, c1: float = C1, c2: float = C2) -> Plane:
    """SSIM at every place: (2 m1 m2 + c1)(2 cov + c2)/((m1² + m2² + c1)(v1 + v2 + c2))."""
    m1, m2, v1, v2, covariance = pair
    return ((2 * m1 * m2 + c1) * (2 * covariance + c2)) / (
        (m1 * m1 + m2 * m2 + c1) * (v1 + v2 + c2)
    )
