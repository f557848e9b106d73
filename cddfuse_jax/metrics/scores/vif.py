"""VIF: how much of each source's visual information survives in the fused image."""

import functools
from collections.abc import Callable

import numpy as np

from cddfuse_jax.metrics.record import Plane, metric, refuse_smaller_than
from cddfuse_jax.metrics.shapes import Float
from cddfuse_jax.metrics.windows import filtered, fitting, gaussian

WINDOWS = (17, 9, 5, 3)  # one gaussian per scale, its sigma a fifth of its width
NOISE = 2.0  # variance of the visual noise, squared grey levels
_TINY = 1e-10
SMALLEST = 41  # sides below this leave no 3x3 window at the last scale


VIF = functools.partial(
    metric, "VIF", unit="sum of 2", measures="visual information of the sources that survives"
)


@VIF(
    source="Sheikh and Bovik 2006, pixel domain, as in the CDDFuse release",
    protocols=("release", "corrected", "tang"),
)
def visual_information_fidelity(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """VIF(visible, fused) + VIF(infrared, fused), float64, pixel domain; about 0 to 2.

    With variances v1 of the source and v2 of the fused image and covariance c in a gaussian
    window, gain g = c/v1 and residue s = v2 - g c, each half is the sum over four scales and all
    pixels of log(1 + g² v1/(s + 2)), over that of log(1 + v1/2). As in the release.

    A flat source has no information to lose: its half is defined as 1. A flat fused image keeps
    none: its halves are 0 unless the source is flat too.
    """
    refuse_smaller_than(SMALLEST, fused, "VIF")
    windows = [gaussian(width, width / 5) for width in WINDOWS]
    return _sum_of_two(np.stack([fused, visible, infrared]), windows, fitting)


@VIF(source="Sheikh and Bovik 2006, pixel domain, as in IVIF_ZOO", protocols=("ivif_zoo",))
def visual_information_fidelity_zeros(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """VIF of the protocol `ivif_zoo`, sum of two: zeros around, windows off their centre.

    Where a window has N taps it is that of N places evenly from -(N + 1)/2 to (N - 1)/2.
    """
    windows = []
    for width in WINDOWS:
        weights = np.exp(-(np.linspace(-(width + 1) / 2, width // 2, width) ** 2) / 2
                         / (width / 5) ** 2)  # fmt: skip
        windows.append(weights / weights.sum())
    return _sum_of_two(np.stack([fused, visible, infrared]), windows, filtered)


def _sum_of_two(
    images: Float[np.ndarray, "3 h w"],
    windows: list[Float[np.ndarray, " _"]],
    blur: Callable[..., Float[np.ndarray, "*n h2 w2"]],
) -> float:
    visible, infrared = images[1:]
    kept, present = np.zeros(2), np.zeros(2)
    for scale, window in enumerate(windows):
        if scale:
            images = blur(images, window)[:, ::2, ::2]
        f, sources = images[0], images[1:]
        # The fused image's own moments serve both sources, so eight planes are filtered, not ten.
        mean_f, mean_ff = blur(np.stack([f, f * f]), window)
        mean_s, mean_ss = blur(sources, window), blur(sources * sources, window)
        v2 = np.maximum(mean_ff - mean_f * mean_f, 0)
        v1 = np.maximum(mean_ss - mean_s * mean_s, 0)
        c = blur(sources * f, window) - mean_s * mean_f
        for half in range(2):
            more_kept, more_present = _information(v1[half], v2, c[half])
            kept[half] += more_kept
            present[half] += more_present
    # Flatness is tested on the values: blurred, it has a variance of the size of rounding.
    flat = [np.ptp(source) == 0 for source in (visible, infrared)]
    return sum(1.0 if flat[i] else kept[i] / present[i] for i in range(2))


def _information(v1: Plane, v2: Plane, c: Plane) -> tuple[float, float]:
    """Information of the source that is kept, and that was there, from local moments."""
    gain, v1, residue = channel(v1, v2, c)
    return np.log1p(gain * gain * v1 / (residue + NOISE)).sum(), np.log1p(v1 / NOISE).sum()


def channel(v1: Plane, v2: Plane, c: Plane) -> tuple[Plane, Plane, Plane]:
    """Return gain, v1 and residue of the fused image seen as gain times the source plus noise.

    v1 and v2 are the variances of source and fused image, c their covariance.
    """
    gain = c / (v1 + _TINY)
    # No gain where either image is flat or the two oppose each other; all of v2 is residue then.
    gain[(v1 < _TINY) | (v2 < _TINY) | (gain < 0)] = 0
    return gain, np.where(v1 < _TINY, 0, v1), np.maximum(v2 - gain * c, _TINY)
