"""How a rig's two cameras see one scene, from several pairs together.

As in `registration`, what is compared is how edges run, whichever side is brighter. A few scales
and angles are tried on reduced images: for each, the edge fields of every pair are correlated over
all shifts, and the correlations are summed over the pairs, so that what they have in common stands
out. Then each pair says by itself where it correlates best. The pairs that agree are refined
together, at smaller and smaller scales of the edges.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import fft, ndimage, optimize

from cddfuse_jax.errors import InputError
from cddfuse_jax.images.registration import edge_field
from cddfuse_jax.images.rig import Rig, rig_of

Images = tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "hh ww"]]

LARGEST_SIDE = 1024  # larger images are measured reduced to this
COARSE_SIDE = 128
COVERED = np.exp(0.045 * np.arange(-27, 8))  # of the visible image's diagonal: 0.30 to 1.37
ANGLES = np.deg2rad(np.arange(-7.5, 8, 2.5))
REACH = 0.2  # of the visible image's width: the largest shift
TAPER = 0.12  # of the sides: there edges count less
NEAR = 0.02  # of the visible image's longer side: how near pairs are that agree
LEAST_PAIRS, LEAST_SHARE = 3, 0.4  # that must agree
LEAST_TOGETHER = 16.0  # what all of them must correlate by; pairs of other scenes reach 14
SMOOTHING = (4.0, 2.0, 1.2)  # sigma of the edges, in visible pixels or infrared ones if larger
# Of one field of view, assumed: what makes another one certain, on `SAMPLE` pairs at most.
# Chosen so that it is said of no pair of TNO, RoadScene or Harvard's MRI with CT or PET.
SAMPLE = 4
FIELDS, TURNS = np.exp(0.045 * np.arange(-14, 1)), np.deg2rad([-5, -2.5, 0, 2.5, 5])
LEAST_HEIGHT, OVER_AS_IS, NARROWER = 14.0, 1.45, 0.93
POINTS = 8000  # pixels of each visible image that are compared in refining


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
    reduced = [(_reduced(v, factors[0]), _reduced(i, factors[1])) for v, i in pairs]
    small = reduced[0][0].shape, reduced[0][1].shape
    height, guess = _search(reduced)
    own = _own_shifts(reduced, guess)
    agree = np.hypot(*(own - guess[2:]).T) <= NEAR * max(small[0])
    least = max(LEAST_PAIRS, math.ceil(LEAST_SHARE * len(pairs)))
    if agree.sum() < least or height < LEAST_TOGETHER:
        raise InputError(
            f"the pairs do not agree on how the cameras stand: at best {agree.sum()} of "
            f"{len(pairs)} do, by {height:.0f} times chance, and it takes {least} and "
            f"{LEAST_TOGETHER:.0f}; give more pairs of far scenes with edges, all of one rig and "
            "with --vi and --ir not swapped, or --points"
        )
    chosen = [pair for pair, agrees in zip(reduced, agree, strict=True) if agrees]
    found = np.array([*guess, 1.0, 0.0][: 6 if affine else 4])
    for smoothing in SMOOTHING:
        edges = _Edges(chosen, smoothing, found[0])
        found = edges.refined(found, 1.5 * smoothing)
    last = _Edges(reduced, SMOOTHING[-1], found[0])
    residual = np.array(
        [np.hypot(*(last.refined(found, 3.0, [k], 2) - found)[2:4]) for k in range(len(pairs))]
    )
    scale = found[0] * factors[0] / factors[1]  # back to the images' own pixels
    rig = _rig([scale, found[1], *found[2:4] * factors[0], *found[4:]], pairs[0])
    return Measured(rig, agree, residual * factors[0])


def _rig(numbers: Sequence[float], pair: Images) -> Rig:
    """Return a rig by what is searched for: scale, angle, shift, and of affine stretch, shear."""
    scale, angle, right, down, stretch, shear = [*numbers, 1.0, 0.0][:6]
    visible, infrared = ((len(image), len(image[0])) for image in pair)
    return rig_of(scale, angle, (right, down), visible, infrared, stretch, shear)


def other_view(pairs: Sequence[Images]) -> str | None:
    """Return a warning if the infrared images certainly show a narrower, or a turned, view.

    ``pairs`` are of one size; a few are enough. It takes some 0.2 s a pair.
    """
    factor = max(1.0, max(pairs[0][0].shape) / (2 * COARSE_SIDE))
    coarse = _Coarse([(_reduced(v, factor), _reduced(i, factor)) for v, i in pairs])
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


def _reduced(image: np.ndarray, factor: float) -> np.ndarray:
    """Resample an image to 1 / ``factor`` of its size; the middle stays."""
    image = image.astype(np.float32)
    if factor == 1:
        return image
    if factor > 1.2:
        image = ndimage.gaussian_filter(image, 0.5 * factor)
    shape = [max(8, round(side / factor)) for side in image.shape]
    start = [(a - 1) / 2 - factor * (b - 1) / 2 for a, b in zip(image.shape, shape, strict=True)]
    return ndimage.affine_transform(
        image, np.full(2, factor), start, tuple(shape), order=1, mode="nearest"
    )


def _tapered_field(image: np.ndarray) -> np.ndarray:
    field = edge_field(image, 1.0, 6.0)
    ends = [
        np.clip(np.minimum(np.arange(n) + 0.5, n - 0.5 - np.arange(n)) / (TAPER * n), 0, 1)
        for n in field.shape
    ]
    rows, columns = (np.sin(np.pi / 2 * end) ** 2 for end in ends)
    return field * np.outer(rows, columns).astype(np.float32)


class _Coarse:
    """The pairs' correlations over all shifts, at one scale and angle after the other."""

    def __init__(self, pairs: Sequence[Images]):
        self.infrared = [pair[1] for pair in pairs]
        self.factor = max(pairs[0][0].shape) / COARSE_SIDE
        fields = [_tapered_field(_reduced(pair[0], self.factor)) for pair in pairs]
        self.shape = fields[0].shape
        self.padded = tuple(fft.next_fast_len(int(1.55 * side) + 8) for side in self.shape)
        self.visible = [
            (np.conj(fft.fft2(f, self.padded)), np.conj(fft.rfft2(np.abs(f) ** 2, self.padded)))
            for f in fields
        ]

    def at_scale(self, scale: float) -> list[np.ndarray]:
        """Return the infrared fields, resampled by visible pixels per infrared pixel."""
        return [_tapered_field(_reduced(image, self.factor / scale)) for image in self.infrared]

    def best(self, fields, angle: float, which: Sequence[int]) -> tuple[float, float, float]:
        """Return the highest correlation of some pairs together, and its shift (right, down).

        It is in units of what it would be of fields that have nothing to do with each other.
        """
        cos, sin = math.cos(angle), math.sin(angle)
        turn = np.array([[cos, -sin], [sin, cos]])
        size = np.array(fields[0].shape)
        turned = np.minimum(self.padded, (np.abs(turn) @ size).astype(int) + 2)
        start = (size - 1) / 2 - turn @ (turned - 1) / 2
        product, power = 0, 0
        for k in which:
            field = ndimage.affine_transform(fields[k], turn, start, tuple(turned), order=1)
            field *= np.exp(2j * angle)
            product = product + self.visible[k][0] * fft.fft2(field, self.padded)
            power = power + self.visible[k][1] * fft.rfft2(np.abs(field) ** 2, self.padded)
        product, power = fft.ifft2(product).real, fft.irfft2(power, self.padded)
        height = product / np.sqrt(np.maximum(power, 0.02 * power.max()) + 1e-9)
        down, right = (
            (n - side) / 2 - np.fft.fftfreq(all_, 1 / all_)
            for n, side, all_ in zip(turned, self.shape, self.padded, strict=True)
        )
        reach = REACH * self.shape[1]
        height[np.abs(down) > reach] = -np.inf
        height[:, np.abs(right) > reach] = -np.inf
        row, column = np.unravel_index(height.argmax(), height.shape)
        return (
            float(height[row, column]),
            float(right[column] * self.factor),
            float(down[row] * self.factor),
        )


