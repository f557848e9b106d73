"""TIFF as tifffile decodes it: any byte order, layout, compression and type of numbers.

What has no plain meaning as grey or as RGB is refused, with its type, bands and what to save.
"""

import contextlib
import itertools
import logging
import os
import shlex
import zlib
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from cddfuse_jax.errors import InputError
from cddfuse_jax.images.icc_profiles import in_srgb
from cddfuse_jax.images.levels import without, without_transparent
from cddfuse_jax.images.metadata import of_map
from cddfuse_jax.images.photo import TRANSPOSING, TURNED, Photo, Place, place_of, upright

STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # of a file; + is that of BigTIFF
MOST_PAGES = 100  # that are counted
MOST_PIXELS_PER_BYTE = 10_000  # what is beyond would fill the memory with nothing
_BANDS = {"MINISWHITE": 1, "MINISBLACK": 1, "PALETTE": 1, "RGB": 3, "SEPARATED": 4, "YCBCR": 3}
_ORIENTATION, _NO_DATA, _RAW, _PROFILE = 274, 42113, 50706, 34675
_ALPHA, _ASSOCIATED = (1, 2), 1  # kinds of extra bands; the colours of 1 are multiplied by it
_USER_DEFINED = 32767  # a system of coordinates without a code
_ORDINALS = {2: "second", 3: "third", 4: "fourth", 5: "fifth"}
logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # messages here say it in one line


def read_tiff(
    path: str | os.PathLike, opened: BinaryIO, index: int | None = None, sizes: bool = False
) -> Photo:
    """Read a page of a TIFF, by default the first that is no thumbnail; with ``sizes`` no pixels.

    ``path`` is for messages.

    Raises:
        InputError: it is neither grey nor RGB, or has no such page.
        Exception: of any kind, if it is broken.
    """
    import tifffile

    with tifffile.TiffFile(opened) as file:
        page, notes = _page(path, file, index)
        # The place of a map is that of its rows as stored.
        orientation = 1 if page.geotiff_tags else _tag(page, _ORIENTATION, 1)
        if sizes:
            pixels = np.broadcast_to(np.uint8(0), (page.imagelength, page.imagewidth))
            return Photo(pixels.T if orientation in TRANSPOSING else pixels)
        kind = getattr(page.photometric, "name", str(page.photometric))
        colours = _colours(path, page, kind, notes)
        parts = list(zip(page.dataoffsets, page.databytecounts, strict=True))
        if not all(map(all, parts)) or max(map(sum, parts)) > file.filehandle.size:
            raise ValueError("parts of the image are missing")
        planes = page.asarray(squeeze=False)[:, 0]  # planes, height, width, bands
        bands = np.moveaxis(planes[..., 0], 0, -1) if len(planes) > 1 else planes[0]
        extra = (page.extrasamples or (0,))[0] if bands.shape[-1] > colours else 0
        if extra == _ASSOCIATED:
            bands = _straight(bands[..., : colours + 1], page.bitspersample, notes)
        pixels = _values(page, kind, bands[..., :colours], notes)
        pixels = in_srgb(pixels, {"icc_profile": _tag(page, _PROFILE, None)}, notes)
        if extra in _ALPHA:
            pixels = without_transparent(pixels, bands[..., colours], notes)
        pages: Any = file.pages  # GDAL's mask of a page follows it
        for mask in pages[page.index + 1 : page.index + 2]:
            if not mask.is_mask or mask.shape != page.shape[:2]:
                continue
            pixels = without_transparent(pixels, mask.asarray(), notes)
    if orientation in range(2, 9):
        notes.append(TURNED)
        pixels = upright(pixels, orientation)
    place = _place(path, page, pixels.shape)
    return Photo(np.ascontiguousarray(pixels), tuple(notes), place=place, metadata=of_map(page))


