"""Further scores: by hand, or as GNU Octave 7.3 computed them with Liu et al.'s toolbox (2012)."""

import math

import numpy as np
import pytest

from cddfuse_jax.metrics import METRICS

# What the toolbox gave for `images` (Qe: as the product of its Qw on images and Prewitt edges).
OCTAVE = {
    "NCIE": 0.840971437099,
    "Qw": 0.823345103826,
    "Qe": 0.585368029963,
    "Qy": 0.88526065548,
    "Qc": 0.803173019266,
}


@pytest.fixture(scope="module")
def images() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    y, x = np.mgrid[:40, :44]
    wave = np.sin(x / 5) * np.cos(y / 7)
    visible = np.rint(127 + 80 * wave + 30 * ((x * 7 + y * 13) % 11 - 5) / 5)
    infrared = np.rint(120 + 60 * wave + 25 * np.cos(x / 9) + 20 * ((x * 5 + y * 3) % 7 - 3) / 3)
    fused = np.rint(0.6 * visible + 0.4 * infrared)
    return tuple(np.clip(image, 0, 255) for image in (fused, visible, infrared))


@pytest.mark.parametrize("name", OCTAVE)
def test_values_of_an_independent_implementation(name, images):
    assert METRICS[name](*images) == pytest.approx(OCTAVE[name], rel=1e-10)


@pytest.mark.parametrize("name", ["Qw", "Qe", "Qy", "Qc"])
def test_equal_images_score_one(name, images):
    assert METRICS[name](*images[:1] * 3) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("name", OCTAVE)
def test_exchanging_the_sources_changes_nothing(name, images):
    fused, visible, infrared = images
    assert METRICS[name](fused, infrared, visible) == pytest.approx(
        METRICS[name](fused, visible, infrared), rel=1e-9
    )


def test_ncie_of_images_with_nothing_in_common_and_of_equal_ones():
    flat = np.full((4, 4), 7.0)
    assert METRICS["NCIE"](flat, flat, flat) == pytest.approx(1 - math.log(3, 256))
    # All 256 levels once: every NCC is 1, and the one eigenvalue that is not 0 is 3.
    every = np.arange(256.0).reshape(16, 16)
    assert METRICS["NCIE"](every, every, every) == pytest.approx(1)


def test_definition_by_hand():
    fused = np.array([[0.0, 3, 3], [4, 4, 4]])  # (3, 4) and (0, 1) across and down
    assert METRICS["definition"](fused) == pytest.approx((5 + 1) / math.sqrt(2) / 2)
