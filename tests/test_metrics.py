import itertools
import math

import numpy as np
import pytest

from cddfuse_jax.errors import InputError
from cddfuse_jax.metrics import PROTOCOLS

METRICS, CORRECTED = PROTOCOLS["release"].metrics, PROTOCOLS["corrected"].metrics
PAIRWISE = ("MI", "SCD", "VIF", "Qabf", "SSIM", "CC", "MSE", "PSNR")


def image(*rows) -> np.ndarray:
    return np.array(rows, np.float32)


def noise(seed: int, shape=(48, 52)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.float32)


def score(name, fused, visible=None, infrared=None, scores=METRICS) -> float:
    visible = fused if visible is None else visible
    infrared = visible if infrared is None else infrared
    return scores[name](fused, visible, infrared, data_range=255)


def test_order_is_the_papers():
    assert list(METRICS) == (
        ["EN", "SD", "SF", "MI", "SCD", "VIF", "Qabf", "SSIM", "AG", "CC", "MSE", "PSNR"]
    )
    assert list(CORRECTED) == list(METRICS)


# Answers worked out by hand.


def test_entropy_in_bits():
    assert score("EN", image([0, 0, 255, 255])) == pytest.approx(1)
    assert score("EN", image([0, 1], [2, 3])) == pytest.approx(2)
    assert score("EN", image([7, 7, 7, 9])) == pytest.approx(2 - 0.75 * math.log2(3))
    assert score("EN", image([0.4, 0, 1.4, 0.6])) == pytest.approx(1)  # values are rounded


def test_mean_squared_error_and_psnr():
    fused = np.zeros((2, 2), np.float32)
    assert score("MSE", fused, fused + 2, fused + 4) == (4 + 16) / 2
    assert score("PSNR", fused + 10, fused + 9, fused + 11) == pytest.approx(20)
    corrected = score("PSNR", fused + 10, fused + 9, fused + 11, CORRECTED)
    assert corrected == pytest.approx(20 * math.log10(255))


def test_qabf_of_flat_images_sees_the_frame_that_zero_padding_draws():
    one = np.ones((2, 2), np.float32)
    best_angle = 0.9879 / (1 + math.exp(-22 * 0.2))
    # Every pixel is a corner: both Sobel filters give 3, and all angles agree.
    half = 0.9994 / 2 * best_angle
    assert score("Qabf", one, 2 * one) == pytest.approx(half, rel=1e-6)
    # Where strengths are equal the release takes that strength, here sqrt(18), for their ratio.
    equal = 0.9994 / (1 + math.exp(-15 * (math.sqrt(18) - 0.5))) * best_angle
    assert score("Qabf", one) == pytest.approx(equal, rel=1e-6)
    assert score("Qabf", one, scores=CORRECTED) == 0  # no frame, so no edge


def test_qabf_of_crossed_edges():
    across = np.tile(np.arange(0, 200, 20, dtype=np.float32), (10, 1))
    # Inside, strengths are equal (160) and angles differ by pi/2: a = 0.
    perpendicular = 0.9994 / (1 + math.exp(-7.5)) * 0.9879 / (1 + math.exp(22 * 0.8))
    aligned = 0.9994 / (1 + math.exp(-7.5)) * 0.9879 / (1 + math.exp(-22 * 0.2))
    assert score("Qabf", across.T, across, scores=CORRECTED) < 2 * perpendicular
    assert score("Qabf", across, scores=CORRECTED) == pytest.approx(aligned, rel=1e-6)


def test_corrected_qabf_takes_edges_modulo_pi():
    y, x = np.mgrid[:5, :9].astype(np.float32)
    leaning_left, leaning_right = 60 * y + x, 60 * y + 8 - x
    assert score("Qabf", leaning_left, leaning_right, scores=CORRECTED) > 0.96
    assert score("Qabf", leaning_left, leaning_right) < 0.5


def test_ssim_of_flat_images():
    zero = np.zeros((8, 8), np.float32)
    # Variances vanish; what is left of SSIM is C1/(c² + C1), C1 = (0.01 range)².
    assert score("SSIM", zero, zero + 1) == pytest.approx(2 * 4e-4 / (1 + 4e-4), rel=1e-5)
    expected = 2 * 6.5025 / (100 + 6.5025)
    assert score("SSIM", zero, zero + 10, scores=CORRECTED) == pytest.approx(expected, rel=1e-12)


