"""How a rig's two cameras see one scene, from several pairs together.

As in `rigs.shift`, what is compared is how edges run, whichever side is brighter. A few scales
and angles are tried on reduced images: for each, the edge fields of every pair are correlated over
all shifts, and the correlations are summed over the pairs, so that what they have in common shows.
Then the best shift of each pair alone is found. The pairs that agree are refined together, at
smaller and smaller scales of the edges. All that is done with the infrared images turned upright,
in the best of the eight orientations, which is found first on a few pairs, reduced further.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from cddfuse_jax.errors import InputError
from cddfuse_jax.images.levels import resized
from cddfuse_jax.images.photo import turning_back, upright
from cddfuse_jax.rigs.edge_fields import COARSE_SIDE, Coarse, Edges, Images, reduced, rig_by
from cddfuse_jax.rigs.rig import Rig

LARGEST_SIDE = 1024  # larger images are measured reduced to this
COVERED = np.exp(0.045 * np.arange(-27, 8))  # of the visible image's diagonal: 0.30 to 1.37
ANGLES = np.deg2rad(np.arange(-7.5, 8, 2.5))
# Of the orientations: on how many pairs, how large, over how many scales and angles one is tried.
# There the right one correlates by 1.6 times what the next, its mirror image, does, and more.
ORIENTED, ORIENTED_SIDE, ORIENTED_STEP, CLEARLY = 4, 96, 2, 1.15
NEAR = 0.02  # of the visible image's longer side: how near pairs are that agree
LEAST_PAIRS, LEAST_SHARE = 3, 0.4  # that must agree
LEAST_TOGETHER = 16.0  # what all of them must correlate by; pairs of other scenes reach 14
SMOOTHING = (4.0, 2.0, 1.2)  # sigma of the edges, in visible pixels or infrared ones if larger
# Of one field of view, assumed: what makes another one certain, on four pairs at most.
# Chosen so that no pair of TNO, RoadScene or Harvard's MRI with CT or PET is warned of.
FIELDS, TURNS = np.exp(0.045 * np.arange(-14, 1)), np.deg2rad([-5, -2.5, 0, 2.5, 5])
LEAST_HEIGHT, OVER_AS_IS, NARROWER = 14.0, 1.45, 0.93


class Measured(NamedTuple):
    """A rig, and of every pair how many visible pixels its own best shift lies from it.

    ``agree`` are those that the rig was refined on.
    """

    rig: Rig
    agree: np.ndarray
    residual: np.ndarray


def measure_rig(pairs: Sequence[Images], affine: bool = False) -> Measured:
    """Measure the map between the two cameras of a rig.

    Args:
        pairs: at least `LEAST_PAIRS` of (visible, infrared), HxW in [0, 1], each side of one size.
        affine: also find a stretch and a shear.

    Raises:
        InputError: the pairs do not agree.
    """
    factors = [max(1.0, max(image.shape) / LARGEST_SIDE) for image in pairs[0]]
    small = [(reduced(v, factors[0]), reduced(i, factors[1])) for v, i in pairs]
    orientation = _orientation(small)
    small = [(visible, upright(infrared, orientation)) for visible, infrared in small]
    coarse = Coarse(small)
    height, guess = _search(coarse, small[0])
    own = _own_shifts(coarse, guess)
    agree = np.hypot(*(own - guess[2:]).T) <= NEAR * max(small[0][0].shape)
    least = max(LEAST_PAIRS, math.ceil(LEAST_SHARE * len(pairs)))
    if agree.sum() < least or height < LEAST_TOGETHER:
        raise InputError(
            f"no common registration: {agree.sum()} of {len(pairs)} pairs agree (needed: {least}), "
            f"score {height:.0f} (needed: {LEAST_TOGETHER:.0f}); give more pairs "
            "of far scenes with edges, all of one rig and with --vi and --ir not swapped, or "
            "--points; infrared images may be mirrored, and turned by up to 8 degrees more or less "
            "than 0, 90, 180 or 270"
        )
    chosen = [pair for pair, agrees in zip(small, agree, strict=True) if agrees]
    found = np.array([*guess, 1.0, 0.0][: 6 if affine else 4])
    for smoothing in SMOOTHING:
        edges = Edges(chosen, smoothing, found[0])
        found = edges.refined(found, 1.5 * smoothing)
    last = Edges(small, SMOOTHING[-1], found[0])
    residual = np.array(
        [np.hypot(*(last.refined(found, 3.0, k) - found)[2:4]) for k in range(len(pairs))]
    )
    scale = found[0] * factors[0] / factors[1]  # back to the images' own pixels
    turned = pairs[0][0], upright(pairs[0][1], orientation)
    rig = rig_by([scale, found[1], *found[2:4] * factors[0], *found[4:]], turned)
    back = turning_back(orientation, *turned[1].shape)
    return Measured(
        Rig(back @ rig.matrix, rig.visible, pairs[0][1].shape), agree, residual * factors[0]
    )


def other_view(pairs: Sequence[Images]) -> str | None:
    """Return a warning if the infrared images certainly show a narrower, or a turned, view.

    ``pairs`` are of one size; a few are enough. It takes some 0.2 s a pair.
    """
    factor = max(1.0, max(pairs[0][0].shape) / (2 * COARSE_SIDE))
    size = [round(side / factor) for side in pairs[0][0].shape]
    coarse = Coarse([(resized(v, *size), resized(i, *size)) for v, i in pairs])
    best, as_is = (-math.inf, 1.0, 0.0), math.inf
    for field in FIELDS:
        fields = coarse.at_scale(field)
        for angle in TURNS:
            height = coarse.best(fields, angle, range(len(pairs)))[0]
            best = max(best, (height, field, angle))
            as_is = height if field == 1 and angle == 0 else as_is
    height, field, angle = best
    if height < max(LEAST_HEIGHT, OVER_AS_IS * as_is) or (field > NARROWER and angle == 0):
        return None
    return (
        f"the infrared images seem to show {100 * field:.0f} % of the visible ones' width, turned "
        f"by {math.degrees(angle):.0f} degrees; measure it by cddfuse register, and give "
        "--registration"
    )


def _orientation(pairs: Sequence[Images]) -> int:
    """Return by which of EXIF's orientations, 1 to 8, `upright` turns the infrared images best."""
    some = pairs[:: math.ceil(len(pairs) / ORIENTED)]
    heights = {}
    for orientation in range(1, 9):
        turned = [(visible, upright(infrared, orientation)) for visible, infrared in some]
        coarse = Coarse(turned, ORIENTED_SIDE)
        heights[orientation] = _search(coarse, turned[0], ORIENTED_STEP)[0]
    best = max(heights, key=heights.__getitem__)
    return best if heights[best] > CLEARLY * heights[1] else 1


def _search(coarse: Coarse, pair: Images, step: int = 1) -> tuple[float, np.ndarray]:
    """Return the pairs' highest correlation, and its scale, angle, shift right and down.

    Of the scales and angles every ``step``-th is tried.
    """
    everyone = range(len(coarse.infrared))
    whole = [math.hypot(*image.shape) for image in pair]
    best = (-math.inf, np.zeros(4))
    for covered in COVERED[::step]:
        scale = covered * whole[0] / whole[1]
        fields = coarse.at_scale(scale)
        for angle in ANGLES[::step]:
            height, *shift = coarse.best(fields, angle, everyone)
            if height > best[0]:
                best = (height, np.array([scale, angle, *shift]))
    return best


def _own_shifts(coarse: Coarse, guess: np.ndarray) -> Float[np.ndarray, "n 2"]:
    """Return where each pair by itself correlates best, at the scale and angle of all."""
    fields = coarse.at_scale(guess[0])
    return np.array([coarse.best(fields, guess[1], [k])[1:] for k in range(len(fields))])
