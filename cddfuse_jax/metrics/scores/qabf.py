"""Qabf: how well the edges of both sources are preserved (Xydeas and Petrovic, 2000)."""

import functools
from collections.abc import Callable
from typing import Literal

import numpy as np

from cddfuse_jax.metrics.record import Plane, metric, refuse_smaller_than
from cddfuse_jax.metrics.shapes import Float

# Logistic curves through which strength and orientation pass: ceiling, slope, midpoint.
STRENGTH = (0.9994, 15.0, 0.5)
ORIENTATION = (0.9879, 22.0, 0.8)
_STRIP = 32  # rows worked on at a time, so that everything between stays in the cache
QABF = functools.partial(
    metric,
    "Qabf",
    unit="0 to 0.975",
    measures="edges of the sources that keep strength and direction",
)


@QABF(
    source="Xydeas and Petrovic 2000, as in the CDDFuse release",
    protocols=("release", "tang", "ivif_zoo"),
)
def edge_preservation(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """Qabf, 0 to 0.975, as in the release: edge preservation, weighted by the source's edges.

    With Sobel strength g and angle arctan(sy/sx), G = smaller/larger strength and
    a = 1 - |difference of angles|/(pi/2), a source's Q is
    0.9994/(1 + exp(-15(G - 0.5))) times 0.9879/(1 + exp(-22(a - 0.8))), and the score is
    sum(QA gA + QB gB)/sum(gA + gB). Where both strengths are equal, G is that strength itself,
    and the image is padded with zeros, which puts an edge around it.

    0 where neither source has an edge, which with that padding means that both are black.
    """
    return _weighted((fused, visible, infrared), "constant", lambda strength: strength)


@QABF(source="Xydeas and Petrovic 2000, as in VIFB", protocols=("vifb",))
def edge_preservation_255(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """Qabf of the protocol `vifb`: as in the release, on images of 255 times their values.

    Only one thing depends on that scale: where both strengths are equal, G is that strength, and
    now so large that the edge passes as a perfect one (without any edge, G is 0).
    """
    return _weighted((fused, visible, infrared), "constant", lambda strength: 255 * strength)


@QABF(
    source="Xydeas and Petrovic 2000, three slips of the release put right",
    protocols=("corrected",),
    change="strength ratio 1 where both strengths are equal (release: the strength itself); "
    "orientations compared modulo pi; border repeated instead of zeros",
    why="an edge kept exactly is the best case whatever its strength; edges at +89 and -89 degrees "
    "are 2 degrees apart, not 178; zeros draw a frame that all images share",
)
def edge_preservation_corrected(fused: Plane, visible: Plane, infrared: Plane) -> float:
    """Qabf of the protocol `corrected`: three of the release's slips put right.

    G is 1 where both strengths are equal; orientations that differ by pi are the same edge; the
    border is repeated outwards, so that the frame is no edge. 0 where both sources are flat.
    """
    return _weighted((fused, visible, infrared), "edge", np.ones_like, modulo_pi=True)


def _weighted(
    images: tuple[Plane, Plane, Plane],
    padding: Literal["constant", "edge"],
    equal: Callable[[Plane], Plane],
    modulo_pi: bool = False,
) -> float:
    """Return the score; ``equal`` gives G where both strengths are the same, from that strength."""
    refuse_smaller_than(2, images[0], "Qabf")
    padded = [np.pad(image.astype(np.float32), 1, mode=padding) for image in images]
    kept = present = 0.0
    for top in range(0, images[0].shape[0], _STRIP):
        (g_fused, angle_fused), *sources = (_edges(p[top : top + _STRIP + 2]) for p in padded)
        for strength, angle in sources:
            with np.errstate(invalid="ignore"):  # 0/0 is an equal strength
                ratio = np.minimum(strength, g_fused) / np.maximum(strength, g_fused)
            np.copyto(ratio, equal(g_fused), where=strength == g_fused)
            difference = np.abs(angle - angle_fused)
            if modulo_pi:
                difference = np.minimum(difference, np.float32(np.pi) - difference)
            quality = _quality(ratio, difference) * strength
            kept += float(quality.sum())
            present += float(strength.sum())
    return kept / present if present > 0 else 0.0


def _edges(
    padded: Plane,
) -> tuple[Float[np.ndarray, "h-2 w-2"], Float[np.ndarray, "h-2 w-2"]]:
    """Sobel strength and angle in (-pi/2, pi/2] of an image that is padded already.

    float32 is exact for the integer sums of an 8-bit image, and faster.
    """
    # Each Sobel filter is a difference in one direction after (1, 2, 1) in the other; the latter
    # as sums of two neighbours, twice.
    pairs = padded[:-1] + padded[1:]
    smooth = pairs[:-1] + pairs[1:]
    across = smooth[:, :-2] - smooth[:, 2:]
    difference = padded[2:] - padded[:-2]
    pairs = difference[:, :-1] + difference[:, 1:]
    down = pairs[:, :-1] + pairs[:, 1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        angle = down / across
    angle[across == 0] = np.inf
    np.arctan(angle, out=angle)
    across *= across
    down *= down
    across += down
    return np.sqrt(across, out=across), angle


def _quality(ratio: Plane, difference: Plane) -> Plane:
    """Preservation per pixel from the strengths' ratio and the angles' difference (radians).

    Overwrites both: `slope (middle - a)` with a = 1 - difference/(pi/2) is linear in the
    difference, and all of it is worked out in place.
    """
    (top_g, slope_g, middle_g), (top_a, slope_a, middle_a) = STRENGTH, ORIENTATION
    ratio *= -slope_g
    ratio += slope_g * middle_g
    difference *= slope_a * 2 / np.pi
    difference += slope_a * (middle_a - 1)
    for exponent in (ratio, difference):
        np.exp(exponent, out=exponent)
        exponent += 1
    ratio *= difference
    return np.divide(top_g * top_a, ratio, out=ratio)
