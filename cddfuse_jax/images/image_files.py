"""Reading the image of any camera: what is stored, as grey, or as luma; and writing PNG."""

import contextlib
import logging
import os
import re
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from cddfuse_jax.errors import InputError, one_line
from cddfuse_jax.files import replacing
from cddfuse_jax.images import levels

# What is promised to be read, and all that Pillow tries, whatever a file is named: its other
# decoders are less well kept, and that of PostScript starts a program.
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".npy")
MOST_PAGES = 100  # that are counted
MOST_PIXELS_PER_BYTE = 10_000  # of a TIFF; what is beyond takes its decoder for ever
# What Pillow has to say of a file is said here in one line, or is not worth one.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").setLevel(logging.CRITICAL)
READ = "PNG, JPEG, TIFF, BMP, WebP and .npy"
# Pillow's modes. Those that start with I;16 are unsigned 16-bit in some byte order.
_GREY, _DEEP = ("1", "L", "LA", "La"), ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_COLOUR = ("P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB", "HSV")
_APPLE = "; HEIC and AVIF are not read: export it as JPEG or PNG"
_RAW = "; raw files are not read: develop it to 16-bit TIFF"
_EXPORTING = dict.fromkeys((".heic", ".heif", ".hif", ".avif"), _APPLE) | dict.fromkeys(
    (".dng", ".cr2", ".cr3", ".nef", ".arw", ".raw", ".raf", ".orf"), _RAW
)
_ORIENTATION, _TRANSPOSING = 0x0112, (5, 6, 7, 8)  # EXIF: its tag, and what swaps the sides
_GREY_IS_INVERTED = 0  # the TIFF tag's value for "white is zero"
_PHOTOMETRIC, _TIFF_SIDES = 262, (256, 257)


class Photo(NamedTuple):
    """An image as stored, upright, and what was lost or changed in reading it.

    ``pixels`` is HxW (grey) or HxWx3 (RGB): uint8, uint16, int32 or a float type; .npy files may
    hold any real type. ``notes`` says, a few words each, what a user may want to know.
    """

    pixels: np.ndarray
    notes: tuple[str, ...] = ()


def read_photo(path: str | os.PathLike) -> Photo:
    """Read PNG, JPEG, TIFF, BMP, WebP or .npy: alpha dropped, EXIF orientation applied.

    Of a TIFF the first page is read. An .npy file holds HxW, HxWx1, HxWx3 or HxWx4.

    Raises:
        InputError: the file is missing, broken, no image, or of an unknown kind.
    """
    if Path(path).suffix.lower() == ".npy":
        return _read_npy(path)
    with _opened(path) as image:
        return photo_of(image, path)


def photo_of(image: Image.Image, name: str | os.PathLike) -> Photo:
    """Return a Pillow image as `read_photo` returns a file; ``name`` is for messages.

    Raises:
        InputError: it is neither grey nor of colours.
    """
    notes = []
    if image.has_transparency_data:
        notes.append("alpha dropped")
    pages = _pages(image)
    if pages > 1:
        count = f"more than {MOST_PAGES}" if pages > MOST_PAGES else pages
        notes.append(f"first of {count} pages read")
    if image.mode in _COLOUR and ";16" in str(getattr(image, "tile", "")):
        notes.append("16-bit colour read as 8-bit")
    orientation = _orientation(image)
    if image.mode in _DEEP:
        pixels = np.asarray(image)
        pixels = pixels.astype(pixels.dtype.newbyteorder("="))
        if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _GREY_IS_INVERTED:
            notes.append("stored as a negative and not inverted")
    elif image.mode in _GREY or (image.mode == "P" and _grey_palette(image)):
        pixels = np.asarray(image.convert("L"))
    elif image.mode in _COLOUR:
        pixels = np.asarray(image.convert("RGB"))
    else:
        raise InputError(f"{name}: grey and RGB images are read, this one is {image.mode}")
    if orientation in range(2, 9):
        notes.append("turned upright as its EXIF data say")
        if image.format != "TIFF":  # Pillow turns these itself when it decodes them
            pixels = _upright(pixels, orientation)
    return Photo(pixels, tuple(notes))


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Read an image for a screen: uint8, HxW (grey) or HxWx3 (RGB); alpha is dropped.

    Deeper images are scaled as `levels.intensities` does.

    Raises:
        InputError: as `read_photo`, or a pixel is not finite.
    """
    pixels = read_photo(path).pixels
    with naming(path):
        return pixels if pixels.dtype == np.uint8 else levels.to_8_bit(levels.intensities(pixels))


def read_grey(path: str | os.PathLike) -> np.ndarray:
    """Read an image as the release's scripts do: round(0.299 R + 0.587 G + 0.114 B), uint8 HxW.

    Raises:
        InputError: as `read_image`.
    """
    pixels = read_photo(path).pixels
    with naming(path):
        return levels.grey_8_bit(pixels)


def read_luma(path: str | os.PathLike) -> np.ndarray:
    """Read luma as the release's patch preparation does: float32 HxW in [0, 1], never rounded.

    Raises:
        InputError: as `read_image`.
    """
    pixels = read_photo(path).pixels
    with naming(path):
        return levels.luma(pixels)


def read_size(path: str | os.PathLike) -> tuple[int, int]:
    """Read an image's (height, width) from its header, without decoding the pixels.

    Raises:
        InputError: the file is missing or no image.
    """
    if Path(path).suffix.lower() == ".npy":
        return _mapped_npy(path).shape[:2]
    with _opened(path) as image:
        # Pillow's size of a TIFF is before or after turning, depending on its version.
        width, height = image.size
        if image.format == "TIFF":
            tags = image.tag_v2  # type: ignore[attr-defined]
            width, height = (tags[tag] for tag in _TIFF_SIDES)
        return (width, height) if _orientation(image) in _TRANSPOSING else (height, width)


def write_png(path: str | os.PathLike, image: np.ndarray) -> None:
    """Write a uint8 image, HxW or HxWx3, as PNG; the file appears whole or not at all."""
    with replacing(path) as temporary:
        Image.fromarray(image).save(temporary, format="PNG")


@contextlib.contextmanager
def naming(path: str | os.PathLike) -> Iterator[None]:
    """Put the file's name before an `InputError` of the block, which is about its pixels."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _read_npy(path: str | os.PathLike) -> Photo:
    pixels = _mapped_npy(path)
    notes = ("alpha dropped",) if pixels.shape[2:] == (4,) else ()
    if pixels.ndim == 3:
        pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels[..., :3]
    return Photo(np.array(pixels, pixels.dtype.newbyteorder("=")), notes)


