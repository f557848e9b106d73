"""From a camera's counts to grey: what becomes black and white, where something is no scene."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from cddfuse_jax.data.synthetic import synthetic_pair
from cddfuse_jax.errors import InputError
from cddfuse_jax.fusing.fuser import Fuser
from cddfuse_jax.images import levels
from cddfuse_jax.images.ranges import AUTO, Percentiles, Values
from cddfuse_jax.pairs.find import Pair
from cddfuse_jax.pairs.notes import notes_on, warnings_on
from cddfuse_jax.pairs.read import as_picture, read_pair


@pytest.fixture(scope="module")
def scene():
    """A thermal scene in 14-bit counts, 7000 to 8500."""
    return np.rint(7000 + 1500 * synthetic_pair(2, 96, 120)[1]).astype(np.uint16)


def limits(counts):
    return levels.measured_range(counts)


def test_a_scene_alone_has_its_percentiles(scene):
    assert limits(scene) == tuple(np.percentile(scene, (0.1, 99.9)))
    rng = np.random.default_rng(0)
    size = (80, 80)
    for counts in (rng.normal(3000, 90, size), rng.random(size), rng.exponential(9, size)):
        assert limits(counts) == tuple(np.percentile(counts, (0.1, 99.9)))


@pytest.mark.parametrize("bad", [0, 65535, 16383])
@pytest.mark.parametrize("share", [0.003, 0.012, 0.04])
def test_dead_pixels_move_nothing(scene, bad, share):
    spoiled = np.where(np.random.default_rng(1).random(scene.shape) < share, bad, scene)
    np.testing.assert_allclose(limits(spoiled), limits(scene), atol=10)


def test_dead_and_hot_pixels_telemetry_and_a_margin_together(scene):
    rng = np.random.default_rng(2)
    spoiled = scene.astype(np.int32)
    spoiled[-1] = rng.integers(0, 65536, scene.shape[1])
    spoiled[rng.random(scene.shape) < 0.01] = 0
    dark = rng.random(scene.shape) < 0.01
    spoiled[dark] = rng.integers(0, 60, dark.sum())
    spoiled[rng.random(scene.shape) < 0.01] = 65535
    spoiled[:, :30] = -9999
    np.testing.assert_allclose(limits(spoiled), limits(scene[:-1, 30:]), atol=25)


def test_hot_objects_with_blurred_edges_stay():
    y, x = np.mgrid[:96, :128]
    ground = 7000 + x + np.random.default_rng(3).normal(0, 5, x.shape)
    hot = 2000 * np.exp(-(((y - 40) ** 2 + (x - 60) ** 2) / 60))
    counts = (ground + hot).astype(np.uint16)
    assert limits(counts) == tuple(np.percentile(counts, (0.1, 99.9)))


def test_ranges_that_are_given_are_taken_as_they_are(scene):
    spoiled = np.where(np.random.default_rng(1).random(scene.shape) < 0.01, 0, scene)
    assert levels.measured_range(spoiled, Percentiles(0.1, 99.9))[0] == 0
    assert levels.measured_range(spoiled, Values(7100, 8000)) == (7100, 8000)
    picture = levels.intensities(spoiled, levels.limits_for(spoiled, Values(7100, 8000)))
    np.testing.assert_allclose(picture, np.clip((spoiled - 7100.0) / 900, 0, 1), atol=1e-6)


def test_declared_no_data_and_nan_are_left_out_and_filled(tmp_path):
    celsius = np.tile(np.linspace(10, 40, 100, dtype=np.float32)[:, None], (1, 40))
    expected = np.clip((celsius - 10.1) / 29.8, 0, 1)
    low, high = np.percentile(celsius[:, 8:], (0.1, 99.9))
    expected = np.clip((celsius - low) / (high - low), 0, 1)
    tags = [(42113, "s", 0, "-9999", True)]
    cases = (("declared", -9999, tags), ("nan", np.nan, []), ("inf", np.inf, []))
    for name, missing, extra in cases:
        spoiled = celsius.copy()
        spoiled[:, :8] = missing
        file = tmp_path / f"{name}.tif"
        tifffile.imwrite(file, spoiled, extratags=extra)
        photo = as_picture(file)
        assert photo.limits == pytest.approx((low, high))
        np.testing.assert_allclose(photo.pixels, expected, atol=1e-6)  # by rows: as next to it
        assert "pixels without a value are filled from the nearest" in photo.notes
    counts = np.where(np.isnan(spoiled), -9999, celsius * 10).astype(np.int16)
    counts[:, :8] = -9999
    tifffile.imwrite(tmp_path / "counts.tif", counts, extratags=tags)
    np.testing.assert_allclose(as_picture(tmp_path / "counts.tif").pixels, expected, atol=0.01)
    tifffile.imwrite(tmp_path / "none.tif", np.full((9, 9), np.nan, np.float32))
    with pytest.raises(InputError, match=r"none\.tif: pixels must be finite, 81 of 81 values"):
        as_picture(tmp_path / "none.tif")


@pytest.mark.parametrize("kind", ["grey", "colour", "mask", "png"])
def test_no_data_of_any_type_is_filled(tmp_path, kind):
    """GDAL's value for 8 bits and colour, its page of a mask, and a PNG's transparent value."""
    rows = np.tile(np.arange(40, 240, 2, dtype=np.uint8)[:, None], (1, 40))
    whole = np.stack([rows, 255 - rows, rows // 2], -1) if kind == "colour" else rows
    spoiled, file = whole.copy(), tmp_path / f"a.{'png' if kind == 'png' else 'tif'}"
    spoiled[:, :8] = 255
    if kind == "png":
        counts = spoiled.astype(np.uint16) * 20
        Image.fromarray(counts).save(file, transparency=255 * 20)
    elif kind == "mask":
        with tifffile.TiffWriter(file) as tiff:
            tiff.write(spoiled, photometric="minisblack")
            tiff.write(np.arange(40) >= np.full((100, 1), 8), photometric=4, subfiletype=4)
    else:
        tifffile.imwrite(
            file, spoiled, photometric="rgb" if kind == "colour" else "minisblack",
            extratags=[(42113, "s", 0, "255", True)],
        )  # fmt: skip
    expected = (whole.astype(np.float64) - 40) / 198 if kind == "png" else whole / 255
    np.testing.assert_allclose(as_picture(file).pixels, expected, atol=0.002)


def test_resampling_comes_after_the_range(tmp_path, scene):
    """Bicubic resampling would bridge the gap to dead pixels and to a margin."""
    spoiled = np.where(np.random.default_rng(1).random(scene.shape) < 0.01, 0, scene)
    Image.fromarray(spoiled).save(tmp_path / "ir.tif")
    Image.fromarray(np.zeros((192, 240), np.uint8)).save(tmp_path / "vi.png")
    pair = Pair("a", tmp_path / "vi.png", tmp_path / "ir.tif")
    photo = read_pair(pair, "infrared").infrared
    assert photo.limits == levels.measured_range(spoiled) and photo.pixels.shape == (192, 240)
    clean = levels.resized(levels.intensities(scene), 192, 240)
    assert np.median(np.abs(photo.pixels - clean)) < 0.01


def test_the_note_gives_both_values_and_a_narrow_range_is_warned_of(tmp_path):
    ramp = np.linspace(7000, 8000, 900).reshape(30, 30)
    wide = ramp.copy()
    wide[0] = np.linspace(8000, 60000, 30)
    tifffile.imwrite(tmp_path / "vi.tif", ramp.astype(np.uint16))
    tifffile.imwrite(tmp_path / "ir.tif", wide.astype(np.uint16))
    pair = Pair("a", tmp_path / "vi.tif", tmp_path / "ir.tif")
    photos = read_pair(pair)
    ((note, where),) = notes_on(photos).items()
    assert note == "deeper than 8 bits, percentiles 0.1 and 99.9 become 0 and 1"
    low, high = np.percentile(wide.astype(np.uint16), (0.1, 99.9))
    assert where.endswith(
        f"/vi.tif 7000.9 to 7998.2, {tmp_path.name}/ir.tif {low:.6g} to {high:.6g}"
    )
    (warning,) = warnings_on(photos)
    assert warning.startswith(f"{tmp_path / 'ir.tif'}: the middle 90 % of its pixels fill ")
    given = read_pair(pair, None, (AUTO, Values(7000, 8000, always=True)))
    assert warnings_on(given) == [] and given.infrared.limits == (7000, 8000)
    flat = read_pair(Pair("a", tmp_path / "vi.tif", tmp_path / "vi.tif"))
    assert warnings_on(flat) == []


def test_a_range_of_one_side_is_for_that_side(tiny_params, scene):
    visible = np.arange(scene.size, dtype=np.uint32).astype(np.uint8).reshape(scene.shape)
    both = Fuser(tiny_params, infrared_range="7200:8000")
    ready = levels.intensities(scene, (7200, 8000))
    np.testing.assert_array_equal(
        both(visible, scene), np.rint(255 * Fuser(tiny_params)(visible, ready))
    )
    eight = Fuser(tiny_params, visible_range="50:200")
    expected = Fuser(tiny_params)(levels.intensities(visible, (50, 200)), ready)
    np.testing.assert_array_equal(eight(visible, ready), expected)


@pytest.mark.parametrize("margin", [0, np.nan])
def test_a_range_of_both_sides_is_for_all_counts_and_for_no_picture(tmp_path, margin):
    celsius = np.linspace(10, 50, 64).reshape(8, 8)
    celsius[:, 0] = margin  # alone it would be a picture, or nothing
    colours = np.arange(0, 57600, 300, np.uint16).reshape(8, 8, 3)
    np.save(tmp_path / "ir.npy", celsius)
    np.save(tmp_path / "vi.npy", colours)
    photo = as_picture(tmp_path / "ir.npy", Values(20, 40))
    expected = np.clip((celsius[:, 1:] - 20) / 20, 0, 1)
    np.testing.assert_allclose(photo.pixels[:, 1:], expected, atol=1e-6)
    photo = as_picture(tmp_path / "vi.npy", Values(20, 40))
    np.testing.assert_allclose(photo.pixels, colours / 65535, atol=1e-6)
    assert photo.notes == ("the range is not needed and not used",)
