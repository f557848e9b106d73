"""Nabf: edges of the fused image that neither source has."""

import functools

import numpy as np

from cddfuse_jax.metrics.record import Plane, metric, refuse_smaller_than
from cddfuse_jax.metrics.windows import sobel

# Logistic curves through which strength and orientation pass: ceiling, slope, midpoint.
_STRENGTH = (0.9999, 19.0, 0.5)
_ORIENTATION = (0.9995, 22.0, 0.5)
_WEAK, _WEIGHT_OF_WEAK = 2.0, 0.001  # an edge below that strength (Sobel/8) hardly counts
_POWER = 1.5
NABF = functools.partial(
    metric,
    "Nabf",
    unit="0 to 1",
    better="lower",
    measures="edges of the fused image that neither source has",
)


@NABF(
    source="Petrovic and Xydeas 2005, as modified by Shreyamsha Kumar 2013", protocols=("papers",)
)
def fusion_artifacts(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """Nabf: sum of (1 - QA) wA + (1 - QB) wB where F's edge is stronger than both sources'.

    Over the sum of wA + wB everywhere. g is the strength of Sobel/8 (borders mirrored), w = g^1.5
    from strength 2, else 0.001. QA = sqrt(0.9999/(1 + exp(-19(G - 0.5))) times
    0.9995/(1 + exp(-22(a - 0.5)))), with G = smaller/larger strength and a = 1 - |difference of
    angles|/(pi/2), its absolute value (angles are modulo pi). Petrovic's definition takes
    2 - QA - QB times wA + wB instead.
    """
    return _artifacts(fused, (visible, infrared), _WEIGHT_OF_WEAK)


@NABF(source="Shreyamsha Kumar 2013, as in IVIF_ZOO", protocols=("ivif_zoo",))
def fusion_artifacts_strong(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """Nabf of the protocol `ivif_zoo`: edges below strength 2 do not count. 0 without any other."""
    return _artifacts(fused, (visible, infrared), 0.0)


@NABF(
    measures="edges of infrared that neither the visible nor the fused image has",
    source="Shreyamsha Kumar 2013, as L. Tang's evaluation calls it",
    protocols=("tang",),
)
def fusion_artifacts_of_infrared(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """Nabf of the protocol `tang`: infrared in the place of the fused image, and that in its.

    Its program hands the three images over in another order than its function takes them.
    """
    return _artifacts(infrared, (visible, fused), _WEIGHT_OF_WEAK)


def _artifacts(fused: Plane, sources: tuple[Plane, Plane], weak: float) -> float:
    refuse_smaller_than(2, fused, "Nabf")
    strength, angle = _edges(fused)
    artifact, lost, total = np.ones(fused.shape, bool), np.zeros(fused.shape), 0.0
    for source in sources:
        g, a = _edges(source)
        artifact &= strength > g
        weight = np.where(g >= _WEAK, g**_POWER, weak)
        lost = lost + (1 - _preserved(g, a, strength, angle)) * weight
        total += weight.sum()
    return lost[artifact].sum() / total if total > 0 else 0.0


def _edges(image: Plane) -> tuple[Plane, Plane]:
    across, down = (slope / 8 for slope in sobel(image, "mirror"))
    with np.errstate(divide="ignore", invalid="ignore"):
        angle = np.arctan(across / down)
    return np.hypot(across, down), np.nan_to_num(angle)


def _preserved(g: Plane, angle: Plane, g_fused: Plane, angle_fused: Plane) -> Plane:
    larger = np.maximum(g, g_fused)
    ratio = np.divide(np.minimum(g, g_fused), larger, out=np.zeros_like(g), where=larger > 0)
    alike = np.abs(1 - np.abs(angle - angle_fused) / (np.pi / 2))
    return np.sqrt(_logistic(ratio, *_STRENGTH) * _logistic(alike, *_ORIENTATION))


def _logistic(x: Plane, ceiling: float, slope: float, midpoint: float) -> Plane:
    return ceiling / (1 + np.exp(-slope * (x - midpoint)))
