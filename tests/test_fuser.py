import subprocess
import sys

import jax
import numpy as np
import pytest

import cddfuse_jax
from cddfuse_jax.errors import InputError
from cddfuse_jax.fusing.fuser import Fuser
from cddfuse_jax.fusing.whole import make_fuse
from cddfuse_jax.images import levels
from cddfuse_jax.models.cddfuse import CDDFuse


@pytest.fixture(scope="module")
def fuser(tiny_params):
    return Fuser(tiny_params)


@pytest.fixture
def pair():
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (10, 12, 3), np.uint8), rng.integers(0, 256, (10, 12), np.uint8)


def test_grey_pairs_are_fused_as_the_release_does(tiny_params, pair):
    visible, infrared = pair[0][..., 1], pair[1]
    apply = jax.jit(CDDFuse.from_params(tiny_params).apply, static_argnames="method")
    inputs = (np.float32(x)[None, ..., None] / np.float32(255) for x in (visible, infrared))
    raw = np.asarray(apply({"params": tiny_params}, *inputs, method="fuse"))[0, ..., 0]
    expected = np.rint((raw - raw.min()) / (raw.max() - raw.min()) * 255)
    fused = Fuser(tiny_params, color="none")(visible, infrared)
    assert fused.dtype == np.uint8 and fused.shape == (10, 12)
    np.testing.assert_array_equal(fused, expected)
    assert (fused.min(), fused.max()) == (0, 255)


def test_colour_has_the_luma_of_the_grey_protocol(fuser, tiny_params, pair):
    grey = Fuser(tiny_params, color="none")(*pair)
    colour = fuser(*pair)
    assert grey.shape == (10, 12) and colour.shape == (10, 12, 3)
    np.testing.assert_allclose(colour @ np.array(levels.LUMA), grey, atol=1)
    np.testing.assert_array_equal(Fuser(tiny_params, color="infrared")(*pair), grey)


def test_types_and_shapes(fuser, pair):
    visible, infrared = pair
    as_floats = fuser(visible / 255.0, infrared)
    assert as_floats.dtype == np.float32 and as_floats.shape == (10, 12, 3)
    assert as_floats.min() >= 0 and as_floats.max() <= 1
    # Only the rounding of the 8-bit luma to a whole level lies between them.
    assert np.abs(as_floats * 255 - fuser(visible, infrared)).mean() < 2
    assert fuser(infrared, infrared).shape == (10, 12)
    deep = infrared.astype(np.uint16) * 3 + 7000
    assert fuser(visible, deep).dtype == np.uint8


def test_a_batch_is_what_its_pairs_are_one_by_one(fuser, pair):
    visible = np.stack([pair[0], pair[0][::-1], pair[0][:, ::-1]])
    infrared = np.stack([pair[1], pair[1], pair[1][::-1]])
    batch = fuser(visible, infrared)
    assert batch.shape == (3, 10, 12, 3) and batch.dtype == np.uint8
    for index in range(3):
        np.testing.assert_array_equal(batch[index], fuser(visible[index], infrared[index]))
    assert fuser(infrared, infrared).shape == (3, 10, 12)
    grey_one = visible.copy()
    grey_one[1] = 90
    mixed = fuser(grey_one, infrared)
    assert mixed.shape == (3, 10, 12, 3)
    assert (mixed[1] == mixed[1][..., :1]).all()


def test_stretch_residual_and_percentiles_are_honoured(tiny_params, pair):
    visible, infrared = pair[0][..., 0], pair[1]
    plain = Fuser(tiny_params, stretch=False)
    values = np.float32(visible) / 255, np.float32(infrared) / 255
    raw = make_fuse(tiny_params)(*values)
    np.testing.assert_array_equal(plain(visible, infrared), np.rint(raw * 255))
    summed = make_fuse(tiny_params, "sum")(*values)
    assert np.abs(summed - raw).max() > 0.05
    as_sum = Fuser(tiny_params, "sum", stretch=False)
    np.testing.assert_array_equal(as_sum(visible, infrared), np.rint(summed * 255))
    deep = np.linspace(7000, 8000, 120).reshape(10, 12).astype(np.uint16)
    narrow = Fuser(tiny_params, stretch=False, percentiles=(20, 80))
    limits = levels.measured_range(deep, levels.Percentiles(20, 80))
    expected = make_fuse(tiny_params)(values[0], levels.intensities(deep, limits))
    np.testing.assert_array_equal(narrow(visible, deep), np.rint(expected * 255))


def test_a_constant_fused_image_keeps_its_value():
    flat = np.full((4, 5), 0.25, np.float32)
    np.testing.assert_array_equal(levels.stretched(flat), flat)
    ramp = np.linspace(0.2, 0.6, 5)
    np.testing.assert_allclose(levels.stretched(ramp), np.linspace(0, 1, 5), atol=1e-12)
    np.testing.assert_allclose(levels.stretched(ramp, (0.3, 0.5)), [0, 0, 0.5, 1, 1], atol=1e-12)


@pytest.mark.parametrize(
    ("visible", "infrared", "message"),
    [
        ((10, 12), (10, 13), "one size, got 12x10 and 13x10"),
        ((10, 12), (2, 10, 12), r"two images or two batches of one length, got shapes \(10, 12\)"),
        ((3, 10, 12), (2, 10, 12), "of one length"),
        ((10, 12, 2, 5), (10, 12), r"visible must be HxW or HxWx3, .* got shape \(10, 12, 2, 5\)"),
        ((1, 12), (1, 12), "at least 2x2, got 12x1"),
        ((0, 4, 4), (0, 4, 4), "at least one image"),
        ((12,), (12,), "must be HxW"),
    ],
)
def test_wrong_shapes_are_told(fuser, visible, infrared, message):
    with pytest.raises(InputError, match=message):
        fuser(np.zeros(visible, np.uint8), np.zeros(infrared, np.uint8))


def test_the_smallest_image_is_fused(fuser):
    smallest = np.array([[0, 80], [160, 240]], np.uint8)
    assert fuser(smallest, smallest).shape == (2, 2)


def test_wrong_values_and_options_are_told(fuser, tiny_params):
    grey = np.zeros((4, 4))
    with pytest.raises(InputError, match="must be finite, 1 of 16"):
        fuser(grey, np.where(np.eye(4) * np.arange(4) == 2, np.nan, 0))
    with pytest.raises(InputError, match="array of real numbers, got complex"):
        fuser(grey, grey.astype(complex))
    with pytest.raises(InputError, match="color is one of auto, visible, infrared, none"):
        Fuser(tiny_params, color="red")
    with pytest.raises(InputError, match="residual is one of"):
        Fuser(tiny_params, "infrared")
    with pytest.raises(InputError, match="nowhere"):
        Fuser("nowhere")


def test_the_package_offers_it_without_importing_jax():
    code = "import sys, cddfuse_jax; dir(cddfuse_jax); sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert cddfuse_jax.Fuser is Fuser and cddfuse_jax.InputError is InputError
    assert "Fuser" in dir(cddfuse_jax)
    with pytest.raises(AttributeError, match="no attribute 'Fusor'"):
        _ = cddfuse_jax.Fusor
