"""How well the images of a rig's pairs agree, by how their edges run."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy import fft, ndimage, optimize

from cddfuse_jax.rigs.rig import Rig, rig_of
from cddfuse_jax.rigs.shift import edge_field

Images = tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "hh ww"]]

COARSE_SIDE = 128
REACH = 0.2  # of the visible image's width: the largest shift
TAPER = 0.12  # of the sides: there edges count less
POINTS = 8000  # pixels of each visible image that are compared in refining


def rig_by(numbers: Sequence[float], pair: Images) -> Rig:
    """Return a rig by what is searched for: scale, angle, shift, and of affine stretch, shear."""
    scale, angle, right, down, stretch, shear = [*numbers, 1.0, 0.0][:6]
    visible, infrared = ((len(image), len(image[0])) for image in pair)
    return rig_of(scale, angle, (right, down), visible, infrared, stretch, shear)


def reduced(image: np.ndarray, factor: float) -> np.ndarray:
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


class Coarse:
    """The pairs' correlations over all shifts, at one scale and angle after the other."""

    def __init__(self, pairs: Sequence[Images], side: int = COARSE_SIDE):
        self.infrared = [pair[1] for pair in pairs]
        self.factor = max(pairs[0][0].shape) / side
        fields = [_tapered_field(reduced(pair[0], self.factor)) for pair in pairs]
        self.shape = fields[0].shape
        self.padded = tuple(fft.next_fast_len(int(1.55 * side) + 8) for side in self.shape)
        self.visible = [
            (np.conj(fft.fft2(f, self.padded)), np.conj(fft.rfft2(np.abs(f) ** 2, self.padded)))
            for f in fields
        ]

    def at_scale(self, scale: float) -> list[np.ndarray]:
        """Return the infrared fields, resampled by visible pixels per infrared pixel."""
        return [_tapered_field(reduced(image, self.factor / scale)) for image in self.infrared]

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


class Edges:
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
        """Return how well some pairs agree with a rig, in the units of `Coarse.best`."""
        turn = np.exp(2j * math.radians(rig.angle))
        product, power = 0.0, 1e-9
        for at, first, *parts in (self.samples[k] for k in which):
            where = (rig.matrix[:2, :2] @ at + rig.matrix[:2, 2:])[::-1]
            real, imaginary = (ndimage.map_coordinates(part, where, order=1) for part in parts)
            second = (real + 1j * imaginary) * turn
            product += float((first * second.conj()).real.sum())
            power += float((np.abs(first) ** 2 * np.abs(second) ** 2).sum())
        return product / math.sqrt(power)

    def refined(self, found: np.ndarray, step: float, alone: int | None = None) -> np.ndarray:
        """Return the numbers nearby that agree best; ``step`` is in visible pixels at a corner.

        With the number of a pair ``alone``, only the shift moves, to where that pair agrees.
        """
        which = range(len(self.samples)) if alone is None else [alone]
        turning = step / (math.hypot(*self.pair[1].shape) / 2 * found[0])
        steps = np.array([turning * found[0], turning, step, step, turning, turning])[: len(found)]
        moves = np.eye(len(found))[slice(None) if alone is None else slice(2, 4)]

        def at(x):
            return found + (x @ moves) * steps

        def cost(x):
            one = at(x)
            return -self.correlation(rig_by(one, self.pair), which)

        start = np.vstack([np.zeros(len(moves)), np.eye(len(moves))])
        options = {"initial_simplex": start, "maxfev": 50 * len(moves), "xatol": 0.02}
        return at(optimize.minimize(cost, start[0], method="Nelder-Mead", options=options).x)