def _search(pairs: Sequence[Images]) -> tuple[float, np.ndarray]:
    """Return the pairs' highest correlation, and its scale, angle, shift right and down."""
    coarse, everyone = _Coarse(pairs), range(len(pairs))
    whole = [math.hypot(*image.shape) for image in pairs[0]]
    best = (-math.inf, np.zeros(4))
    for covered in COVERED:
        scale = covered * whole[0] / whole[1]
        fields = coarse.at_scale(scale)
        for angle in ANGLES:
            height, *shift = coarse.best(fields, angle, everyone)
            if height > best[0]:
                best = (height, np.array([scale, angle, *shift]))
    return best


def _own_shifts(pairs: Sequence[Images], guess: np.ndarray) -> Float[np.ndarray, "n 2"]:
    """Return where each pair by itself correlates best, at the scale and angle of all."""
    coarse = _Coarse(pairs)
    fields = coarse.at_scale(guess[0])
    return np.array([coarse.best(fields, guess[1], [k])[1:] for k in range(len(pairs))])


class _Edges:
    """The pairs' edge fields at one smoothing, compared at a sample of the visible pixels."""

    def __init__(self, pairs: Sequence[Images], smoothing: float, scale: float):
        self.pair = pairs[0]
        random = np.random.default_rng(0)
        infrared = max(smoothing / scale, 0.7)
        visible = infrared * scale
        self.samples = []
        for images in pairs:
            first = edge_field(images[0], visible, 8 * visible)
            second = edge_field(images[1], infrared, 8 * infrared)
            strong = np.flatnonzero(np.abs(first) >= np.quantile(np.abs(first), 0.6))
            picked = random.choice(strong, min(POINTS, strong.size), replace=False)
            at = np.stack(np.unravel_index(picked, first.shape))[::-1].astype(np.float32)
            self.samples.append((at, first.ravel()[picked], second.real, second.imag))

    def correlation(self, rig: Rig, which: Sequence[int]) -> float:
        """Return how well some pairs agree with a rig, in the units of `_Coarse.best`."""
        turn = np.exp(2j * math.radians(rig.angle))
        product, power = 0.0, 1e-9
        for at, first, *parts in (self.samples[k] for k in which):
            where = (rig.matrix[:, :2] @ at + rig.matrix[:, 2:])[::-1]
            real, imaginary = (ndimage.map_coordinates(part, where, order=1) for part in parts)
            second = (real + 1j * imaginary) * turn
            product += float((first * second.conj()).real.sum())
            power += float((np.abs(first) ** 2 * np.abs(second) ** 2).sum())
        return product / math.sqrt(power)

    def refined(
        self, found: np.ndarray, step: float, which: Sequence[int] | None = None, free: int = 0
    ) -> np.ndarray:
        """Return the numbers nearby that agree best; ``step`` is in visible pixels at a corner.

        With ``free`` of 2 only the shift moves.
        """
        which = range(len(self.samples)) if which is None else which
        turning = step / (math.hypot(*self.pair[1].shape) / 2 * found[0])
        steps = np.array([turning * found[0], turning, step, step, turning, turning])[: len(found)]
        moves = np.eye(len(found))[2:4] if free == 2 else np.eye(len(found))

        def at(x):
            return found + (x @ moves) * steps

        def cost(x):
            one = at(x)
            return -self.correlation(_rig(one, self.pair), which)

        start = np.vstack([np.zeros(len(moves)), np.eye(len(moves))])
        options = {"initial_simplex": start, "maxfev": 50 * len(moves), "xatol": 0.02}
        return at(optimize.minimize(cost, start[0], method="Nelder-Mead", options=options).x)
