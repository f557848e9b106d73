"""NaN and infinity: refused in weights and in what is computed, filled in a sensor's pixels."""

import re

import jax
import numpy as np
import pytest
from stored import write_checkpoint

from cddfuse_jax.errors import InputError
from cddfuse_jax.fusing.fuser import Fuser
from cddfuse_jax.fusing.jobs import Job
from cddfuse_jax.images import levels
from cddfuse_jax.pairs.find import Pair
from cddfuse_jax.weights.any_format import load_params, save_params

HUGE = 1e38  # finite, and too large for the squares of a norm


def spoiled(params, value: float):
    """Return params with one number of the first kernel replaced."""
    params = jax.tree.map(np.array, params)
    params["encoder"]["patch_embed"][0, 0, 0, 0] = value
    return params


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "checkpoint"])
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_weights_that_are_not_finite_are_refused_in_every_format(
    tmp_path, tiny_params, name, value
):
    write = write_checkpoint if name == "checkpoint" else save_params
    write(tmp_path / name, spoiled(tiny_params, value), {})
    with pytest.raises(InputError) as error:
        load_params(tmp_path / name)
    assert str(error.value) == (
        f"{tmp_path / name}: weights must be finite, NaN or infinity in 1 tensors "
        "(encoder/patch_embed); take an earlier checkpoint or get the file again"
    )


def test_params_given_as_arrays_are_checked_too(tiny_params):
    with pytest.raises(InputError, match=r"params: weights must be finite, .* in 1 tensors"):
        Fuser(spoiled(tiny_params, np.nan))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_pixels_that_are_not_finite_are_filled_from_those_beside_them(value):
    pixels = np.tile([0, 0.25, 0.25, 0.25, 1], (4, 1))
    expected = pixels.astype(np.float32)
    pixels[1, 2] = value
    np.testing.assert_array_equal(levels.network_input(pixels), expected)
    counts = 7000 + 100 * pixels
    np.testing.assert_array_equal(levels.network_input(counts)[1], levels.network_input(counts)[0])
    colour = np.stack([pixels, pixels / 2, pixels], -1)
    np.testing.assert_array_equal(levels.intensities(colour)[1], levels.intensities(colour)[0])
    with pytest.raises(InputError, match="pixels must be finite, 20 of 20 values are not"):
        levels.network_input(np.full((4, 5), value))
    with pytest.raises(InputError, match=r"finite, and of a fused image .* got float64 from"):
        levels.of_fused(pixels)


def test_what_is_computed_is_checked_before_it_is_written(tmp_path, tiny_params):
    params = jax.tree.map(lambda leaf: leaf * np.float32(HUGE), tiny_params)
    for name in ("visible", "infrared"):
        np.save(tmp_path / f"{name}.npy", np.random.default_rng(0).random((10, 12)))
    pair = Pair("pair", tmp_path / "visible.npy", tmp_path / "infrared.npy")
    rule = r"^pair: the network's output must be finite, \d+ of \d+ values are not"
    (outcome,) = Fuser(params).fuse([Job(pair, tmp_path / "fused.png")])
    assert re.match(rule, outcome.error)
    assert not (tmp_path / "fused.png").exists()
