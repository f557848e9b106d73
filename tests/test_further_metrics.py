"""Further scores: by hand, or as GNU Octave 7.3 computed them with the programs of their authors.

Those are Liu et al.'s toolbox (2012) and what a public collection of fusion scores keeps of
Haghighat's FMI, Shreyamsha Kumar's Nabf and Han's VIFF; MS-SSIM is pytorch_msssim 1.0.0's.
"""

import math

import numpy as np
import pytest

from cddfuse_jax.errors import InputError
from cddfuse_jax.metrics import METRICS

# What the toolbox gave for `images` (Qe: as the product of its Qw on images and Prewitt edges).
OCTAVE = {
    "NCIE": 0.840971437099,
    "Qw": 0.823345103826,
    "Qe": 0.585368029963,
    "Qy": 0.88526065548,
    "Qc": 0.803173019266,
}

# Likewise for `patchy_images`, with artifacts, flat and saturated regions, and odd sides.
OCTAVE_PATCHY = {
    "FMI_pixel": (0.357890243946, 0.413239152873),
    "Nabf": (0.03753428475184, 0.00449832586575),
    "Qp": (0.298912744093, 0.160431144698),
    "VIFF": (0.708400681871, 0.687542421399),
}


def make_images(height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    y, x = np.mgrid[:height, :width]
    wave = np.sin(x / 5) * np.cos(y / 7)
    visible = np.rint(127 + 80 * wave + 30 * ((x * 7 + y * 13) % 11 - 5) / 5)
    infrared = np.rint(120 + 60 * wave + 25 * np.cos(x / 9) + 20 * ((x * 5 + y * 3) % 7 - 3) / 3)
    fused = np.rint(0.6 * visible + 0.4 * infrared)
    return tuple(np.clip(image, 0, 255) for image in (fused, visible, infrared))


@pytest.fixture(scope="module")
def images() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return make_images(40, 44)


@pytest.fixture(scope="module")
def patchy_images() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """With a pattern that no source has; and with regions that are flat in one, two or all."""
    fused, visible, infrared = make_images(45, 51)
    y, x = np.mgrid[:45, :51]
    rough = np.clip(fused + 10 * ((x * 3 + y * 5) % 4 - 1.5) * (x > 20), 0, 255)
    patched = [image.copy() for image in (fused, visible, infrared)]
    patched[0][:12, :20] = patched[1][:9, :16] = 90
    patched[1][30:, 40:] = 255
    patched[2][:10, :12] = 30
    patched[2][33:, 44:] = 0
    return [(rough, visible, infrared), tuple(patched)]


@pytest.mark.parametrize("name", OCTAVE)
def test_values_of_an_independent_implementation(name, images):
    assert METRICS[name](*images) == pytest.approx(OCTAVE[name], rel=1e-10)


@pytest.mark.parametrize("name", OCTAVE_PATCHY)
@pytest.mark.parametrize("case", [0, 1])
def test_values_of_the_authors_programs(name, case, patchy_images):
    expected = pytest.approx(OCTAVE_PATCHY[name][case], rel=1e-9)
    assert METRICS[name](*patchy_images[case]) == expected


def test_ms_ssim_is_the_mean_of_another_implementations_values():
    mean = (0.9769017162883471 + 0.9327830786651753) / 2  # of visible, and of infrared
    # Its window is of float32.
    assert METRICS["MS-SSIM"](*make_images(176, 192)) == pytest.approx(mean, rel=1e-6)


def test_ms_ssim_takes_odd_sides_and_refuses_those_that_hold_no_fifth_window():
    near = METRICS["MS-SSIM"](*make_images(176, 192))
    assert METRICS["MS-SSIM"](*make_images(161, 175)) == pytest.approx(near, abs=0.01)
    with pytest.raises(InputError, match="MS-SSIM needs images of at least 161x161, got 175x160"):
        METRICS["MS-SSIM"](*make_images(160, 175))


def test_nabf_of_an_edge_that_no_source_has_by_hand():
    fused, flat = np.zeros((4, 4)), np.zeros((4, 4))
    fused[:, 2:] = 8  # Sobel/8 gives 4 in the two columns next to the step, half of all pixels
    # Neither strength nor angle is kept: G = 0; a = |1 - 1| = 0.
    quality = math.sqrt(0.9999 / (1 + math.exp(9.5)) * 0.9995 / (1 + math.exp(11)))
    assert METRICS["Nabf"](fused, flat, flat) == pytest.approx((1 - quality) / 2)
    assert METRICS["Nabf"](flat, fused, fused) == 0


@pytest.mark.parametrize("name", ["Qw", "Qe", "Qy", "Qc"])
def test_equal_images_score_one(name, images):
    assert METRICS[name](*images[:1] * 3) == pytest.approx(1, abs=1e-9)


def test_ncie_of_images_with_nothing_in_common_and_of_equal_ones():
    flat = np.full((4, 4), 7.0)
    assert METRICS["NCIE"](flat, flat, flat) == pytest.approx(1 - math.log(3, 256))
    # All 256 levels once: every NCC is 1, and the one eigenvalue that is not 0 is 3.
    every = np.arange(256.0).reshape(16, 16)
    assert METRICS["NCIE"](every, every, every) == pytest.approx(1)


def test_definition_by_hand():
    fused = np.array([[0.0, 3, 3], [4, 4, 4]])  # (3, 4) and (0, 1) across and down
    assert METRICS["definition"](fused) == pytest.approx((5 + 1) / math.sqrt(2) / 2)
