import os
import struct

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from cddfuse_jax.errors import InputError
from cddfuse_jax.files import replacing
from cddfuse_jax.images import image_files, levels, ranges


def save(path, array, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(array, np.uint8))
    (image.convert(mode) if mode else image).save(path)
    return path


def test_grey_is_weighted_and_rounded(tmp_path):
    # 0.299, 0.587 and 0.114 of: 255 each alone; 10, 20, 30 = 18.15; 1, 2, 3 = 1.815; and 28.5, of
    # which the even neighbour is taken.
    colours = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [10, 20, 30], [1, 2, 3], [0, 0, 250]]
    file = save(tmp_path / "colour.png", [colours])
    grey = image_files.read_grey(file)
    assert grey.dtype == np.uint8
    assert grey.tolist() == [[76, 150, 29, 18, 2, 28]]


def luma_of(file) -> np.ndarray:
    photo = image_files.read_photo(file)
    return levels.luma(photo.pixels, photo.limits)


def test_luma_is_float32_and_not_rounded(tmp_path):
    luma = luma_of(save(tmp_path / "colour.png", [[[255, 0, 0], [51, 102, 204]]]))
    assert luma.dtype == np.float32
    # 0.2 * 0.299 + 0.4 * 0.587 + 0.8 * 0.114 = 0.3858
    np.testing.assert_allclose(luma, [[0.299, 0.3858]], rtol=0, atol=6e-8)
    grey = luma_of(save(tmp_path / "grey.png", [[0, 51, 255]]))
    np.testing.assert_array_equal(grey, np.float32([[0, 0.2, 1]]))


def test_16_bit_grey_is_scaled_by_its_percentiles(tmp_path):
    # 1001 values in a thermal camera's narrow band; percentiles 0.1 and 99.9 are 7001 and 7999.
    stored = np.arange(7000, 8001, dtype=np.uint16).reshape(7, 143)
    for suffix in (".png", ".tif"):
        file = tmp_path / f"deep{suffix}"
        Image.fromarray(stored).save(file)
        photo = image_files.read_photo(file)
        assert photo.pixels.dtype == np.uint16 and photo.notes == ()
        np.testing.assert_array_equal(photo.pixels, stored)
        expected = np.clip((stored - 7001.0) / 998, 0, 1)
        np.testing.assert_allclose(levels.network_input(photo.pixels), expected, atol=6e-8)
        np.testing.assert_array_equal(image_files.read_grey(file), np.rint(expected * 255))
    low, high = levels.measured_range(stored, ranges.parse_range("10,90"))
    assert (low, high) == (7100, 7900)
    assert levels.intensities(stored, (low, high))[0, :102].tolist()[98:] == (
        [0, 0, 0, np.float32(1 / 800)]
    )
    assert not levels.intensities(np.full((3, 3), 7000, np.uint16)).any()


@pytest.mark.parametrize(
    "text", ["1", "1,2,3", "99,1", "-1,50", "5,5", "low,high", "nan,9", "", "9:1", "1:2:3", "nan:1"]
)
def test_ranges_that_are_none_are_refused(text):
    with pytest.raises(InputError, match="--range-ir is auto, two percentiles LOW,HIGH with"):
        ranges.parse_range(text, "--range-ir")
    assert ranges.parse_range("auto") == ranges.AUTO
    assert ranges.parse_range("-40:85.5") == ranges.Values(-40, 85.5)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "16 bits"])
