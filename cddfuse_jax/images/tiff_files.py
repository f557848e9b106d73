"""TIFF as tifffile decodes it: any byte order, layout, compression and type of numbers.

What has no plain meaning as grey or as RGB is refused, with its type, bands and what to save.
"""

import itertools
import logging
import os
from typing import Any

import numpy as np
from PIL import Image

from cddfuse_jax.errors import InputError
from cddfuse_jax.images.photo import TRANSPOSING, TURNED, Photo, upright

STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # of a file; + is that of BigTIFF
MOST_PAGES = 100  # that are counted
MOST_PIXELS_PER_BYTE = 10_000  # what is beyond would fill the memory with nothing
SAVE = "save it as grey or RGB of uint8, uint16 or float32, or as .npy"
_COLOURS = {"MINISWHITE": 1, "MINISBLACK": 1, "PALETTE": 1, "RGB": 3, "SEPARATED": 4, "YCBCR": 3}
_ORIENTATION, _NO_DATA, _RAW, _ALPHA = 274, 42113, 50706, (1, 2)
_ORDINALS = {2: "second", 3: "third", 4: "fourth", 5: "fifth"}
logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it says is said here in one line


def read_tiff(path: str | os.PathLike, index: int | None = None) -> Photo:
    """Read a page of a TIFF, by default the first that is no thumbnail.

    Raises:
        InputError: it is neither grey nor RGB, or has no such page.
        Exception: of any kind, if it is broken.
    """
    import tifffile

    with tifffile.TiffFile(path) as file:
        page, count = _page(path, file, index)
        _check(path, page)
        parts = list(zip(page.dataoffsets, page.databytecounts, strict=True))
        if not all(map(all, parts)) or max(map(sum, parts)) > file.filehandle.size:
            raise ValueError("parts of the image are missing")
        stored = page.asarray(squeeze=False)  # planes, depth, height, width, bands
        if _bands_are_last(file, page):
            stored, count = file.series[0].asarray()[None, None], 1
        notes = []
        if count > 1 and index is None:
            shown = f"more than {MOST_PAGES}" if count > MOST_PAGES else count
            notes.append(f"first of {shown} pages read")
        if stored.shape[1] > 1:
            notes.append(f"first of {stored.shape[1]} slices read")
        stored = stored[:, 0]
        bands = np.moveaxis(stored[..., 0], 0, -1) if len(stored) > 1 else stored[0]
        pixels, told = _as_photo(path, page, bands)
        orientation = _tag(page, _ORIENTATION, 1)
    if orientation in range(2, 9):
        notes.append(TURNED)
        pixels = upright(pixels, orientation)
    return Photo(pixels, (*notes, *told))


def tiff_size(path: str | os.PathLike, index: int | None = None) -> tuple[int, int]:
    """Read (height, width), upright, from a page's tags.

    Raises:
        InputError: there is no such page.
        Exception: of any kind, if it is broken.
    """
    import tifffile

    with tifffile.TiffFile(path) as file:
        page, _ = _page(path, file, index)
        height, width = page.imagelength, page.imagewidth
        if _bands_are_last(file, page):
            height, width = file.series[0].shape[:2]
        swapped = _tag(page, _ORIENTATION, 1) in TRANSPOSING
    return (width, height) if swapped else (height, width)


def _page(path, file: Any, index: int | None) -> tuple[Any, int]:
    """Return a page that is no thumbnail, and how many such pages there are."""
    listed = itertools.islice(file.pages, max(MOST_PAGES, index or 0) + 1)
    pages = [page for page in listed if not page.is_reduced]
    if not pages or not 0 <= (index or 0) < len(pages):
        raise InputError(f"{path}: pages are counted from 0, it has {len(pages)}, got {index}")
    page = pages[index or 0]
    pixels = page.imagewidth * page.imagelength * page.imagedepth * page.samplesperpixel
    if pixels > MOST_PIXELS_PER_BYTE * file.filehandle.size:
        raise InputError(
            f"{path}: claims {page.imagewidth}x{page.imagelength} pixels in "
            f"{file.filehandle.size} bytes, which no image fills; save it anew"
        )
    return page, len(pages)


def _tag(page: Any, code: int, default: Any) -> Any:
    return page.tags[code].value if code in page.tags else default


def _bands_are_last(file: Any, page: Any) -> bool:
    """Tell whether rows lie in pages, as tifffile writes HxWxC if it is not told of colours."""
    shape: tuple[int, ...] = file.series[0].shape if file.is_shaped else ()
    return len(shape) == 3 and shape[2] in (2, 3, 4) and page.shape == shape[1:]


def _kind(page: Any) -> str:
    return getattr(page.photometric, "name", str(page.photometric))


