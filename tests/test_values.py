"""What stored values mean: which is white, which bytes come first, what is no image."""

import numpy as np
import pytest
from PIL import Image

from cddfuse_jax.errors import InputError
from cddfuse_jax.fusing.fuser import Fuser
from cddfuse_jax.images import image_files, levels
from cddfuse_jax.images.colour import is_coloured
from cddfuse_jax.images.image_files import read_image, read_photo, read_size
from cddfuse_jax.pairs.read import as_picture

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
        (b"\0\0\0\x18ftypisom" + bytes(200), "a video: give it that ending, as .mp4"),
        (b"\x1aE\xdf\xa3" + bytes(200), "a video: give it that ending, as .mp4"),
        (b"\0\0\0\x18ftypheic" + bytes(200), "HEIC and AVIF are not read"),
        (b"\xef\xbb\xbf<!DOCTYPE html><html>", "an HTML page, not the file"),
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