def test_transparent_pixels_have_no_value_and_all_other_alpha_is_dropped(tmp_path, mode):
    colours = np.array([[[90, 90, 90, 0], [200, 200, 200, 255]]], np.uint8)
    file = tmp_path / "image.png"
    for alpha, note in ((0, "transparent pixels have no value"), (9, "alpha dropped")):
        colours[0, 0, 3] = alpha
        image = Image.fromarray(colours)
        if mode == "P":
            image = image.convert("RGB").quantize(4)
            alphas = {int(np.asarray(image)[0, 0]): alpha}
            image.info["transparency"] = bytes(alphas.get(index, 255) for index in range(2))
        if mode == "16 bits":
            file.write_bytes(
                imagecodecs.png_encode((colours + np.uint8([0, 9, 9, 0])).astype(np.uint16) * 257)
            )
        else:
            (image if mode == "P" else image.convert(mode)).save(file)
        photo = image_files.read_photo(file)
        assert photo.notes == (note,)
        assert np.isnan(photo.pixels).any() == (alpha == 0)
        # What has no value is filled from what is next to it.
        expected = 200 if alpha == 0 else 90
        picture = levels.to_8_bit(levels.intensities(photo.pixels))
        assert picture.reshape(1, 2, -1)[..., 0].tolist() == [[expected, 200]]
    Image.fromarray(colours[..., :3]).save(tmp_path / "plain.png")
    assert image_files.read_photo(tmp_path / "plain.png").notes == ()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_exif_orientation_is_applied(tmp_path, suffix, orientation):
    stored = np.full((16, 32, 3), 40, np.uint8)
    stored[:8, :8] = 220
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / f"photo{suffix}"
    Image.fromarray(stored).save(file, exif=exif, **({"quality": 95} if suffix == ".jpg" else {}))
    photo = image_files.read_photo(file)
    # Where the bright upper left corner must be seen, by the EXIF standard.
    corner = ["top left", "top right", "bottom right", "bottom left"] * 2
    side = [(16, 32)] * 4 + [(32, 16)] * 4
    assert photo.pixels.shape[:2] == image_files.read_size(file) == side[orientation - 1]
    rows = slice(0, 8) if "top" in corner[orientation - 1] else slice(-8, None)
    columns = slice(0, 8) if "left" in corner[orientation - 1] else slice(-8, None)
    assert photo.pixels[rows, columns].min() > 200
    assert np.count_nonzero(photo.pixels[..., 0] > 128) == 64
    assert len(photo.notes) == (orientation > 1)