def count_pages(path: str | os.PathLike) -> int:
    """Return how many pages a TIFF has, without thumbnails; 0 of what is none."""
    import tifffile

    with contextlib.suppress(tifffile.TiffFileError, OSError), tifffile.TiffFile(path) as file:
        pages: Any = file.pages
        return sum(not (page.is_reduced or page.is_mask) for page in pages)
    return 0


def _page(path: str | os.PathLike, file: Any, index: int | None) -> tuple[Any, list[str]]:
    """Return a page that is no thumbnail, and a note if there are others."""
    listed = itertools.islice(file.pages, max(MOST_PAGES, index or 0) + 1)
    pages = [page for page in listed if not (page.is_reduced or page.is_mask)]
    if len(pages) == 1:
        index = None  # of a pair one file may have slices, and the other be an image
    if not 0 <= (index or 0) < len(pages):
        raise InputError(f"{path}: pages are counted from 0, it has {len(pages)}, got {index}")
    page, size = pages[index or 0], file.filehandle.size
    if page.imagewidth * page.imagelength * page.samplesperpixel > MOST_PIXELS_PER_BYTE * size:
        raise InputError(
            f"{path}: claims {page.imagewidth}x{page.imagelength} pixels in {size} bytes, which no "
            "image fills; save it again"
        )
    if page.imagewidth < 5 and file.is_shaped and file.series[0].shape[1:] == page.shape:
        raise InputError(f"{path}: each of its pages is a row; write it with photometric='rgb'")
    count = f"more than {MOST_PAGES}" if len(pages) > MOST_PAGES else len(pages)
    return page, [f"first of {count} pages read"] if len(pages) > 1 and index is None else []


def _place(path: str | os.PathLike, page: Any, size: tuple[int, ...]) -> Place | None:
    """Return where a GeoTIFF lies, None where it does not say; equal systems have equal names."""
    tags = page.geotiff_tags or {}
    system = tags.get("ProjectedCSTypeGeoKey") or tags.get("GeographicTypeGeoKey")
    matrix = np.reshape(tags.get("ModelTransformation") or np.zeros(16), (4, 4))
    if "ModelPixelScale" in tags and "ModelTiepoint" in tags:
        (scale_x, scale_y), (column, row, _, x, y) = (
            tags["ModelPixelScale"][:2], tags["ModelTiepoint"][:5]
        )  # fmt: skip
        matrix = np.diag([scale_x, -scale_y, 0, 1])
        matrix[:2, 3] = x - column * scale_x, y + row * scale_y
    if system is None:
        return None
    name = f"EPSG:{int(system)}"
    if int(system) == _USER_DEFINED:  # by all of its keys
        keys = {key: tags[key] for key in tags if not key.startswith(("Model", "Key", "GTRaster"))}
        name = f"user-defined system {zlib.crc32(repr(sorted(keys.items())).encode()):08x}"
    if not matrix[:2, :2].any():
        out = shlex.quote(f"{os.path.splitext(path)[0]}-map.tif")
        raise InputError(
            f"{path}: a map whose place is given by points of control, or not at all; first "
            f"gdalwarp {shlex.quote(os.fspath(path))} {out}, or gdal_translate -co PROFILE=BASELINE"
        )
    across, down, start = matrix[:2, 0], matrix[:2, 1], matrix[:2, 3]
    if tags.get("GTRasterTypeGeoKey", 1) == 1:  # the point is a pixel's corner
        start = start + (across + down) / 2
    return place_of(name, start, across, down, size)


def _tag(page: Any, code: int, default: Any) -> Any:
    return page.tags[code].value if code in page.tags else default