def _check(path, page: Any) -> None:
    dtype = str(page.dtype or f"{page.bitspersample} bits, sample format {page.sampleformat}")
    bands = f"{page.samplesperpixel} band{'s' * (page.samplesperpixel > 1)}"
    what = f"{path}: a TIFF of {dtype}, {bands}, {_kind(page)}, is not read"
    if _RAW in page.tags:
        raise InputError(f"{path}: raw files are not read; develop it to 16-bit TIFF")
    known = page.dtype is not None and page.dtype.kind in "biuf"
    if page.dtype == np.bool_ and page.samplesperpixel > 1 and page.planarconfig == 1:
        known = False  # bits of several bands interleaved, which tifffile takes for one band's
    if not known or page.samplesperpixel < _COLOURS.get(_kind(page), 100):
        raise InputError(f"{what}; {SAVE}")
    deep = page.dtype != np.uint8
    jpeg = "JPEG" in getattr(page.compression, "name", "")
    if (_kind(page) == "SEPARATED" and deep) or (_kind(page) == "YCBCR" and (deep or not jpeg)):
        raise InputError(f"{what}; save it as RGB")


def _as_photo(path, page: Any, bands: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Turn HxWxC of a page into HxW or HxWx3, and say what that took."""
    kind, count, notes = _kind(page), bands.shape[-1], []
    colours = _COLOURS[kind]
    alpha = count == colours + 1 and page.extrasamples and page.extrasamples[0] in _ALPHA
    if count == 3 and kind in ("MINISBLACK", "MINISWHITE"):
        colours = 3
        notes.append("three bands taken as red, green and blue")
    elif colours == 1 and count > 1 and not alpha:
        if count != 4 or page.samplesperpixel > 1:
            raise InputError(
                f"{path}: a TIFF of {page.dtype}, {count} bands, {kind}, is not read: none of them "
                "is said to be red, green or blue; save the one to fuse as a file of its own"
            )
        colours = 3
    if alpha:
        notes.append("alpha dropped")
    elif count > colours:
        dropped = [_ORDINALS.get(n, str(n)) for n in range(colours + 1, count + 1)]
        notes.append(f"{' and '.join(dropped)} band dropped")
    missing = _no_data(page, bands[..., 0]) if colours == 1 else None
    pixels = _scaled(bands[..., :colours], _bits(page), grey=colours == 1 and kind != "PALETTE")
    if kind == "MINISWHITE":
        pixels = _inverted(pixels, _bits(page))
        notes.append("white is zero in it: inverted")
    if kind == "PALETTE":
        pixels = _looked_up(page.colormap, pixels[..., 0])
    elif kind == "SEPARATED":
        pixels = np.asarray(Image.fromarray(np.ascontiguousarray(pixels), "CMYK").convert("RGB"))
    pixels = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    if missing is not None and missing.any():
        floats = np.float32 if pixels.dtype.itemsize < 4 else np.float64
        pixels = np.where(missing, np.nan, pixels.astype(np.result_type(pixels, floats)))
        notes.append(f"no data where it is {_tag(page, _NO_DATA, '').strip()}")
    return np.ascontiguousarray(pixels), notes


def _bits(page: Any) -> int:
    return page.bitspersample if page.dtype.kind in "bu" else 0


def _scaled(pixels: np.ndarray, bits: int, grey: bool) -> np.ndarray:
    """Bring a number of bits that no type has to one: grey counts beyond 8 bits stay."""
    most = {np.dtype(bool): 1}.get(pixels.dtype, 2**bits - 1)
    if bits < 8 and grey and pixels.dtype.kind in "bu":
        return np.rint(pixels * (255 / most)).astype(np.uint8)
    if pixels.dtype == np.uint16 and bits < 16 and pixels.shape[-1] == 3:
        return np.rint(pixels * (65535 / most)).astype(np.uint16)
    return pixels


def _inverted(pixels: np.ndarray, bits: int) -> np.ndarray:
    if pixels.dtype.kind == "f":
        return 1 - pixels if pixels.min() >= 0 and pixels.max() <= 1 else -pixels
    if pixels.dtype == np.uint16 and 8 < bits < 16 and pixels.shape[-1] == 1:
        return (2**bits - 1 - pixels).astype(np.uint16)
    return ~pixels


def _looked_up(colours: np.ndarray, indices: np.ndarray) -> np.ndarray:
    table = (colours >> 8 if colours.max() > 255 else colours).astype(np.uint8)
    indices = indices.astype(np.intp)
    grey = (table == table[:1]).all()
    return table[0][indices] if grey else np.moveaxis(table[:, indices], 0, -1)


def _no_data(page: Any, pixels: np.ndarray) -> np.ndarray | None:
    """Return where GDAL's tag says that counts are none; 8-bit pictures have no counts."""
    if _NO_DATA not in page.tags or pixels.dtype in (np.uint8, np.bool_):
        return None
    try:
        value = float(_tag(page, _NO_DATA, ""))
    except ValueError:
        return None
    with np.errstate(over="ignore"):
        return pixels == (pixels.dtype.type(value) if pixels.dtype.kind == "f" else value)
