"""How far the infrared image of a pair is shifted against the visible one, and how sure that is.

The two cameras agree on where edges are and how they run, not on which side is brighter. So what is
correlated is the gradient at the doubled angle, (gx + i·gy)² / |g|, which does not change when
bright and dark are exchanged, divided by the mean gradient of its surroundings so that a few
strong edges do not decide alone. The phase correlation of the two fields peaks at the shift.
"""

import math
from typing import NamedTuple

import numpy as np

SCALE = 1.5  # sigma of the gradient filter in pixels
SURROUNDINGS = 12.0  # sigma of the mean gradient that edges are measured against
SPREAD = 4.0  # sigma over which a warped image's many shifts are gathered into one peak
REACH = 0.12  # of the sides: the largest shift that is looked for
LARGEST_SIDE = 1024  # larger images are measured at a whole fraction of their size

# Of the peak's height over the noise of the correlation, how much makes a shift certain; chosen on
# the pairs of experiments/measure_registration.py, which says what was found there.
LEAST_PEAK = 11.0
OVER_SECOND, OVER_NO_SHIFT = 1.15, 1.25
LEAST_SHIFT, LEAST_SHIFT_OF_SIDE = 6.0, 0.01  # pixels; fraction of the longer side


class Shift(NamedTuple):
    """Where the infrared content lies against the visible one, in pixels, and the evidence.

    ``right`` and ``down`` are positive for content displaced to the right and downwards.
    ``peak``, ``second`` and ``unshifted`` are heights of the correlation in units of its noise: at
    that shift, at the best other one, and at no shift (up to 2 pixels).
    """

    right: int
    down: int
    peak: float
    second: float
    unshifted: float
    longer_side: int

    @property
    def length(self) -> float:
        """Length of the shift in pixels."""
        return math.hypot(self.right, self.down)

    @property
    def is_misregistered(self) -> bool:
        """Whether the shift is both certain and large enough to show in a fused image."""
        return (
            self.peak >= LEAST_PEAK
            and self.peak >= OVER_SECOND * self.second
            and self.peak >= OVER_NO_SHIFT * self.unshifted
            and self.length >= max(LEAST_SHIFT, LEAST_SHIFT_OF_SIDE * self.longer_side)
        )

    @property
    def warning(self) -> str:
        """The line for a pair that `is_misregistered`."""
        across = f"{abs(self.right)} {'left' if self.right < 0 else 'right'}"
        along = f"{abs(self.down)} {'up' if self.down < 0 else 'down'}"
        return (
            f"the infrared image seems shifted by {across} and {along} (pixels) against the "
            "visible one; fusion needs registered pairs (fuse --align undoes a shift; for turned, "
            "scaled or warped ones see docs/troubleshooting.md)"
        )


def measure_shift(visible: np.ndarray, infrared: np.ndarray) -> Shift | None:
    """Measure the shift of a pair, two HxW images of any range; None if they are too small or flat.

    Only a shift is measured: a rotation or warp shows as the shift of the part that agrees best.
    """
    height, width = visible.shape
    step = math.ceil(max(height, width) / LARGEST_SIDE)
    reach = [round(REACH * (side // step)) for side in (height, width)]
    if min(reach) < 4:
        return None
    fields = [_field(_reduced(image, step)) for image in (visible, infrared)]
    if not all(field.any() for field in fields):
        return None
    spectrum = np.fft.fft2(fields[0]) * np.conj(np.fft.fft2(fields[1]))
    spectrum /= np.maximum(np.abs(spectrum), 1e-9 * np.abs(spectrum).max())
    correlation = np.fft.fftshift(np.fft.ifft2(spectrum * _gaussian(spectrum.shape, SPREAD)).real)
    noise = 1.4826 * np.median(np.abs(correlation))
    middle = [side // 2 for side in correlation.shape]
    window = correlation[
        tuple(slice(m - r, m + r + 1) for m, r in zip(middle, reach, strict=True))
    ] / (noise or 1)
    row, column = np.unravel_index(window.argmax(), window.shape)
    apart = round(4 * SPREAD + 2)
    others = window.copy()
    others[max(0, row - apart) : row + apart + 1, max(0, column - apart) : column + apart + 1] = 0
    near_zero = window[reach[0] - 2 : reach[0] + 3, reach[1] - 2 : reach[1] + 3]
    return Shift(
        right=int(step * (reach[1] - column)),
        down=int(step * (reach[0] - row)),
        peak=float(window.max()),
        second=float(others.max()),
        unshifted=float(near_zero.max()),
        longer_side=max(height, width),
    )


def _reduced(image: np.ndarray, step: int) -> np.ndarray:
    height, width = (side // step * step for side in image.shape)
    cells = image[:height, :width].astype(np.float32)
    return cells.reshape(height // step, step, width // step, step).mean((1, 3))


def _field(image: np.ndarray) -> np.ndarray:
    taper = np.hanning(image.shape[0])[:, None] * np.hanning(image.shape[1])
    return edge_field(image, SCALE, SURROUNDINGS) * taper


def edge_field(image: np.ndarray, scale: float, surroundings: float) -> np.ndarray:
    """Return how the edges of an HxW image run, complex, of mean 0; all 0 where it is flat.

    ``scale`` is the sigma of the gradient filter in pixels, ``surroundings`` that of the mean
    gradient that edges are measured against.
    """
    gradient = _smoothed(image, scale, gradient=True)
    strength = np.abs(gradient)
    if not (mean := strength.mean()) > 1e-6 * max(1e-6, float(np.ptp(image))):
        return np.zeros(image.shape, np.complex64)
    around = _smoothed(strength, surroundings).real + 0.5 * mean
    field = gradient**2 / (strength + 1e-6 * mean) / around
    return field - field.mean()


def _smoothed(image: np.ndarray, sigma: float, gradient: bool = False) -> np.ndarray:
    """Filter an image, mirrored at its border, with a Gaussian, or gx + i·gy of it.

    By Fourier transforms, as all the rest here: SciPy's filters take longer to import than this
    takes for a pair of images, in commands that need nothing else of SciPy.
    """
    margin = math.ceil(4 * sigma)
    # Sides of many small factors are transformed faster.
    ends = [(margin, margin + -(side + 2 * margin) % 32) for side in image.shape]
    padded = np.pad(image, ends, mode="symmetric")
    spectrum = np.fft.fft2(padded) * _gaussian(padded.shape, sigma)
    if gradient:
        down, across = map(np.fft.fftfreq, padded.shape)
        spectrum *= 2j * np.pi * (across + 1j * down[:, None])
    height, width = image.shape
    return np.fft.ifft2(spectrum)[margin : margin + height, margin : margin + width]


def _gaussian(shape: tuple[int, ...], sigma: float) -> np.ndarray:
    """Return the Fourier transform of a Gaussian of weight 1, zero frequency first."""
    rows, columns = (np.exp(-2 * (np.pi * sigma * np.fft.fftfreq(side)) ** 2) for side in shape)
    return np.outer(rows, columns).astype(np.float32)
