"""Files as cameras and their programs write them, beyond what `test_fuzz.py` makes."""

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, PngImagePlugin

from cddfuse_jax.errors import InputError
from cddfuse_jax.images import levels
from cddfuse_jax.images.image_files import read_photo, read_size

COLOURS = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3) * 4


@pytest.fixture
def file(tmp_path):
    return tmp_path / "a.tif"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_palettes_of_tiffs(file, dtype):
    indices = np.array([[0, 1], [2, 200]], dtype)
    table = np.zeros((3, 256 if dtype == np.uint8 else 65536), np.uint16)
    table[:, :3] = np.array([[255, 0, 9], [0, 255, 8], [0, 128, 7]]) * 257
    tifffile.imwrite(file, indices, photometric="palette", colormap=table)
    expected = [[[255, 0, 0], [0, 255, 128]], [[9, 8, 7], [0, 0, 0]]]
    assert read_photo(file).pixels.tolist() == expected
    table[:, :256] = np.arange(256)[::-1] * 256
    tifffile.imwrite(file, indices, photometric="palette", colormap=table)
    assert read_photo(file).pixels.tolist() == [[255, 254], [253, 55]]


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "CMYK", "P", "LA", "RGBA"])
def test_tiffs_of_pillow_are_read_as_pillow_reads_them(file, mode):
    stored = np.repeat(np.repeat(COLOURS, 4, 0), 3, 1)
    image = Image.fromarray(stored).convert(mode)
    image.save(file, compression="tiff_lzw" if mode != "1" else "packbits")
    grey = mode in ("1", "L", "LA")
    expected = np.asarray(image.convert("L" if grey else "RGB"))
    np.testing.assert_array_equal(read_photo(file).pixels, expected)
    assert read_photo(file).notes == (("alpha dropped",) if mode.endswith("A") else ())


def test_jpeg_in_a_tiff_is_rgb(file):
    smooth = np.rint(np.stack(np.mgrid[:64, :64], -1) * 3).astype(np.uint8)
    stored = np.concatenate([smooth, 200 - smooth[..., :1]], -1)
    tifffile.imwrite(file, stored, photometric="rgb", compression="jpeg")
    with tifffile.TiffFile(file) as opened:
        assert opened.pages[0].photometric.name == "YCBCR"
    assert np.abs(read_photo(file).pixels.astype(int) - stored).mean() < 4


