"""What a result keeps of the visible file: place and time of EXIF, and a map's georeference."""

import contextlib
import os
from typing import Any

from PIL import Image

from cddfuse_jax.images.tiff_files import STARTS

_DATE, _EXIF, _GPS = 0x0132, 0x8769, 0x8825
_TIMES = (0x9003, 0x9004, 0x9010, 0x9011, 0x9012)  # original, digitised, and their offsets
_GEOREFERENCE = (33550, 33922, 34264, 34735, 34736, 34737)


def exif_of(path: str | os.PathLike) -> Image.Exif:
    """Return the place and the time in a file's EXIF; nothing where it has none."""
    kept = Image.Exif()
    with contextlib.suppress(Exception), Image.open(path, formats=("JPEG", "PNG", "WEBP")) as image:
        found = image.getexif()
        if _DATE in found:
            kept[_DATE] = found[_DATE]
        times = {tag: value for tag, value in found.get_ifd(_EXIF).items() if tag in _TIMES}
        for tag, values in ((_EXIF, times), (_GPS, dict(found.get_ifd(_GPS)))):
            if values:
                kept[tag] = values
    return kept


def georeference_of(path: str | os.PathLike, size: tuple[int, int]) -> list[tuple[Any, ...]]:
    """Return a GeoTIFF's tags of place, for tifffile to write to an image of the same size."""
    import tifffile

    with open(path, "rb") as file:
        if file.read(4) not in STARTS:
            return []
    with tifffile.TiffFile(path) as tiff:
        page: Any = tiff.pages[0]
        tags = [page.tags[code] for code in _GEOREFERENCE if code in page.tags]
        if (page.imagelength, page.imagewidth) != size:
            return []
        return [(tag.code, int(tag.dtype), tag.count, tag.value, True) for tag in tags]
