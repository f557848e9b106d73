"""From a camera's counts to grey: what becomes black and white, where something is no scene."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from cddfuse_jax.data.synthetic import synthetic_pair
from cddfuse_jax.errors import InputError
from cddfuse_jax.fusing.fuser import Fuser
from cddfuse_jax.images import image_files, levels
from cddfuse_jax.images.colour import is_coloured
from cddfuse_jax.images.image_files import read_image, read_photo, read_size
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


WHITE = (
    (np.array([[[200, 100, 0], [0, 0, 90]]]), 255),  # int64
    (np.array([[[200, 100, 0], [0, 0, 90]]], np.int16), 255),
    (np.array([[[200, 100, 0], [0, 0, 90]]], np.uint16), 255),
    (np.array([[[1000, 100, 0], [0, 0, 90]]], np.uint16), 1023),
    (np.array([[[4095, 100, 0], [0, 0, 90]]], np.uint16), 4095),
    (np.array([[[4096, 100, 0], [0, 0, 90]]], np.uint16), 65535),
    (np.array([[0, 255]]), 255),
    (np.array([[0, 127]], np.int8), 255),
    (np.array([[0.0, 1.05]]), 1),
    (np.array([[-0.04, 0.5]], np.float32), 1),
    (np.array([[True, False]]), 1),
    (np.array([[0, 255]], np.uint16), None),
    (np.array([[0, 256]]), None),
    (np.array([[-1, 255]], np.int32), None),
    (np.array([[0, 1.06]]), None),
    (np.array([[[7000, 7000, 7000], [8000, 8000, 8000]]], np.uint16), None),
)


@pytest.mark.parametrize(("pixels", "most"), WHITE, ids=str)
def test_what_is_white(tmp_path, pixels, most):
    assert levels.white(pixels) == most
    np.save(tmp_path / "a.npy", pixels)
    if most:
        expected = np.clip(pixels / most, 0, 1).astype(np.float32)
        np.testing.assert_allclose(levels.intensities(pixels), expected, atol=1e-7)
        np.testing.assert_array_equal(read_image(tmp_path / "a.npy"), np.rint(expected * 255))
        assert is_coloured(pixels) == (pixels.ndim == 3)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (
            np.array([[[300, 100, 0]]]),
            "int64 in 0-255, got 0 to 300; divide by the value",
        ),
        (np.array([[[-1, 100, 0]]], np.int16), "int16 in 0-255, got -1 to 100"),
        (np.array([[[0.2, 1.5, 0]]]), r"floats must be in \[0, 1\], got 0 to 1.5"),
        (np.array([[[0.2, 1.0600002, 0]]]), r"floats must be in .* got 0 to 1\.0600002;"),
    ],
)
def test_colour_of_several_readings_is_asked_about(tmp_path, tiny_params, pixels, message):
    pixels = np.repeat(np.repeat(pixels, 4, 0), 4, 1)
    np.save(tmp_path / "a.npy", pixels)
    for read in (lambda: as_picture(tmp_path / "a.npy"), lambda: read_image(tmp_path / "a.npy")):
        with pytest.raises(InputError, match=rf"a\.npy: colours given as {message}"):
            read()
    with pytest.raises(InputError, match=message):
        Fuser(tiny_params)(pixels, np.zeros((4, 4), np.uint8))


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


def test_fused_images_are_pictures(tmp_path):
    for pixels, expected in (
        (np.array([[0, 32768, 40000]], np.uint16), [[0, 128, 156]]),
        (np.array([[0, 0.5, 1.0000002]]), [[0, 128, 255]]),
        (np.array([[0, 99.6, 255]]), [[0, 100, 255]]),
        (np.array([[0, 200]]), [[0, 200]]),
    ):
        np.save(tmp_path / "a.npy", pixels)
        assert read_image(tmp_path / "a.npy", fused=True).tolist() == expected
    for pixels in (np.array([[0, 200]], np.uint16), np.array([[-40.0, 20]]), np.array([[0, 300]])):
        np.save(tmp_path / "a.npy", pixels)
        with pytest.raises(
            InputError, match=r"a\.npy: pixels must be finite, and of a fused image 0-"
        ):
            read_image(tmp_path / "a.npy", fused=True)
    assert read_photo(tmp_path / "a.npy").pixels.tolist() == [[0, 300]]


def test_swapped_bytes_are_put_in_order(tmp_path):
    """As exiftool takes FLIR's raw PNG out."""
    rows, columns = np.mgrid[:48, :64]
    counts = (7000 + 12 * columns + 9 * rows + 400 * (columns > 40)).astype(np.uint16)
    for name, stored in (
        ("right", counts),
        ("swapped", counts.byteswap()),
        ("upper", counts // 40 * 256),
    ):
        Image.fromarray(stored).save(tmp_path / f"{name}.png")
    swapped = read_photo(tmp_path / "swapped.png")
    np.testing.assert_array_equal(swapped.pixels, counts)
    assert swapped.notes == ("bytes of its counts swapped, as FLIR stores them",)
    assert read_photo(tmp_path / "right.png").notes == ()
    np.testing.assert_array_equal(read_photo(tmp_path / "upper.png").pixels, counts // 40 * 256)


@pytest.mark.parametrize(
    "dtype, low, high, warned",
    [
        (np.int16, 12, 38, False),  # degrees in 16 bits are counts
        (np.int32, 12, 38, True),
        (np.float32, 0.21, 0.33, True),
        (np.int32, 5, 240, False),
        (np.float32, 0, 1, False),
    ],
)
def test_values_far_below_white_are_measured_or_warned_of(tmp_path, dtype, low, high, warned):
    values = np.linspace(low, high, 48 * 64).reshape(48, 64).astype(dtype)
    np.save(tmp_path / "ir.npy", values)
    photo = as_picture(tmp_path / "ir.npy")
    given = [w.split("--range-ir ")[1].split(":") for w in photo.warnings]
    expected = [pytest.approx([low, high], abs=0.05 * (high - low))] if warned else []
    assert [list(map(float, ends)) for ends in given] == expected
    assert photo.pixels.max() > 0.99 or warned


@pytest.mark.parametrize(
    "content, message",
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid",
            r"a Git LFS pointer, .*: git lfs pull",
        ),
        (b"\n<!DOCTYPE html><html>", "an HTML page, not the file"),
        (b"21,5;21,6\n21,4;22,0\n" * 9, r"a table of numbers: .* numpy\.save"),
        (b"\0\0\0\x18ftypisom" + bytes(200), "a video: fuse two of them"),
        (b"\0\0\0\x18ftypheic" + bytes(200), "HEIC and AVIF are not read"),
        (b'{"error": 403}', "a text that begins '{\"error\": 403}': was its download refused"),
        (b"\x89PNG\r\n\x1a\n" + bytes(200), "a damaged PNG"),
        (b"PK\3\4" + bytes(200), "a ZIP archive: unzip it"),
    ],
)
def test_what_is_no_image_is_named(tmp_path, content, message):
    for name in ("a.png", "a.csv", "a.npy")[: 3 if b"git" in content else 2]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=message):
            read_photo(tmp_path / name)


def test_a_png_may_have_more_pixels_than_pillow_reads(tmp_path, monkeypatch):
    Image.fromarray(np.arange(2400, dtype=np.uint8).reshape(40, 60)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert read_size(tmp_path / "a.png") == (40, 60)
    assert read_photo(tmp_path / "a.png").pixels[1, 2] == 62
    assert Image.MAX_IMAGE_PIXELS == 1000
    monkeypatch.setattr(image_files, "MOST_PIXELS", 2000)
    with pytest.raises(InputError, match=r"a\.png: has more pixels than are read .*; cut it"):
        read_photo(tmp_path / "a.png")
