"""Scores against their formulas, written down plainly: sums over windows, whole Fourier planes."""

import math

import numpy as np
import pytest
import scipy.signal

from cddfuse_jax.metrics import METRICS, PROTOCOLS

VIFB = PROTOCOLS["vifb"].metrics


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    """Fused, visible, infrared: smooth shapes with edges, of uneven sides and unlike each other."""
    y, x = np.mgrid[:21, :38]
    visible = 120 + 70 * np.sin(x / 4) * np.cos(y / 3) + 40 * (x > 20)
    infrared = 90 + 60 * np.cos(x / 6 + y / 5) + 50 * (y > 12) * (x < 9)
    fused = 0.5 * visible + 0.4 * infrared + 6 * np.sin(x * y / 15)
    return [np.rint(np.clip(image, 0, 255)) for image in (fused, visible, infrared)]


def stretched(image):
    return np.floor((image - image.min()) / np.ptp(image) * 255 + 0.5)


def frequency_filtered(image, part, gain):
    height, width = image.shape
    down, across = np.fft.fftfreq(height, 1 / height), np.fft.fftfreq(width, 1 / width)
    r = 2 * np.sqrt(down[:, None] ** 2 + across**2) / part
    return np.fft.ifft2(np.fft.fft2(image) * gain(r)).real


def masked_contrast(image):
    def sensitivity(r):
        return np.exp(-((r / 15.387) ** 2)) - 0.7622 * np.exp(-((r / 1.3456) ** 2))

    def blurred(sigma):
        y, x = np.mgrid[-15:16, -15:16]
        window = np.exp(-(x**2 + y**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)
        return scipy.signal.convolve2d(seen, window, mode="same")

    seen = frequency_filtered(stretched(image), 30, sensitivity)
    contrast = abs(blurred(2) / blurred(4) - 1)
    return contrast**3 / (contrast**2 + 0.0001)


def test_qcb_is_its_formula(images):
    fused, *sources = (masked_contrast(image) for image in images)
    share = sources[0] ** 2 / (sources[0] ** 2 + sources[1] ** 2)
    kept = [np.minimum(s, fused) / np.maximum(s, fused) for s in sources]
    expected = np.mean(share * kept[0] + (1 - share) * kept[1])
    assert METRICS["Qcb"](*images) == pytest.approx(expected, rel=1e-9)


def test_qcv_is_its_formula(images):
    fused, *sources = map(stretched, images)
    sobel = np.outer([1, 2, 1], [-1, 0, 1])
    weighted = weights = 0.0
    for source in sources:
        edges = [scipy.signal.convolve2d(source, s, mode="same") for s in (sobel, sobel.T)]
        strength = np.hypot(*edges) ** 5
        difference = frequency_filtered(
            source - fused, 8, lambda r: 2.6 * (0.0192 + 0.144 * r) * np.exp(-((0.144 * r) ** 1.1))
        )
        for top in range(0, 21, 16):
            for left in range(0, 38, 16):
                block = slice(top, top + 16), slice(left, left + 16)
                weighted += strength[block].sum() * np.sum(difference[block] ** 2) / 256
                weights += strength[block].sum()
    assert METRICS["Qcv"](*images) == pytest.approx(weighted / weights, rel=1e-9)


def test_ssim_of_vifb_is_its_formula(images):
    taps = np.exp(-(np.arange(-5.0, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(taps, taps) / taps.sum() ** 2
    fused, *sources = images
    expected = 0.0
    for source in sources:
        values = []
        for top in range(21 - 10):
            for left in range(38 - 10):
                a, b = (x[top : top + 11, left : left + 11] for x in (fused, source))
                m, n = (window * a).sum(), (window * b).sum()
                v, w = (window * (a - m) ** 2).sum(), (window * (b - n) ** 2).sum()
                c = (window * (a - m) * (b - n)).sum()
                values.append(
                    (2 * m * n + 2.55**2) * (2 * c + 7.65**2)
                    / ((m**2 + n**2 + 2.55**2) * (v + w + 7.65**2))
                )  # fmt: skip
        expected += np.mean(values)
    assert VIFB["SSIM"](*images) == pytest.approx(expected, rel=1e-9)


def test_qabf_of_vifb_takes_equal_strengths_times_255():
    # Every pixel of 2x2 is a corner, both Sobel filters give 3: sqrt(18) · 0.0005 · 255 = 0.54.
    image = np.full((2, 2), 0.0005)
    ratio = math.sqrt(18) * 0.0005 * 255
    expected = 0.9994 / (1 + math.exp(-15 * (ratio - 0.5))) * 0.9879 / (1 + math.exp(-22 * 0.2))
    assert VIFB["Qabf"](image, image, image, data_range=255) == pytest.approx(expected, rel=1e-5)


# In a window of 7x7 alone, of images m + a, m + k a: SSIM without constants is 2k/(1 + k²).
def one_window(*factors: float) -> list[np.ndarray]:
    pattern = np.outer([-3, 1, 2, 0, 2, 1, -3], [1, -2, 1, 0, 1, -2, 1]).astype(float)
    taps = np.exp(-(np.arange(-3.0, 4) ** 2) / (2 * 1.5**2))
    weights = np.outer(taps, taps) / taps.sum() ** 2
    pattern -= (weights * pattern).sum()
    return [100 + factor * pattern for factor in factors]


def likeness(k: float) -> float:
    return 2 * k / (1 + k * k)


@pytest.mark.parametrize("k", [0.45, 0.48])
def test_qy_mixes_where_the_sources_are_alike_from_075(k):
    # likeness(0.45) is 0.748, likeness(0.48) is 0.780; visible and fused are equal.
    share = 1 / (1 + k * k)  # the visible image's, of both variances
    expected = share + (1 - share) * likeness(k) if likeness(k) >= 0.75 else 1.0
    assert METRICS["Qy"](*one_window(1, 1, k)) == pytest.approx(expected, rel=1e-9)


def test_qc_clips_the_share_of_a_source_that_opposes_the_fused_image():
    # Covariances with the fused image are -0.5 and 2 of its variance: shares of -1/3 and 4/3.
    for images in (one_window(1, -0.5, 2), one_window(1, 2, -0.5)):
        assert METRICS["Qc"](*images) == pytest.approx(likeness(2), rel=1e-9)


def test_flat_sources_weigh_the_same():
    flat = [np.full((12, 12), level) for level in (100.0, 110.0, 130.0)]
    alike = [(2 * 100 * b + 2.55**2) / (100**2 + b**2 + 2.55**2) for b in (110, 130)]
    assert METRICS["Qw"](*flat) == pytest.approx(sum(alike) / 2, rel=1e-9)


def test_a_faint_texture_is_no_flat_window_to_qy():
    up, down = one_window(0.01, -0.01)  # a variance of 1e-8 of the squared mean
    assert METRICS["Qy"](up, down, down) == pytest.approx(-1, rel=1e-6)
