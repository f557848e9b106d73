"""Reading the image of any camera: what is stored, as grey, or as luma; and writing PNG."""

import contextlib
import logging
import os
import re
import stat
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from cddfuse_jax.errors import InputError, one_line
from cddfuse_jax.files import placeholder, replacing
from cddfuse_jax.images import levels, medical_files, tiff_files
from cddfuse_jax.images.deep_png import deep_png, unswapped
from cddfuse_jax.images.flir_files import RADIOMETRIC, is_radiometric
from cddfuse_jax.images.icc_profiles import in_srgb
from cddfuse_jax.images.metadata import NO_METADATA, of_exif, orientation_of
from cddfuse_jax.images.not_read import EXPORTING, advice, is_heif
from cddfuse_jax.images.photo import TRANSPOSING, TURNED, Photo, upright

# Formats that are read, whatever a file's name. Pillow's other decoders are less well kept, and
# that of PostScript starts a program.
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
_OF_PILLOW = tuple(name for name in FORMATS if name != "TIFF")
_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".npy")
SUFFIXES = (*_PICTURES, *medical_files.SUFFIXES)
# Messages here say in one line what Pillow warns of.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").setLevel(logging.CRITICAL)
# Pillow's modes. Those that start with I;16 are unsigned 16-bit in some byte order.
_GREY, _DEEP = ("1", "L", "LA", "La"), ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_COLOUR = ("P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB", "HSV")
MOST_PIXELS = 2**30  # that are decoded; Pillow's own guard is at 179 million
_GUARD = threading.Lock()


def read_photo(
    path: str | os.PathLike, index: int | None = None, onto: str | os.PathLike | None = None
) -> Photo:
    """Read an image of any camera: alpha dropped, EXIF orientation applied.

    Args:
        path: PNG, JPEG, TIFF, BMP, WebP or .npy (HxW, HxWx1, HxWx3, HxWx4); with the extra
            [medical] DICOM or NIfTI.
        index: which page or slice, from 0. None: the first page of a TIFF; of DICOM and NIfTI the
            only slice.
        onto: of two NIfTI volumes, that on whose grid ``path`` is resampled; index is of that.
    """
    with _opened(path) as (file, start):
        if Path(path).suffix.lower() == ".npy":
            stored = _npy(path, file)
            pixels = stored[..., :3] if stored.ndim == 3 else stored
            pixels = pixels[..., 0] if pixels.shape[2:] == (1,) else pixels
            notes = ("alpha dropped",) * (stored.shape[2:] == (4,))
            return Photo(np.array(pixels, pixels.dtype.newbyteorder("=")), notes)
        with _decoding(path, start):
            if start[:4] in tiff_files.STARTS:
                return tiff_files.read_tiff(path, file, index)
            if medical_files.is_dicom(start) or medical_files.is_nifti(path):
                return medical_files.read_medical(path, file, index, onto)
            with _open(file) as image:
                return photo_of(image, path)


def photo_of(image: Image.Image, name: str | os.PathLike) -> Photo:
    """Return a Pillow image as `read_photo` returns a file; ``name`` is for messages."""
    tile, file = str(getattr(image, "tile", "")), getattr(image, "filename", "")
    if image.format == "TIFF" and file and tile != "[]":  # not decoded yet: see `tiff_files`
        return read_photo(file, image.tell())
    notes = []
    alpha = None
    if (pages := getattr(image, "n_frames", 1)) > 1:
        notes.append(f"first of {pages} pages read")
    if is_radiometric(image):
        notes.append(RADIOMETRIC)
    if image.mode in ("LA", "RGB", "RGBA") and ";16" in tile:
        pixels = deep_png(image)
        if pixels.shape[2] in (2, 4):
            alpha = pixels[..., -1]
        pixels = pixels[..., 0] if pixels.shape[2] == 2 else pixels[..., :3]
    elif image.mode in _DEEP:
        pixels = np.asarray(image)
        if isinstance(unseen := image.info.get("transparency"), int):
            alpha = pixels != unseen
        pixels = unswapped(pixels.astype(pixels.dtype.newbyteorder("=")), notes)
    elif image.mode in _GREY:
        pixels = np.asarray(image.convert("L"))
    elif image.mode in _COLOUR:
        pixels = np.asarray(image.convert("RGB"))
    else:
        raise InputError(f"{name}: grey and RGB images are read, this one is {image.mode}")
    pixels = in_srgb(pixels, image.info, notes)
    if alpha is None and image.has_transparency_data and image.mode not in _DEEP:
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
    if alpha is not None:
        pixels = levels.without_transparent(pixels, alpha, notes)
    orientation = orientation_of(image)  # of a PNG it may follow the pixels
    if orientation in range(2, 9):
        notes.append(TURNED)
        pixels = upright(pixels, orientation)
    has_exif = image.format != "PNG" or "exif" in image.info
    metadata = of_exif(image.getexif()) if has_exif else NO_METADATA
    return Photo(pixels, tuple(notes), metadata=metadata)


def read_image(path: str | os.PathLike, fused: bool = False) -> np.ndarray:
    """Read an image for a screen: uint8, HxW (grey) or HxWx3 (RGB); alpha is dropped.

    Deeper images are scaled as `levels.intensities` does, ``fused`` ones as `levels.of_fused`.
    """
    photo = read_photo(path)
    with naming(path):
        if fused and photo.pixels.dtype != np.uint8:
            return levels.to_8_bit(levels.of_fused(photo.pixels))
        return levels.in_8_bits(photo.pixels, photo.limits)


