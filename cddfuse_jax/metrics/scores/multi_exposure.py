"""MS-SSIM for fusion of exposures (Ma et al., 2015), which L. Tang's evaluation calls MS_SSIM."""

import numpy as np

from cddfuse_jax.metrics.record import Plane, metric, refuse_smaller_than
from cddfuse_jax.metrics.shapes import Float
from cddfuse_jax.metrics.windows import C2, gaussian, moments

_TAPS, _SIGMA = 11, 1.5
_WEIGHTS = np.array((0.0448, 0.2856, 0.3001)) / (0.0448 + 0.2856 + 0.3001)
_STEADY = 0.001  # added to every norm
_MOST = 10.0  # power beyond which weights are as good as a maximum
_EPSILON = np.finfo(float).eps
_SMALLEST = _TAPS * 2 ** (len(_WEIGHTS) - 1)


@metric(
    "MS-SSIM",
    unit="0 to 1",
    measures="structure of the sources' blend that is kept, at three resolutions",
    source="Ma et al. 2015, as in L. Tang's evaluation",
    protocols=("tang",),
)
def multiscale_of_exposures(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """Product over three scales of s^0.071, s^0.453, s^0.476; s the mean over 11x11 windows.

    In a window x_k is a source less its mean, |x_k| its norm; the structure wanted is the sum of
    w_k x_k/|x_k|, brought to the larger norm, w_k the shares of (|x_k|/11)^p with
    p = tan(pi/2 |x_1 + x_2|/(|x_1| + |x_2|)), 10 at most. s = (2 cov + 58.5)/(v1 + v2 + 58.5) of
    that and of the fused window, gaussian (sigma 1.5). Between scales the mean of 2x2 pixels.
    """
    refuse_smaller_than(_SMALLEST, fused, "MS-SSIM")
    images, score = [fused, visible, infrared], 1.0
    for scale, weight in enumerate(_WEIGHTS):
        if scale:
            images = [_halved(image) for image in images]
        score *= max(_structure(*images), 0.0) ** weight
    return score


def _halved(image: Plane) -> Float[np.ndarray, "half_h half_w"]:
    even = np.pad(image, ((0, 1), (0, 1)), mode="symmetric")
    return (even[:-1, :-1] + even[1:, :-1] + even[:-1, 1:] + even[1:, 1:])[::2, ::2] / 4


def _structure(fused: Plane, visible: Plane, infrared: Plane) -> float:
    box = moments(visible, infrared, np.full(_TAPS, 1 / _TAPS))
    squares = [np.maximum(v, 0) * _TAPS**2 for v in (box.variance_first, box.variance_second)]
    norms, product = [np.sqrt(square) for square in squares], box.covariance * _TAPS**2
    together = np.sqrt(np.maximum(squares[0] + squares[1] + 2 * product, 0))
    consistency = np.minimum((together + _EPSILON) / (norms[0] + norms[1] + _EPSILON), 1)
    power = np.minimum(np.tan(np.pi / 2 * consistency), _MOST)
    steady = [norm + _STEADY for norm in norms]
    weights = [(norm / _TAPS) ** power + _EPSILON for norm in steady]
    # The blend is a x_1 + b x_2, and its moments follow from those of the sources.
    a, b = (weight / (weights[0] + weights[1]) / norm for weight, norm in zip(weights, steady))
    blend = np.sqrt(np.maximum(a * a * squares[0] + b * b * squares[1] + 2 * a * b * product, 0))
    scale = np.divide(np.maximum(*steady), blend, out=np.zeros_like(blend), where=blend > 0)
    a, b, window = a * scale, b * scale, gaussian(_TAPS, _SIGMA)
    both = moments(visible, infrared, window)
    first, second = (moments(source, fused, window) for source in (visible, infrared))
    variance = a * a * both.variance_first + b * b * both.variance_second
    variance += 2 * a * b * both.covariance
    covariance = a * first.covariance + b * second.covariance
    return ((2 * covariance + C2) / (variance + first.variance_second + C2)).mean()
