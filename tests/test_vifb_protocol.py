"""The protocol `vifb`: answers worked out by hand; all recorded values: experiments/."""

import math

import numpy as np
import pytest

from cddfuse_jax import metrics
from cddfuse_jax.errors import InputError
from cddfuse_jax.metrics import PROTOCOLS

VIFB = PROTOCOLS["vifb"].metrics


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_scores_are_the_benchmarks_in_its_order():
    assert list(VIFB) == ["CE", "EN", "MI", "PSNR", "AG", "EI", "Qabf", "SD", "SF", "RMSE",
                          "SSIM", "Qcb", "Qcv"]  # fmt: skip
    assert [n for n, m in VIFB.items() if m.better == "lower"] == ["CE", "RMSE", "Qcv"]


def test_cross_entropy_leaves_out_levels_that_one_histogram_lacks():
    fused = np.array([[0, 0, 0, 9]])
    visible, infrared = np.array([[0, 0, 9, 9]]), np.array([[0, 5, 5, 5]])
    first = 0.5 * math.log2(0.5 / 0.75) + 0.5 * math.log2(0.5 / 0.25)
    second = 0.25 * math.log2(0.25 / 0.75)
    assert VIFB["CE"](fused, visible, infrared) == pytest.approx((first + second) / 2)


def test_rmse_divides_outside_the_root_and_psnr_takes_its_root():
    fused = np.full((2, 3), 10.0)
    rmse = (math.sqrt(6 * 4) / 6 + math.sqrt(6 * 16) / 6) / 2
    assert VIFB["RMSE"](fused, fused + 2, fused + 4) == pytest.approx(rmse)
    assert VIFB["PSNR"](fused, fused + 2, fused + 4) == pytest.approx(
        20 * math.log10(255 / math.sqrt(rmse))
    )
    assert metrics.METRICS["RMSE"](fused, fused + 2, fused + 4) == 3


def test_gradient_scores_by_hand():
    fused = np.array([[0.0, 3.0], [4.0, 7.0]])  # slopes 3 across, 4 down everywhere
    assert VIFB["AG"](fused) == pytest.approx(4 * 5 / math.sqrt(2) / 1)
    assert VIFB["SF"](fused) == pytest.approx(math.sqrt((2 * 9 + 2 * 16) / 4))
    # Border repeated: every Sobel window sees one step of 3 (times 4) and one of 4 (times 4).
    assert VIFB["EI"](fused) == pytest.approx(math.hypot(12, 16))


def test_mutual_information_is_of_stretched_levels():
    fused, source = np.array([[10, 10, 20, 20]]), np.array([[0, 0, 255, 255]])
    assert VIFB["MI"](fused, source, source) == pytest.approx(2 * math.log(2))
    close = np.array([[10.0, 10.3, 20.0, 20.3]])  # four levels once stretched, two when rounded
    assert VIFB["MI"](close, close, close) == pytest.approx(2 * math.log(4))


def test_ssim_of_flat_images_and_qcv_of_equal_ones():
    flat = np.full((12, 12), 50.0)
    assert VIFB["SSIM"](flat, flat + 10, flat) == pytest.approx(
        1 + (2 * 50 * 60 + 6.5025) / (50**2 + 60**2 + 6.5025)
    )
    image = noise(0, 33, 40).astype(float)
    assert VIFB["Qcv"](image, image, image) == 0
    assert VIFB["Qcb"](image, image, image) == pytest.approx(1)


@pytest.mark.parametrize("name", VIFB)
def test_colour_is_scored_channel_by_channel(name):
    fused, visible, infrared = noise(1, 40, 44, 3), noise(2, 40, 44, 3), noise(3, 40, 44)
    value = metrics.compute(fused, visible, infrared, name, protocol="vifb")[name]
    planes = [(fused[..., k], visible[..., k], infrared) for k in range(3)]
    if name == "SF":
        expected = VIFB[name](np.hstack([each[0] for each in planes]))
    else:
        expected = np.mean([VIFB[name](*each) for each in planes])
    assert value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", metrics.METRICS)
