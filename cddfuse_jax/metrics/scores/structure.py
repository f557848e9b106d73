"""Scores that weigh SSIM with either source place by place: Qw, Qe, Qy, Qc."""

import functools

import numpy as np
import scipy  # whose parts are imported when first used

from cddfuse_jax.metrics.record import Plane, metric, refuse_smaller_than
from cddfuse_jax.metrics.windows import Moments, filtered, gaussian, moments, moments_by, similarity

_WIDE, _NARROW = (11, 1.5), (7, 1.5)  # taps and sigma
_TINY = 2e-16  # in place of SSIM's constants
_ALIKE = 0.75  # similarity of the sources from which Qy averages them


@metric(
    "Qw",
    unit="-1 to 1",
    measures="likeness to the more varied source, most where that varies most",
    source="Piella and Heijmans 2003, with SSIM's gaussian window as in Liu et al. 2012",
    protocols=("papers",),
)
def piella_weighted(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """Qw: mean of w (r SSIM(visible, fused) + (1 - r) SSIM(infrared, fused)), w normalised.

    In a gaussian window of 11 taps and sigma 1.5, r is the visible image's share of both
    variances and w the larger one; SSIM has its usual constants (the paper: 8x8 windows and
    none). 1 where neither source varies anywhere and the fused image equals both.
    """
    refuse_smaller_than(_WIDE[0], fused, "Qw")
    return _weighted(fused, visible, infrared)


@metric(
    "Qe",
    unit="-1 to 1",
    measures="Qw of the images times Qw of their edges",
    source="Piella and Heijmans 2003, alpha 1, windows and edges as in Liu et al. 2012",
    protocols=("papers",),
)
def piella_edges(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """Qe: Qw of the images times Qw of their edge images (Prewitt strength, zeros around)."""
    refuse_smaller_than(_WIDE[0], fused, "Qe")
    edges = (_prewitt(x) for x in (fused, visible, infrared))
    return _weighted(fused, visible, infrared) * _weighted(*edges)


QY = functools.partial(
    metric,
    "Qy",
    unit="-1 to 1",
    measures="likeness to both sources where they agree, to the better one where not",
)


@QY(
    source="Yang et al. 2008, gaussian window and constants as in Liu et al. 2012",
    protocols=("papers",),
)
def yang(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """Qy: mean of r SSIM(visible, fused) + (1 - r) SSIM(infrared, fused), or of the larger one.

    The former where SSIM(visible, infrared) is at least 0.75, r the visible image's share of both
    variances; gaussian window of 7 taps and sigma 1.5, constants 2e-16.
    """
    refuse_smaller_than(_NARROW[0], fused, "Qy")
    window = gaussian(*_NARROW)
    sources = moments(visible, infrared, window)
    first, second = (_similar(moments(x, fused, window)) for x in (visible, infrared))
    share = _share(sources.variance_first, sources.variance_second)
    mixed = share * first + (1 - share) * second
    return np.where(_similar(sources) >= _ALIKE, mixed, np.maximum(first, second)).mean()


@QY(source="Yang et al. 2008, as in IVIF_ZOO", protocols=("ivif_zoo",))
def yang_unnormalized(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """Qy of the protocol `ivif_zoo`: the same rule with other windows and constants.

    The window is gaussian across alone, 7 taps and sigma 1.5, repeated in seven rows, so that it
    sums to 7 and "variances" are not; constants 1e-4 and 9e-4, r is infrared's share; zeros around.
    """
    across, down = gaussian(*_NARROW), np.ones(_NARROW[0])
    sources, first, second = (
        moments_by(lambda image: filtered(image, across, down), x, y)
        for x, y in ((infrared, visible), (infrared, fused), (visible, fused))
    )
    share = sources.variance_first / (sources.variance_first + sources.variance_second + 1e-10)
    alike, q1, q2 = (similarity(pair, 0.01**2, 0.03**2) for pair in (sources, first, second))
    return np.where(alike >= _ALIKE, share * q1 + (1 - share) * q2, np.maximum(q1, q2)).mean()


@metric(
    "Qc",
    unit="-1 to 1",
    measures="likeness to the sources, each weighted by its covariance with the fused image",
    source="Cvejic et al. 2005, gaussian window and constants as in Liu et al. 2012",
    protocols=("papers",),
)
def cvejic(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """Qc: mean of r SSIM(visible, fused) + (1 - r) SSIM(infrared, fused).

    r is cov(visible, fused)/(cov(visible, fused) + cov(infrared, fused)), clipped to 0 and 1 as in
    the paper; gaussian window of 7 taps and sigma 1.5, constants 2e-16.
    """
    refuse_smaller_than(_NARROW[0], fused, "Qc")
    window = gaussian(*_NARROW)
    pairs = [moments(x, fused, window) for x in (visible, infrared)]
    share = np.clip(_share(*(pair.covariance for pair in pairs)), 0, 1)
    first, second = (_similar(pair) for pair in pairs)
    return (share * first + (1 - share) * second).mean()


def _weighted(fused: Plane, visible: Plane, infrared: Plane) -> float:
    window = gaussian(*_WIDE)
    first, second = (moments(x, fused, window) for x in (visible, infrared))
    variances = [np.maximum(pair.variance_first, 0) for pair in (first, second)]
    share = _share(*variances)
    likeness = share * similarity(first) + (1 - share) * similarity(second)
    weight = np.maximum(*variances)
    return (weight * likeness).sum() / weight.sum() if weight.sum() > 0 else likeness.mean()


def _share(first: Plane, second: Plane) -> Plane:
    """Return first/(first + second), one half where both are nothing."""
    total = first + second
    return np.divide(first, total, out=np.full_like(first, 0.5), where=total != 0)


def _similar(pair: Moments) -> Plane:
    """SSIM without constants; variances of flat windows are rounding, and count as 0."""
    scale = 1e-12 * (pair.mean_first**2 + pair.mean_second**2)
    variances = [np.where(v > scale, v, 0) for v in (pair.variance_first, pair.variance_second)]
    flat = (variances[0] == 0) | (variances[1] == 0)
    covariance = np.where(flat, 0, pair.covariance)
    exact = pair._replace(
        variance_first=variances[0], variance_second=variances[1], covariance=covariance
    )
    return similarity(exact, _TINY, _TINY)


def _prewitt(image: Plane) -> Plane:
    return np.hypot(*(scipy.ndimage.prewitt(image, axis, mode="constant") for axis in (0, 1)))