def bits_packed(values, bits):
    """Rows of numbers of a few bits, each row filled up to a byte."""
    rows = ["".join(f"{value:0{bits}b}" for value in row) for row in values]
    rows = [row + "0" * (-len(row) % 8) for row in rows]
    return b"".join(int(row, 2).to_bytes(len(row) // 8, "big") for row in rows)


@pytest.mark.parametrize(("bits", "white"), [(2, False), (4, False), (12, False), (12, True)])
def test_grey_of_other_numbers_of_bits(file, bits, white):
    values = np.array([[0, 1, 2**bits - 1], [2, 3, 2 ** (bits - 1)]])
    image = Image.fromarray(np.zeros((2, 3), np.uint8))
    image.save(file)
    data, content = bits_packed(values, bits), bytearray(file.read_bytes())
    with tifffile.TiffFile(file, mode="r+b") as opened:
        tags = opened.pages[0].tags
        tags[258].overwrite(bits)
        tags[262].overwrite(0 if white else 1)
        tags[279].overwrite(len(data))
        tags[273].overwrite(len(content))
    file.write_bytes(file.read_bytes() + data)
    photo = read_photo(file)
    if bits < 8:
        np.testing.assert_array_equal(photo.pixels, np.rint(values * 255 / (2**bits - 1)))
        assert photo.pixels.dtype == np.uint8
    else:
        np.testing.assert_array_equal(photo.pixels, 4095 - values if white else values)
        assert photo.pixels.dtype == np.uint16


def test_thumbnails_are_passed_over_and_pages_chosen(file):
    with tifffile.TiffWriter(file) as writer:
        writer.write(np.zeros((2, 3), np.uint8), subfiletype=1, metadata=None)
        for value in (7, 8, 9):
            writer.write(np.full((4, 5), value, np.uint16), metadata=None, contiguous=False)
    photo = read_photo(file)
    assert photo.pixels.tolist() == np.full((4, 5), 7).tolist()
    assert photo.notes == ("first of 3 pages read",) and read_size(file) == (4, 5)
    assert read_photo(file, 2).pixels.max() == 9 and read_photo(file, 2).notes == ()
    for wrong in (3, -1):
        with pytest.raises(InputError, match=f"counted from 0, it has 3, got {wrong}"):
            read_photo(file, wrong)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_colours_that_were_multiplied_by_alpha_are_divided_by_it(file, dtype):
    most = 1 if dtype == np.float32 else np.iinfo(dtype).max
    alpha = np.array([[1.0, 0.5, 0.2, 0.0]]) * most
    straight = np.array([[[0.9, 0.6, 0.3]] * 4]) * most
    stored = np.concatenate([straight * alpha[..., None] / most, alpha[..., None]], -1)
    stored = stored if dtype == np.float32 else np.rint(stored)
    tifffile.imwrite(file, stored.astype(dtype), photometric="rgb", extrasamples=["assocalpha"])
    photo = read_photo(file)
    divided = "divided by alpha, with which it was multiplied"
    assert photo.notes == (divided, "transparent pixels have no value")
    more = np.concatenate([stored, stored[..., :1]], -1).astype(dtype)  # and a fifth band
    bands = {"planarconfig": "contig", "extrasamples": ["assocalpha", "unspecified"]}
    tifffile.imwrite(file, more, photometric="rgb", **bands)
    again = read_photo(file)
    np.testing.assert_array_equal(again.pixels, photo.pixels)
    assert "fifth band dropped" in again.notes
    read = levels.intensities(photo.pixels)  # the last is filled from what is next to it
    np.testing.assert_allclose(read, straight / most, atol=0.011 if dtype == np.uint8 else 1e-4)
    straight = np.concatenate([straight, alpha[..., None]], -1)[:, :3].astype(dtype)
    tifffile.imwrite(file, straight, photometric="rgb", extrasamples=["assocalpha"])  # not true
    photo = read_photo(file)
    assert photo.notes[0] == "not multiplied by alpha, as its tag says: taken as stored"
    np.testing.assert_array_equal(photo.pixels, straight[..., :3])


def test_rows_in_pages_are_refused(file):
    stored = np.zeros((6, 7, 3), np.uint16)
    tifffile.imwrite(file, stored, photometric="minisblack")
    with pytest.raises(InputError, match="each of its pages is a row; write it with photometric"):
        read_photo(file)


def test_what_is_not_read_of_tiffs_is_named(file):
    for stored, options, message in (
        (
            np.zeros((4, 4), np.complex64),
            {},
            "a TIFF of complex64, 1 band, MINISBLACK, is n",
        ),
        (
            np.zeros((4, 4, 4), np.uint16),
            {"photometric": "separated"},
            "uint16, 4 bands, SEPARATED",
        ),
        (
            np.zeros((4, 4, 3), np.uint8),
            {"photometric": "cielab"},
            "uint8, 3 bands, CIELAB, is",
        ),
        (np.zeros((4, 4), np.uint16), {"photometric": "cfa"}, "uint16, 1 band, CFA"),
    ):
        tifffile.imwrite(file, stored, **options)
        with pytest.raises(InputError, match=message) as caught:
            read_photo(file)
        assert str(caught.value).endswith("as grey or RGB of uint8, uint16 or float32")
    tifffile.imwrite(
        file, np.zeros((4, 4), np.uint16), extratags=[(50706, "B", 4, b"\1\4\0\0", True)]
    )
    with pytest.raises(InputError, match="raw files are not read; develop it to 16-bit TIFF"):
        read_photo(file)


@pytest.mark.parametrize("compression", [None, "lzw", "jpeg"])
def test_a_tiff_that_is_cut_short_is_broken(file, compression):
    rng = np.random.default_rng(0)
    tifffile.imwrite(file, rng.integers(0, 256, (64, 64), np.uint8), compression=compression)
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"a\.tif: broken image file \(parts of the image are mis"):
        read_photo(file)


def test_a_missing_decoder_is_named(file, monkeypatch):
    def fail(*_, **__):
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    tifffile.imwrite(file, np.zeros((4, 4), np.uint8))
    monkeypatch.setattr(tifffile.TiffPage, "asarray", fail)
    with pytest.raises(
        InputError, match=r"its compression is not read .*LZW.*; pip install -U tifffile imagec"
    ):
        read_photo(file)


@pytest.mark.parametrize("bands", [2, 3, 4])
def test_16_bits_of_png_are_kept(tmp_path, bands):
    import imagecodecs

    stored = np.random.default_rng(0).integers(0, 65536, (6, 7, bands), np.uint16)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(stored))
    photo = read_photo(tmp_path / "a.png")
    np.testing.assert_array_equal(photo.pixels, stored[..., 0] if bands == 2 else stored[..., :3])
    assert photo.notes == (("alpha dropped",) if bands in (2, 4) else ())
    assert read_size(tmp_path / "a.png") == (6, 7)


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# Its red is the green of sRGB, and its green the red.
SWAPPED = SRGB.replace(b"rXYZ", b"none").replace(b"gXYZ", b"rXYZ").replace(b"none", b"gXYZ")
# Of grey, with the exponent 1.2 instead of 2.4.
GREY = (
    SRGB.replace(b"RGB ", b"GRAY", 1)
    .replace(b"rTRC", b"kTRC")
    .replace(b"\2\x66\x66", b"\1\x33\x33")
)


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg"])
def test_colours_of_another_profile_become_srgb(tmp_path, suffix):
    file, options = tmp_path / f"a.{suffix}", {"quality": 100, "subsampling": 0}
    image = Image.fromarray(np.repeat(np.repeat(COLOURS, 8, 0), 8, 1))
    for profile, order in ((SRGB, [0, 1, 2]), (SWAPPED, [1, 0, 2])):
        image.save(file, icc_profile=profile, **(options if suffix == "jpg" else {}))
        photo = read_photo(file)
        off = np.abs(photo.pixels[..., order].astype(int) - np.asarray(image))
        assert off.max() <= (3 if suffix == "jpg" else 1)
        assert photo.notes == ("converted to sRGB from sRGB built-in",) * (profile == SWAPPED)
    grey = image.convert("L").point(lambda value: 20 + value // 2)
    grey.save(file, icc_profile=GREY, **(options if suffix == "jpg" else {}))
    linear = ((np.asarray(grey) / 255 + 0.055) / 1.055) ** 1.2
    shown = 255 * (1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.abs(read_photo(file).pixels - shown).max() < 3


def test_a_profile_or_gamma_that_is_not_used_is_named(tmp_path):
    unused = "its {} is not used: it is taken as sRGB"
    for profile, depth, name in (
        (SRGB, np.uint16, None),
        (SWAPPED, np.uint16, "sRGB built-in"),
        (GREY, np.uint8, "sRGB built-in"),  # of an image in colour
        (b"none", np.uint8, "damaged"),
        (SRGB.replace(b"RGB ", b"RG\xf4 ", 1), np.uint8, "sRGB built-in"),
    ):
        options = {"photometric": "rgb", "iccprofile": profile}
        tifffile.imwrite(tmp_path / "a.tif", COLOURS.astype(depth), **options)
        told = () if name is None else (unused.format(f"ICC profile ({name})"),)
        assert read_photo(tmp_path / "a.tif").notes == told
    gamma = PngImagePlugin.PngInfo()
    gamma.add(b"gAMA", (100000).to_bytes(4, "big"))
    Image.fromarray(COLOURS).save(tmp_path / "a.png", pnginfo=gamma)
    assert read_photo(tmp_path / "a.png").notes == (unused.format("gamma (1)"),)
    texts = PngImagePlugin.PngInfo()
    for name in ("gamma", "icc_profile"):
        texts.add_text(name, "a text of this name")
    Image.fromarray(COLOURS).save(tmp_path / "a.png", pnginfo=texts)
    np.testing.assert_array_equal(read_photo(tmp_path / "a.png").pixels, COLOURS)
    exif = Image.Exif()
    exif[0x8769] = {0xA001: 0xFFFF, 0xA005: {1: "R03"}}  # as DCF wants it of Adobe RGB
    Image.fromarray(COLOURS).save(tmp_path / "a.jpg", exif=exif)
    (note,) = read_photo(tmp_path / "a.jpg").notes
    assert note == "Adobe RGB by its EXIF data, without a profile: it is taken as sRGB"


def test_radiometric_jpegs_say_what_is_not_read(tmp_path):
    file = tmp_path / "a.jpg"
    Image.fromarray(COLOURS).save(file)
    assert read_photo(file).notes == ()
    plain = file.read_bytes()
    flir = b"FLIR\0\1\0\0" + bytes(20)
    exif = Image.Exif()
    exif[0x010F] = "DJI"
    Image.fromarray(COLOURS).save(tmp_path / "dji.jpg", exif=exif)
    dji = (tmp_path / "dji.jpg").read_bytes()
    for content, marker, data, told in (
        (plain, b"\xff\xe1", flir, True),
        (dji, b"\xff\xe3", bytes(50), True),
        (plain, b"\xff\xe3", bytes(50), False),  # of some other maker
        (dji, b"\xff\xe1", b"http://ns", False),
    ):
        segment = marker + (len(data) + 2).to_bytes(2, "big") + data
        file.write_bytes(content[:2] + segment + content[2:])
        notes = read_photo(file).notes
        assert [note[:17] for note in notes] == ["radiometric JPEG:"] * told
        assert not told or "exiftool -b -RawThermalImage" in notes[0]


@pytest.mark.parametrize("name", ["a.heic", "a.jpg", "a.HIF"])
def test_heic_is_told_by_name_and_by_content(tmp_path, name):
    (tmp_path / name).write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    for read in (read_photo, read_size):
        with pytest.raises(InputError, match=r"HEIC and AVIF are not read: heif-convert FILE out"):
            read(tmp_path / name)
    (tmp_path / "a.jp2").write_bytes(b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100))
    with pytest.raises(InputError, match=r"WebP and \.npy are read: magick FILE out\.png converts"):
        read_photo(tmp_path / "a.jp2")
