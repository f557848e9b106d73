"""Phase congruency: where an image's frequencies agree in phase, whatever its contrast (Kovesi)."""

import functools
from typing import NamedTuple

import numpy as np
import scipy  # whose parts are imported when first used

from cddfuse_jax.metrics.record import Plane
from cddfuse_jax.metrics.shapes import Float, Num

_SCALES, _ORIENTATIONS = 4, 6
_WAVELENGTH, _FACTOR = 3.0, 2.1  # of the finest filter in pixels; from scale to scale
_BANDWIDTH = 0.55  # sigma of the log-Gabor filter's logarithm, over its centre
_ANGULAR_SIGMA = np.pi / _ORIENTATIONS / 1.2
_CUT, _ORDER = 0.45, 15  # Butterworth low pass: nothing from the corners of the spectrum
_NOISE_DEVIATIONS = 2.0
_NOISE_SCALE = 1.7  # by which the noise is found to be overestimated
_LEAST_WIDTH, _SHARPNESS = 0.5, 10.0  # of the frequencies present, below which they count less
_TINY = 1e-4


class PhaseCongruency(NamedTuple):
    """At every pixel.

    Attributes:
        congruency: 0 to 1, over all orientations.
        largest: the larger principal moment of the congruencies by orientation: edges.
        smallest: the smaller one: corners.
    """

    congruency: Plane
    largest: Plane
    smallest: Plane


def phase_congruency(image: Plane) -> PhaseCongruency:
    """Phase congruency (Kovesi's second measure) of an image, values 0-255.

    Four scales of log-Gabor filters from wavelength 3 by 2.1, six orientations. Energy is the sum
    over scales of A (cos d - |sin d|) with d the deviation from the mean phase, less a threshold
    from the median response of the finest scale, weighted by how wide the frequencies are spread;
    congruency is energy over the sum of amplitudes. 0 where nothing responds.
    """
    spectrum = scipy.fft.fft2(image)
    radial, angular = _filters(*image.shape)
    energies, amplitudes = np.zeros(image.shape), np.zeros(image.shape)
    moments = np.zeros((3, *image.shape))
    for k in range(_ORIENTATIONS):
        filters = [each * angular[k] for each in radial]
        energy, amplitude = _energy(spectrum, filters)
        energies, amplitudes = energies + energy, amplitudes + amplitude
        here = np.divide(energy, amplitude, out=np.zeros_like(energy), where=amplitude > 0)
        x, y = (here * f(k * np.pi / _ORIENTATIONS) for f in (np.cos, np.sin))
        moments += np.stack([x * x, y * y, x * y])
    xx, yy, xy = moments * 2 / _ORIENTATIONS
    root = np.sqrt((xy / 2) ** 2 + (xx - yy) ** 2) + _TINY
    return PhaseCongruency(
        energies / (amplitudes + _TINY), (yy + xx + root) / 2, (yy + xx - root) / 2
    )


def _energy(spectrum: Num[np.ndarray, "h w"], filters: list[Plane]) -> tuple[Plane, Plane]:
    """Return weighted energy above the noise, and the sum of amplitudes, of one orientation."""
    responses = [scipy.fft.ifft2(spectrum * each) for each in filters]
    sizes = [np.abs(each) for each in responses]
    total, amplitude = sum(responses), sum(sizes)
    phase = total / (np.abs(total) + _TINY)
    turned = [each * phase.conj() for each in responses]
    energy = sum(each.real - np.abs(each.imag) for each in turned)
    energy = np.maximum(energy - _noise(sizes[0], filters), 0)
    width = amplitude / (np.max(sizes, axis=0) + _TINY) / _SCALES
    return energy / (1 + np.exp((_LEAST_WIDTH - width) * _SHARPNESS)), amplitude


def _noise(finest: Plane, filters: list[Plane]) -> float:
    """Energy that Gaussian noise alone would seldom exceed."""
    power = np.median(finest**2) / np.log(2) / (filters[0] ** 2).sum()
    # Summed over pixels, the squared real part of the filters' sum; by Parseval, in frequencies.
    whole = np.sum(filters, axis=0)
    mirrored = np.roll(whole[::-1, ::-1], (1, 1), axis=(0, 1))
    rayleigh = np.sqrt(power * (((whole + mirrored) / 2) ** 2).sum())
    expected, deviation = rayleigh * np.sqrt(np.pi / 2), rayleigh * np.sqrt(2 - np.pi / 2)
    return (expected + _NOISE_DEVIATIONS * deviation) / _NOISE_SCALE


@functools.lru_cache(maxsize=2)
def _filters(
    height: int, width: int
) -> tuple[Float[np.ndarray, "4 h w"], Float[np.ndarray, "6 h w"]]:
    """Radial and angular parts of the filters, zero frequency first."""
    y, x = np.meshgrid(_frequencies(height), _frequencies(width), indexing="ij")
    radius, angle = np.hypot(x, y), np.arctan2(-y, x)
    radius[height // 2, width // 2] = 1
    radius, angle = scipy.fft.ifftshift(radius), scipy.fft.ifftshift(angle)
    # As published: the low pass divides by the size even where it is odd, and is shifted by one
    # frequency there.
    y, x = ((np.arange(n) - n // 2) / n for n in (height, width))
    smooth = scipy.fft.fftshift(1 / (1 + (np.hypot(y[:, None], x) / _CUT) ** (2 * _ORDER)))
    radial = []
    for scale in range(_SCALES):
        centre = 1 / (_WAVELENGTH * _FACTOR**scale)
        part = np.exp(-(np.log(radius / centre) ** 2) / (2 * np.log(_BANDWIDTH) ** 2)) * smooth
        part[0, 0] = 0
        radial.append(part)
    angular = []
    for k in range(_ORIENTATIONS):
        apart = np.angle(np.exp(1j * (angle - k * np.pi / _ORIENTATIONS)))
        angular.append(np.exp(-(apart**2) / (2 * _ANGULAR_SIGMA**2)))
    return np.stack(radial), np.stack(angular)


def _frequencies(size: int) -> Float[np.ndarray, " size"]:
    """Cycles per pixel, zero in the middle; an odd number reaches from -1/2 to 1/2."""
    return (np.arange(size) - size // 2) / (size - size % 2)