def _colours(path: str | os.PathLike, page: Any, kind: str, notes: list[str]) -> int:
    """Return how many bands a page's colours take, and note what the others are."""
    if _RAW in page.tags:
        raise InputError(f"{path}: raw files are not read; develop it to 16-bit TIFF")
    count, colours, dtype = page.samplesperpixel, _BANDS.get(kind, 0), page.dtype
    alpha = count > colours and (page.extrasamples or (0,))[0] in _ALPHA
    if count == 3 and kind.startswith("MINIS"):
        colours = 3
        notes.append("three bands taken as red, green and blue")
    refused = dtype is None or dtype.kind not in "biuf" or not 0 < colours <= count
    refused |= page.imagedepth > 1 or (colours == 1 and count > 1 + alpha)
    # tifffile takes interleaved bits of several bands for one band's.
    refused |= dtype == np.bool_ and count > 1 and page.planarconfig == 1
    refused |= kind in ("SEPARATED", "YCBCR") and dtype != np.uint8
    refused |= kind == "YCBCR" and "JPEG" not in getattr(page.compression, "name", "")
    if refused:
        raise InputError(
            f"{path}: a TIFF of {dtype or f'{page.bitspersample} bits'}, {count} band"
            f"{'s' * (count > 1)}, {kind}, is not read; save what is to be fused as grey or RGB of "
            "uint8, uint16 or float32"
        )
    if dropped := [_ORDINALS.get(n, str(n)) for n in range(colours + alpha + 1, count + 1)]:
        notes.append(f"{' and '.join(dropped)} band dropped")
    return colours


def _straight(bands: np.ndarray, bits: int, notes: list[str]) -> np.ndarray:
    """Return bands HxWxC divided by the last, alpha, of whole numbers of so many bits."""
    if (bands[..., :-1] > bands[..., -1:]).any():
        notes.append("not multiplied by alpha, as its tag says: taken as stored")
        return bands
    notes.append("divided by alpha, with which it was multiplied")
    floats = bands.dtype.kind == "f"
    most = 1 if floats else np.iinfo(bands.dtype).max >> (8 * bands.dtype.itemsize - bits)
    straight = bands * (np.float32(most) / np.where(bands[..., -1:] == 0, most, bands[..., -1:]))
    straight = straight if floats else np.rint(straight).clip(0, most)
    return np.append(straight[..., :-1].astype(bands.dtype), bands[..., -1:], -1)


def _values(page: Any, kind: str, stored: np.ndarray, notes: list[str]) -> np.ndarray:
    """Return HxW or HxWx3 of a page's bands HxWxC, with NaN where GDAL's tag declares no data."""
    if kind == "PALETTE":
        table = (page.colormap >> 8 if page.colormap.max() > 255 else page.colormap).astype("u1")
        colours = np.moveaxis(table[:, stored[..., 0].astype(np.intp)], 0, -1)
        return colours[..., 0] if (table == table[:1]).all() else colours
    if kind == "SEPARATED":
        return np.asarray(Image.fromarray(np.ascontiguousarray(stored), "CMYK").convert("RGB"))
    pixels, most = stored, 2 ** (page.bitspersample if stored.dtype.kind in "bu" else 8) - 1
    if kind == "MINISWHITE":
        notes.append("white is zero in it: inverted")
        if pixels.dtype.kind == "u":
            pixels = pixels.dtype.type(most) - pixels
        elif pixels.dtype.kind == "f":
            pixels = 1 - pixels if pixels.min() >= 0 and pixels.max() <= 1 else -pixels
        else:
            pixels = ~pixels
    grey = pixels.shape[-1] == 1
    if most < 255 and pixels.dtype.kind in "bu":
        pixels = np.rint(pixels * (255 / most)).astype(np.uint8)
    elif 255 < most < 65535 and not grey:  # grey counts stay what they are
        pixels = np.rint(pixels * (65535 / most)).astype(np.uint16)
    value = _no_data(page)
    if value is not None:
        with np.errstate(over="ignore"):
            exact = stored.dtype.type(value) if stored.dtype.kind == "f" else value
        missing = (stored == exact).all(-1, keepdims=True)
        if missing.any():
            pixels = without(pixels, missing)
            notes.append(f"no data where it is {value:g}")
    return pixels[..., 0] if grey else pixels


def _no_data(page: Any) -> float | None:
    try:
        return float(_tag(page, _NO_DATA, ""))
    except ValueError:
        return None