def test_flat_images_have_values(name):
    side = 161 if name == "MS-SSIM" else 48
    flat, other = np.full((side, side), 100.0), noise(4, side, side).astype(float)
    black, white = np.zeros_like(flat), np.full_like(flat, 255)
    mixed = (flat, other, other), (other, flat, flat)
    for images in (*((level,) * 3 for level in (black, flat, white)), *mixed):
        for protocol in PROTOCOLS.values():
            value = protocol.metric(name)(*images)
            assert math.isfinite(value) or (name == "PSNR" and value == math.inf)


def test_compute_takes_any_type_and_names_in_order():
    images = [noise(seed, 48, 50) for seed in range(3)]
    expected = metrics.compute(*images, ["VIF", "Qcb"], protocol="vifb")
    assert list(expected) == ["VIF", "Qcb"]
    assert expected["VIF"] == metrics.METRICS["VIF"](*images)
    for dtype in (np.int16, np.int64, np.float16, np.float32, np.float64):
        typed = [image.astype(dtype) for image in images]
        assert metrics.compute(*typed, ["VIF", "Qcb"], protocol="vifb") == expected
    deep = [image.astype(np.uint16) * 257 for image in images]
    unit = [image / 255 for image in images]
    for scores in (
        metrics.compute(*deep, ["VIF", "Qcb"], protocol="vifb"),
        metrics.compute(*unit, ["VIF", "Qcb"], protocol="vifb", data_range=1),
    ):
        assert scores == pytest.approx(expected, rel=1e-9)
    assert list(metrics.compute(images[0], names=["EN", "SD"])) == ["EN", "SD"]


@pytest.mark.parametrize(
    ("images", "names", "complaint"),
    [
        ((noise(0, 9, 9) / 255,) * 3, "EN", "either 0-1 or 0-255"),
        ((np.eye(9),) * 3, "EN", "either 0-1 or 0-255"),
        ((noise(0, 9, 9).astype(np.uint16),) * 3, "EN", "either 0-255 or 0-65535"),
        ((noise(0, 9, 9) - 5.0,) * 3, "EN", "outside 0-255"),
        ((np.full((9, 9), np.nan),) * 3, "EN", "must be finite, 81 of 81"),
        ((noise(0, 9, 9, 2),) * 3, "EN", "HxWx4, got 9x9x2"),
        ((noise(0, 9, 9), noise(0, 9, 8), noise(0, 9, 9)), "CC", "visible 8x9"),
        ((noise(0, 9, 9).astype(complex),) * 3, "EN", "real numbers, got complex128"),
        ((noise(0, 9, 9),), "CC", "give visible, infrared"),
        ((noise(0, 9, 9),) * 3, "QX", "score 'QX' is unknown"),
        ((noise(0, 9, 9),) * 3, "SSIM", "SSIM needs images of at least 11x11"),
    ],
)
def test_bad_arrays_are_one_line(images, names, complaint):
    with pytest.raises(InputError, match=complaint) as error:
        metrics.compute(*images, names=names, protocol="vifb")
    assert "\n" not in str(error.value)


def test_a_single_score_asks_for_the_range_as_compute_does():
    images = [noise(seed, 9, 9) for seed in range(3)]
    unit = [image / 255 for image in images]
    for name, metric in metrics.METRICS.items():
        if name in ("EN", "CC", "MSE", "PSNR", "SF"):
            with pytest.raises(InputError, match="either 0-1 or 0-255; say which"):
                metric(*unit)
            assert metric(*unit, data_range=1) == pytest.approx(metric(*images), rel=1e-12)
    with pytest.raises(InputError, match="fused: values span 0 to 256, outside 0-255"):
        metrics.METRICS["EN"](np.array([[0, 256]]))
    black = np.zeros((9, 9))  # has one reading
    assert metrics.METRICS["EN"](black) == 0
