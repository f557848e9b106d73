"""Qp written down plainly in NumPy, filter by filter, to time ours beside (see plain_scores.py)."""

# ruff: noqa: D103 - the names are those of what they compute
import numpy as np
from plain_scores import gaussian, same

ANGLES = np.arange(6) * np.pi / 6
WAVELENGTHS = 3 * 2.1 ** np.arange(4)


def frequencies(n):
    return np.fft.ifftshift((np.arange(n) - n // 2) / (n - n % 2))


def log_gabor(shape, wavelength, angle):
    y, x = np.meshgrid(*map(frequencies, shape), indexing="ij")
    radius, direction = np.hypot(x, y), np.arctan2(-y, x)
    radius[0, 0] = 1
    v, u = np.meshgrid(*((np.arange(n) - n // 2) / n for n in shape), indexing="ij")
    low_pass = np.fft.ifftshift(1 / (1 + (np.hypot(u, v) / 0.45) ** 30))
    radial = np.exp(-(np.log(radius * wavelength) ** 2) / (2 * np.log(0.55) ** 2)) * low_pass
    radial[0, 0] = 0
    apart = np.angle(np.exp(1j * (direction - angle)))
    return radial * np.exp(-(apart**2) / (2 * (np.pi / 6 / 1.2) ** 2))


def threshold(finest, filters):
    power = np.median(np.abs(finest) ** 2) / np.log(2) / (filters[0] ** 2).sum()
    noise = [np.fft.ifft2(each).real for each in filters]
    size = np.sqrt(power * finest.size * (sum(noise) ** 2).sum())
    return size * (np.sqrt(np.pi / 2) + 2 * np.sqrt(2 - np.pi / 2)) / 1.7


def phase_congruency(image):
    energies = amplitudes = xx = yy = xy = 0
    for angle in ANGLES:
        filters = [log_gabor(image.shape, wavelength, angle) for wavelength in WAVELENGTHS]
        responses = [np.fft.ifft2(np.fft.fft2(image) * each) for each in filters]
        sizes = np.abs(responses)
        phase = sum(responses) / (np.abs(sum(responses)) + 1e-4)
        along = np.real(responses * phase.conj())
        across = np.imag(responses * phase.conj())
        energy = (along - np.abs(across)).sum(0) - threshold(responses[0], filters)
        width = sizes.sum(0) / (sizes.max(0) + 1e-4) / 4
        energy = np.maximum(energy, 0) / (1 + np.exp((0.5 - width) * 10))
        here = energy / np.where(sizes.sum(0) > 0, sizes.sum(0), 1)
        energies, amplitudes = energies + energy, amplitudes + sizes.sum(0)
        c, s = here * np.cos(angle), here * np.sin(angle)
        xx, yy, xy = xx + c * c / 3, yy + s * s / 3, xy + c * s / 3
    root = np.sqrt((xy / 2) ** 2 + (xx - yy) ** 2) + 1e-4
    return energies / (amplitudes + 1e-4), (yy + xx + root) / 2, (yy + xx - root) / 2


def correlation(a, b):
    window = gaussian(11, 1.5)
    m, n = same(a, window), same(b, window)
    v, w = same(a * a, window) - m * m, same(b * b, window) - n * n
    return (same(a * b, window) - m * n + 1e-4) / (np.sqrt(np.abs(v * w)) + 1e-4)


def qp(fused, visible, infrared):
    own, first, second = map(phase_congruency, (fused, visible, infrared))
    features = [first[0] > 0.1, second[0] > 0.1, np.maximum(first[0], second[0]) > 0.1]
    product = 1.0
    for ours, a, b in zip(own, first, second, strict=True):
        maps = [a, b, np.where(first[0] > second[0], a, b)]
        found = [m * correlation(m * t, ours) for m, t in zip(features, maps, strict=True)]
        product *= np.max(found, axis=0).sum() / features[2].sum()
    return product