def test_exif_data_after_the_pixels_of_a_png_count(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    file = tmp_path / "a.png"
    Image.fromarray(np.zeros((4, 6), np.uint8)).save(file, exif=exif)
    content = file.read_bytes()
    start = content.index(b"eXIf") - 4
    chunk = content[start : content.index(b"IDAT") - 4]
    file.write_bytes(content.replace(chunk, b"").replace(content[-12:], chunk + content[-12:]))
    assert image_files.read_photo(file).pixels.shape == image_files.read_size(file) == (6, 4)


def test_arrays_are_read(tmp_path):
    file = tmp_path / "a.npy"
    for stored, expected in (
        (np.array([[0, 255]], np.uint8), [[0, 1]]),
        (np.array([[[0], [255]]], np.uint8), [[0, 1]]),
        (np.array([[0.25, 0.5]]), [[0.25, 0.5]]),
        (np.array([[False, True]]), [[0, 1]]),
        (np.array([[[255, 255, 255, 7]]], np.uint8), [[1]]),
        (np.array([[[65535, 0, 0]]], ">u2"), [[0.299]]),
    ):
        np.save(file, stored)
        np.testing.assert_allclose(luma_of(file), expected, atol=6e-8)
        assert image_files.read_size(file) == stored.shape[:2]
    celsius = np.linspace(-20, 80, 1001).reshape(7, 143)
    np.save(file, celsius)
    np.testing.assert_allclose(luma_of(file), np.clip((celsius + 19.9) / 99.8, 0, 1), atol=1e-6)
    for wrong, message in (
        (np.zeros((3, 4, 5)), "must be HxW, .* got 3x4x5 float64; transpose"),
        (np.zeros((2, 2), complex), "of real numbers"),
        (np.zeros((0, 5)), "must have pixels|an empty file"),
        (np.array([["a"]]), "of real numbers"),
        (np.array([[None]]), "of real numbers, got 1x1 object"),
        (np.array([[np.nan, np.inf]]), "must be finite, 2 of 2 values are not"),
        (np.full((2, 2, 3), [1, 2, 7.5]), r"floats must be in \[0, 1\], got 1 to 7.5"),
    ):
        np.save(file, wrong)
        with pytest.raises(InputError, match=message) as caught:
            image_files.read_grey(file)
        assert str(file) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif"])
def test_broken_files_are_named_in_one_line(tmp_path, suffix):
    file = save(tmp_path / f"image{suffix}", np.random.default_rng(0).integers(0, 256, (40, 50)))
    assert image_files.read_size(file) == (40, 50)
    file.write_bytes(file.read_bytes()[:-500])
    cases = [(file, "broken"), (tmp_path / f"gone{suffix}", "no such file")]
    text = tmp_path / f"text{suffix}"
    text.write_text("no image")
    cases.append((text, "not an image"))
    for path, message in cases:
        with pytest.raises(InputError, match=message) as caught:
            image_files.read_grey(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    for path, message in cases[1:]:
        with pytest.raises(InputError, match=message):
            image_files.read_size(path)


def test_png_is_written_whole_or_not_at_all(tmp_path):
    file = tmp_path / "new" / "fused.png"
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    image_files.write_png(file, image)
    np.testing.assert_array_equal(image_files.read_image(file), image)
    with pytest.raises(KeyboardInterrupt), replacing(file) as temporary:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt
    np.testing.assert_array_equal(image_files.read_image(file), image)
    assert [path.name for path in file.parent.iterdir()] == ["fused.png"]
    with pytest.raises(InputError, match="cannot write"):
        image_files.write_png(file / "below.png", image)


def test_only_promised_formats_are_tried_and_only_files_are_opened(tmp_path):
    (tmp_path / "script.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    os.mkfifo(tmp_path / "fifo.png")
    os.mkfifo(tmp_path / "fifo.npy")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    for name, message in (
        ("script.png", "not an image that can be read"),
        ("fifo.png", "an image is a regular file"),
        ("fifo.npy", "an image is a regular file"),
        ("loop.png", "cannot be read"),
    ):
        for read in (image_files.read_photo, image_files.read_size):
            with pytest.raises(InputError, match=message):
                read(tmp_path / name)


@pytest.mark.parametrize("error", [TypeError, IndexError, RuntimeError, KeyError])
def test_whatever_a_decoder_raises_is_that_file_s_own_error(tmp_path, monkeypatch, error):
    def fail(*_):
        raise error()

    file = save(tmp_path / "a.png", np.zeros((3, 4)))
    monkeypatch.setattr(Image.Image, "convert", fail)
    with pytest.raises(InputError, match=rf"a\.png: broken image file \({error.__name__}"):
        image_files.read_photo(file)


def test_webp_is_read_in_folders_too(tmp_path):
    grey = np.tile(np.arange(0, 250, 10, dtype=np.uint8), (20, 1))
    Image.fromarray(grey).save(tmp_path / "a.webp", lossless=True)
    assert ".webp" in image_files.SUFFIXES
    np.testing.assert_array_equal(image_files.read_grey(tmp_path / "a.webp"), grey)


def test_a_tiff_that_claims_more_than_it_can_hold_is_refused_by_its_header(tmp_path):
    file = tmp_path / "a.tif"
    Image.new("L", (4, 4)).save(file)
    content = bytearray(file.read_bytes())
    for tag, side in ((256, 60_000), (257, 60)):  # width and height, as 12 bytes each
        place = next(
            at
            for at in range(len(content) - 12)
            if struct.unpack_from("<HHII", content, at) in ((tag, 4, 1, 4), (tag, 3, 1, 4))
        )
        struct.pack_into("<HHII", content, place, tag, 4, 1, side)
    file.write_bytes(content)
    with pytest.raises(InputError, match="claims 60000x60 pixels in"):
        image_files.read_photo(file)
