"""FMI: how much grey values of small windows say of the same windows of either source."""

from collections.abc import Callable
from typing import Union

import numpy as np

from cddfuse_jax.metrics.fmi_features import cosine_transform, meyer_transform, thin_edges
from cddfuse_jax.metrics.record import Plane, metric, refuse_smaller_than
from cddfuse_jax.metrics.shapes import Bool, Float

_SIDE = 3  # of a window
_PLACES = _SIDE * _SIDE
_STRIP = 8  # rows worked on at a time: each window needs 81 joint probabilities

Windows = Float[np.ndarray, "9 n"]


@metric(
    "FMI_pixel",
    unit="0 to 1",
    measures="information that 3x3 windows share with the sources'",
    source="Haghighat et al. 2011, computed as Fast-FMI (Haghighat and Razian 2014), raw pixels",
    protocols=("papers",),
)
def feature_mutual_information(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """FMI of raw pixels: mean over windows and both sources of 2 I/(H(source) + H(fused)).

    A 3x3 window, stretched to 0-1 and divided by its sum, is a distribution over its nine places
    (column by column; a flat window: equal shares). The joint distribution of two windows is
    c/c' B + (1 - c/c') p q: p q is their product, B the Fréchet bound (upper if their Pearson
    correlation c is positive, else lower), c' the correlation that B would have. I is the mutual
    information of that. Windows that are equal, or both flat, count 1; a flat one and
    one that is not count 0.

    Others' tables have an "FMI" of gradients, edges, DCT or wavelet coefficients; some scripts
    compute edges where they say pixels. Those are other scores.
    """
    return _shared_by(fused, visible, infrared)


def _entered(name: str, of: str, feature: Callable[[Plane], Plane]) -> None:
    @metric(
        name,
        unit="0 to 1",
        measures=f"information that 3x3 windows of {of} share with the sources'",
        source=f"Fast-FMI of {of} (Haghighat and Razian 2014), as in L. Tang's evaluation",
        protocols=("tang",),
    )
    def of_features(fused: Plane, visible: Plane, infrared: Plane) -> float:
        return _shared_by(*(feature(image) for image in (fused, visible, infrared)))


# What L. Tang's evaluation calls FMI_pixel is of edges.
_entered("FMI_pixel", "thin Sobel edges", thin_edges)
_entered("FMI_dct", "the image's DCT", cosine_transform)
_entered("FMI_w", "the image's discrete Meyer wavelet transform", meyer_transform)


def _shared_by(fused: Plane, visible: Plane, infrared: Plane) -> float:
    refuse_smaller_than(_SIDE, fused, "FMI")
    total, count = 0.0, 0
    for top in range(0, fused.shape[0] - _SIDE + 1, _STRIP):
        rows = slice(top, top + _STRIP + _SIDE - 1)
        own = _windows(fused[rows])
        for source in (visible, infrared):
            other = _windows(source[rows])
            same = (own == other).all(axis=0) | (_flat(own) & _flat(other))
            shared = _shared(_distribution(own), _distribution(other))
            total += np.where(same, 1.0, shared).sum()
        count += own.shape[1]
    return total / (2 * count)


def _windows(image: Plane) -> Windows:
    view = np.lib.stride_tricks.sliding_window_view(image, (_SIDE, _SIDE))
    return np.ascontiguousarray(view.transpose(3, 2, 0, 1).reshape(_PLACES, -1))


def _flat(windows: Windows) -> Bool[np.ndarray, " n"]:
    return (windows == windows[0]).all(axis=0)


def _distribution(windows: Windows) -> Windows:
    raised = windows - windows.min(axis=0)
    raised[:, ~raised.any(axis=0)] = 1
    return raised / raised.sum(axis=0)


def _shared(first: Windows, second: Windows) -> Float[np.ndarray, " n"]:
    """Return 2 I/(H + H) of the distributions of two windows, place by place."""
    below = [np.cumsum(p, axis=0) for p in (first, second)]
    c = _correlation(first, second)
    opposed = c < 0
    bound = np.minimum(below[0][:, None], below[1][None])
    if opposed.any():
        lower = below[0][:, None, opposed] + below[1][None, :, opposed] - 1
        bound[..., opposed] = np.maximum(lower, 0)
    covariance = bound.sum((0, 1)) - below[0].sum(0) * below[1].sum(0)
    spread = _deviation(first) * _deviation(second)
    weight = np.divide(c * spread, covariance, out=np.zeros_like(c), where=c * covariance > 0)
    joint = np.diff(np.diff(bound, axis=0, prepend=0), axis=1, prepend=0)
    joint *= weight
    joint += (1 - weight) * first[:, None] * second[None]
    own = _entropy(first, 0) + _entropy(second, 0)
    # Independent windows share nothing; what is left then is rounding.
    ratio = np.divide(_entropy(joint, (0, 1)), own, out=np.ones_like(own), where=own > 0)
    return np.where(weight == 0, 0, 2 - 2 * ratio)


def _correlation(first: Windows, second: Windows) -> Float[np.ndarray, " n"]:
    """Pearson's, 0 where either window is flat."""
    first, second = (p - 1 / _PLACES for p in (first, second))
    norms = np.sqrt((first**2).sum(0) * (second**2).sum(0))
    return np.divide((first * second).sum(0), norms, out=np.zeros_like(norms), where=norms > 1e-15)


def _deviation(p: Windows) -> Float[np.ndarray, " n"]:
    """Return the standard deviation of a place distributed by ``p``."""
    place = np.arange(_PLACES)
    return np.sqrt(np.maximum(place**2 @ p - (place @ p) ** 2, 0))


def _entropy(
    p: Float[np.ndarray, "9 *other n"], axes: Union[int, tuple[int, int]]
) -> Float[np.ndarray, " n"]:
    """Return the entropy in bits; an impossible share below 0 counts by its size, as published."""
    logs = np.log2(np.abs(p), out=np.zeros_like(p), where=p != 0)
    return -(p * logs).sum(axes)
