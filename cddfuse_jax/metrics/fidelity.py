"""How near fused images are to what training asks for, where scores alone mislead.

Scores reward noise and copying as well; these say whether the brighter of both sources and the
stronger of both gradients are there, and whether warm targets kept their brightness.
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from cddfuse_jax.metrics.record import Plane
from cddfuse_jax.metrics.shapes import Num
from cddfuse_jax.metrics.windows import sobel

TARGET = 0.3  # by which infrared is brighter than visible where a target is, of 1
LEAST_TARGET = 100  # pixels
OVERSHOOT = 0.04
DOT = 0.1
GRADIENT_WEIGHT = 10.0  # in stage II's loss


class Fidelity(NamedTuple):
    """Of one fused image, or means over several.

    Attributes:
        intensity: mean |max(v, i) - f|.
        gradient: mean |max(|∇v|, |∇i|) - |∇f||, |∇x| = |Sobel x| + |Sobel y|, zeros beyond.
        targets: mean f over mean i where i - v > 0.3; NaN with at most 100 such pixels.
        background: mean f, of 255, where both sources are 0; NaN where they never are.
        darker: share of pixels more than 0.04 darker than both sources in the 3x3 around them.
        brighter: share of pixels as much brighter than both.
        dots: share of pixels whose step to the right-hand neighbour exceeds 0.1 and has its sign in
            neither source.
    """

    intensity: float
    gradient: float
    targets: float
    background: float
    darker: float
    brighter: float
    dots: float

    @property
    def loss(self) -> float:
        """Intensity + 10 · gradient: stage II's fusion loss, of the written image."""
        return self.intensity + GRADIENT_WEIGHT * self.gradient


def fidelity(
    fused: Num[np.ndarray, "h w"],
    visible: Num[np.ndarray, "h w"],
    infrared: Num[np.ndarray, "h w"],
) -> Fidelity:
    """Measure one fused image; all grey, 0 to 255."""
    f, v, i = (np.asarray(image, np.float64) / 255 for image in (fused, visible, infrared))
    stronger = np.maximum(_gradient(v), _gradient(i))
    target, dark = i - v > TARGET, (v == 0) & (i == 0)
    return Fidelity(
        float(np.abs(np.maximum(v, i) - f).mean()),
        float(np.abs(stronger - _gradient(f)).mean()),
        float(f[target].mean() / i[target].mean()) if target.sum() > LEAST_TARGET else np.nan,
        255 * float(f[dark].mean()) if dark.any() else np.nan,
        float((f < ndimage.minimum_filter(np.minimum(v, i), 3) - OVERSHOOT).mean()),
        float((f > ndimage.maximum_filter(np.maximum(v, i), 3) + OVERSHOOT).mean()),
        _dots(f, v, i),
    )


def mean_fidelity(each: list[Fidelity]) -> Fidelity:
    """Average over images; what is NaN for an image is left out of that mean."""
    columns = np.asarray(each, np.float64).T
    return Fidelity(
        *(float(c[np.isfinite(c)].mean()) if np.isfinite(c).any() else np.nan for c in columns)
    )


def _dots(f: Plane, v: Plane, i: Plane) -> float:
    step, *sources = (np.diff(image, axis=1) for image in (f, v, i))
    foreign = np.all([step * source <= 0 for source in sources], axis=0)
    return float(((np.abs(step) > DOT) & foreign).mean())


def _gradient(image: Plane) -> Plane:
    across, down = sobel(image, "constant")
    return np.abs(across) + np.abs(down)