def _mapped_npy(path: str | os.PathLike) -> np.ndarray:
    _check_regular(path)
    try:
        # Mapped, so that a header that promises terabytes costs nothing, and checked before use.
        pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # its header is a Python literal, which fails in many ways
        raise InputError(f"{path}: not an .npy file that can be read ({one_line(error)})") from None
    if not isinstance(pixels, np.ndarray):
        raise InputError(f"{path}: an .npy file holds one array, this is an archive of several")
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if pixels.ndim not in (2, 3) or channels not in (1, 3, 4) or pixels.dtype.kind not in "biuf":
        raise InputError(
            f"{path}: an array must be HxW, HxWx1, HxWx3 or HxWx4 of real numbers, got "
            f"{'x'.join(map(str, pixels.shape))} {pixels.dtype}; transpose it to channels last"
        )
    if pixels.size == 0:
        raise InputError(f"{path}: an image must have pixels, got {pixels.shape}")
    return pixels


@contextlib.contextmanager
def _opened(path: str | os.PathLike) -> Iterator[Image.Image]:
    _check_regular(path)
    try:
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
            most = MOST_PIXELS_PER_BYTE * os.stat(path).st_size
            if image.format == "TIFF" and width * height > most:
                raise InputError(
                    f"{path}: claims {width}x{height} pixels in {os.stat(path).st_size} bytes, "
                    "which no image fills; save it anew"
                )
            yield image
    except InputError:
        raise
    except UnidentifiedImageError:
        how = _EXPORTING.get(Path(path).suffix.lower(), "")
        raise InputError(f"{path}: not an image that can be read{how}") from None
    except Exception as error:  # what a decoder raises depends on the byte that is damaged
        raise InputError(
            f"{path}: broken image file ({one_line(error) or type(error).__name__})"
        ) from None


def missing(path: str | os.PathLike, what: str = "file or folder") -> str:
    """Return the line for a path that leads nowhere."""
    if re.match(r"[a-z][a-z0-9+]+:/", os.fspath(path)):
        return f"{path}: addresses are not read; download it (curl -O ADDRESS) and name the file"
    return f"{path}: no such {what}"


def _check_regular(path: str | os.PathLike) -> None:
    """Refuse, before it is opened, what is no file: a FIFO would wait for its writer for ever."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise InputError(missing(path, "file")) from None
    except (OSError, ValueError) as error:  # a loop of links, a name that is too long or has a NUL
        raise InputError(f"{path}: cannot be read ({one_line(error)})") from None
    if stat.S_ISDIR(mode):
        raise InputError(f"{path}: is a folder, not an image")
    if not stat.S_ISREG(mode):
        raise InputError(f"{path}: an image is a regular file, this is a device, FIFO or socket")


def _pages(image: Image.Image) -> int:
    """Return how many pages there are, for a TIFF `MOST_PAGES` + 1 if more."""
    if image.format != "TIFF":
        return getattr(image, "n_frames", 1)
    # Pillow would go through all of them, which takes seconds for 40,000.
    pages = 1
    with contextlib.suppress(EOFError):
        while pages <= MOST_PAGES:
            image.seek(pages)
            pages += 1
    image.seek(0)
    return pages


def _orientation(image: Image.Image) -> int:
    # Asked for EXIF, Pillow decodes a whole PNG in search of it; what precedes the pixels is known.
    if image.format == "PNG" and "exif" not in image.info:
        return 1
    return image.getexif().get(_ORIENTATION, 1)


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation, 2 to 8: transpose if the sides are swapped, then mirror."""
    if orientation in _TRANSPOSING:
        pixels = pixels.swapaxes(0, 1)
    down = -1 if orientation in (3, 4, 7, 8) else 1
    across = -1 if orientation in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(pixels[::down, ::across])


def _grey_palette(image: Image.Image) -> bool:
    palette = np.asarray(image.getpalette("RGB")).reshape(-1, 3)
    return bool((palette == palette[:, :1]).all())