# Properties.


@pytest.mark.parametrize("protocol", ["release", "corrected"])
@pytest.mark.parametrize("name", METRICS)
def test_exchanging_the_sources_changes_nothing(protocol, name):
    fused, visible, infrared = noise(0), noise(1), noise(2)
    function = PROTOCOLS[protocol].metrics[name]
    there, back = function(fused, visible, infrared), function(fused, infrared, visible)
    assert there == pytest.approx(back, rel=1e-12)


@pytest.mark.parametrize("protocol", ["release", "corrected"])
def test_identical_images(protocol):
    same, scores = noise(3), PROTOCOLS[protocol].metrics
    best = {name: score(name, same, scores=scores) for name in PAIRWISE}
    assert best["VIF"] == pytest.approx(2, rel=1e-9)
    assert best["SSIM"] == pytest.approx(2, rel=1e-6)
    assert best["CC"] == pytest.approx(1, rel=1e-12)
    assert best["MI"] == pytest.approx(2 * math.log(2) * score("EN", same), rel=1e-12)
    assert best["Qabf"] == pytest.approx(0.975, abs=2e-3)
    assert best["MSE"] == 0
    assert best["PSNR"] == math.inf
    assert best["SCD"] == 0  # the differences are flat


@pytest.mark.parametrize("protocol", ["release", "corrected"])
def test_flat_images_have_defined_values(protocol):
    grey, black, other = np.full((41, 43), 100), np.zeros((41, 43)), noise(4, (41, 43))
    for images in itertools.product((grey, black, other), repeat=3):
        for name, function in PROTOCOLS[protocol].metrics.items():
            value = function(*images)
            assert isinstance(value, float)
            assert math.isfinite(value) or (name == "PSNR" and score("MSE", *images) == 0)
    for name in ("EN", "SD", "SF", "AG", "MI", "CC", "VIF"):
        assert score(name, grey, other, other) == 0
    assert score("VIF", other, grey, black) == 2
    assert score("VIF", other, other, grey) == pytest.approx(2, rel=1e-9)
    assert score("Qabf", other, black, black) == 0
    assert METRICS["PSNR"](black, other, other) == 0


def test_a_flat_patch_of_any_brightness_is_flat_to_vif():
    # 0.1 is no binary fraction: its blurred square and squared blur differ by rounding.
    for level in (0.1, 77.7, 255):
        assert score("VIF", noise(5), np.full((48, 52), level, np.float32), noise(5)) == (
            pytest.approx(2, rel=1e-9)
        )


def test_scores_take_uint8_without_wrapping_around():
    low, high = np.zeros((8, 8), np.uint8), np.full((8, 8), 200, np.uint8)
    assert score("MSE", low, high) == 40000


@pytest.mark.parametrize("name", METRICS)
def test_bad_images_are_refused_in_one_line(name):
    good = noise(6)
    nan = good.copy()
    nan[3, 3] = np.nan
    bad = [good[None], nan, good + 1, good - 1, np.zeros((0, 4))]
    given = [(x, x, x) for x in bad]
    if METRICS[name].needs_sources:
        given += [(good, good, x) for x in [*bad, good[:-1]]]
    for images in given:
        with pytest.raises(InputError) as error:
            METRICS[name](*images)
        assert "\n" not in str(error.value)


def test_images_too_small_for_a_window_are_refused():
    for name, side in (("VIF", 41), ("SSIM", 7), ("AG", 2), ("Qabf", 2)):
        fits, small = noise(7, (side, side)), noise(7, (side, side - 1))
        assert math.isfinite(score(name, fits))
        with pytest.raises(InputError, match=f"{name} needs images of at least {side}x{side}"):
            score(name, small)


def test_corrected_changes_what_it_documents_and_nothing_else():
    images = noise(8) / 2, noise(9), noise(10)  # a peak below 255, which PSNR depends on
    changed = {name for name in METRICS if METRICS[name](*images) != CORRECTED[name](*images)}
    assert changed == {metric.name for metric in PROTOCOLS["corrected"].changes}