def read_grey(path: str | os.PathLike, fused: bool = False) -> np.ndarray:
    """Read an image as the release's scripts do: round(0.299 R + 0.587 G + 0.114 B), uint8 HxW."""
    return levels.grey_8_bit(read_image(path, fused))


def read_size(path: str | os.PathLike, index: int | None = None) -> tuple[int, int]:
    """Read an image's (height, width) from its header, without decoding the pixels."""
    with _opened(path) as (file, start):
        if Path(path).suffix.lower() == ".npy":
            return _npy(path, file).shape[:2]
        with _decoding(path, start):
            if start[:4] in tiff_files.STARTS:
                return tiff_files.read_tiff(path, file, index, sizes=True).pixels.shape
            if medical_files.is_dicom(start) or medical_files.is_nifti(path):
                return medical_files.read_medical(path, file, index).pixels.shape[:2]
            with _open(file) as image:
                width, height = image.size
                return (width, height) if orientation_of(image) in TRANSPOSING else (height, width)


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


def _npy(path: str | os.PathLike, file: BinaryIO) -> np.ndarray:
    """Map an .npy file in which an image can be; of its pixels none is read."""
    npy, unreadable = np.lib.format, f"{path}: not an .npy file that can be read"
    try:
        first = npy.read_magic(file) == (1, 0)
        header = (npy.read_array_header_1_0 if first else npy.read_array_header_2_0)(file)
    except Exception as error:  # its header is a Python literal, which fails in many ways
        raise InputError(f"{unreadable} ({one_line(error)})") from None
    shape, columns, dtype = header
    channels = shape[2] if len(shape) == 3 else 1
    if len(shape) not in (2, 3) or channels not in (1, 3, 4) or dtype.kind not in "biuf":
        raise InputError(
            f"{path}: an array must be HxW, HxWx1, HxWx3 or HxWx4 of real numbers, got "
            f"{'x'.join(map(str, shape))} {dtype}; transpose it to channels last, or save an image"
        )
    if 0 in shape:
        raise InputError(f"{path}: an image must have pixels, got {shape}")
    try:
        return np.memmap(file, dtype, "r", file.tell(), shape, "F" if columns else "C")
    except (OSError, ValueError) as error:  # it is cut off
        raise InputError(f"{unreadable} ({one_line(error)})") from None


def _open(file: BinaryIO) -> Image.Image:
    """Open a file of `_OF_PILLOW`; Pillow's guard against large ones gives way to `MOST_PIXELS`."""
    try:
        return Image.open(file, formats=_OF_PILLOW)
    except Image.DecompressionBombError:
        file.seek(0)
        with _GUARD:
            guard, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, MOST_PIXELS // 2
            try:
                return Image.open(file, formats=_OF_PILLOW)
            finally:
                Image.MAX_IMAGE_PIXELS = guard


@contextlib.contextmanager
def _decoding(path: str | os.PathLike, start: bytes) -> Iterator[None]:
    suffix = Path(path).suffix.lower()
    try:
        if suffix in EXPORTING or is_heif(start):
            raise UnidentifiedImageError  # TIFF's start, or a JPEG's name, does not make it one
        yield
    except InputError:
        raise
    except UnidentifiedImageError:
        raise InputError(f"{path}: not an image that can be read{advice(suffix, start)}") from None
    except Image.DecompressionBombError:
        raise InputError(
            f"{path}: has more pixels than are read ({MOST_PIXELS / 1e6:.0f} million); cut it into "
            "tiles: magick FILE -crop 8192x8192 +repage tile-%d.png"
        ) from None
    except MemoryError:
        raise InputError(
            f"{path}: too large for the memory that is free; cut it into tiles"
        ) from None
    except Exception as error:  # what a decoder raises depends on the byte that is damaged
        reason = one_line(error) or type(error).__name__
        if "imagecodecs" in reason or "not supported" in reason:
            raise InputError(
                f"{path}: its compression is not read ({reason}); pip install -U tifffile "
                "imagecodecs, or save it uncompressed"
            ) from None
        raise InputError(f"{path}: broken image file ({reason})") from None


def missing(path: str | os.PathLike, what: str = "file or folder") -> str:
    """Return the line for a path that leads nowhere."""
    if re.match(r"[a-z][a-z0-9+]+:/", os.fspath(path)):
        return f"{path}: addresses are not read; download it (curl -O ADDRESS) and name the file"
    return f"{path}: no such {what}"


@contextlib.contextmanager
def _opened(path: str | os.PathLike) -> Iterator[tuple[BinaryIO, bytes]]:
    """Open a file, and yield it and its first bytes; refuse what is none: a FIFO would block."""
    try:
        mode = os.stat(path).st_mode
        file = open(path, "rb") if stat.S_ISREG(mode) else None  # noqa: SIM115
    except FileNotFoundError:
        raise InputError(missing(path, "file")) from None
    except (OSError, ValueError) as error:  # a loop of links, a name that is too long or has a NUL
        raise InputError(f"{path}: cannot be read ({one_line(error)})") from None
    if file is None:
        kind = "is a folder, not an image" if stat.S_ISDIR(mode) else (
            "an image is a regular file, this is a device, FIFO or socket"
        )  # fmt: skip
        raise InputError(f"{path}: {kind}")
    with file:
        try:
            start = file.read(132)
        except OSError as error:  # of a disk or a network
            raise InputError(f"{path}: cannot be read ({one_line(error)})") from None
        file.seek(0)
        if word := placeholder(start):
            raise InputError(f"{path}: {word}")
        yield file, start
