"""Features of an image whose mutual information FMI takes: edges, DCT and wavelet coefficients."""

import functools

import numpy as np
import scipy  # whose parts are imported when first used

from cddfuse_jax.metrics.record import Plane
from cddfuse_jax.metrics.shapes import Float
from cddfuse_jax.metrics.windows import sobel

_TAPS, _REACH = 102, 50  # of the discrete Meyer wavelet's filters


def thin_edges(image: Plane) -> Plane:
    """1 on thin edges, else 0, as MATLAB's ``edge(image)`` of its documentation.

    Sobel, border repeated; an edge is stronger in the square than four times the mean, and is no
    less than its neighbour before and more than the one after, across where the slope across is
    the larger, or down where that is. Beyond the border there is no neighbour.
    """
    across, down = (np.abs(slope) / 8 for slope in sobel(image, "nearest"))
    strength = across * across + down * down
    padded = np.pad(strength, 1, constant_values=-1.0)
    ridge_across = (padded[1:-1, :-2] <= strength) & (strength > padded[1:-1, 2:])
    ridge_down = (padded[:-2, 1:-1] <= strength) & (strength > padded[2:, 1:-1])
    tiny = 100 * np.finfo(float).eps
    thin = (across >= down - tiny) & ridge_across | (down >= across - tiny) & ridge_down
    return (thin & (strength > 4 * strength.mean())).astype(np.float64)


def cosine_transform(image: Plane) -> Plane:
    """Return the orthonormal DCT-II of the whole image."""
    return scipy.fft.dctn(image, norm="ortho")


def meyer_transform(image: Plane) -> Float[np.ndarray, "height width"]:
    """One level of the discrete Meyer wavelet, its four bands side by side, brought to 0-1.

    MATLAB's ``dwt2(image, "dmey")``: borders mirrored, every second sum from the second. A flat
    image is 1.
    """
    low, high = (_halved(image, taps) for taps in _filters())
    top, bottom = ([_halved(x.T, taps).T for taps in _filters()] for x in (low, high))
    bands = np.block([top, bottom])
    span = bands.max() - bands.min()
    return (bands - bands.min()) / span if span > 0 else np.ones_like(bands)


def _halved(image: Plane, taps: Float[np.ndarray, " taps"]) -> Float[np.ndarray, "h half"]:
    """Filter along rows and keep every second sum."""
    padded = np.pad(image, ((0, 0), (_TAPS - 1, _TAPS - 1)), mode="symmetric")
    sums = scipy.signal.oaconvolve(padded, taps[None], mode="valid", axes=1)
    return sums[:, 1::2]


@functools.cache
def _filters() -> tuple[Float[np.ndarray, " taps"], Float[np.ndarray, " taps"]]:
    """Low and high pass: the Meyer scaling function's Fourier series, cut off at 101 terms.

    MATLAB's stored coefficients differ by less than 1e-6.
    """
    frequency = np.linspace(0, np.pi, 20001)
    x = np.clip(3 * frequency / np.pi - 1, 0, 1)  # the filter falls from pi/3 to 2 pi/3
    fall = np.cos(np.pi / 2 * x**4 * (35 - 84 * x + 70 * x**2 - 20 * x**3))
    order = np.arange(_REACH + 1)
    waves = np.cos(order[:, None] * frequency) * fall
    half = scipy.integrate.trapezoid(waves, frequency) * np.sqrt(2) / np.pi
    low = np.concatenate([[0.0], half[:0:-1], half])
    high = (low * np.where(np.arange(_TAPS) % 2, -1, 1))[::-1]
    return low, high
