"""What a result keeps of the visible file: place and time of EXIF, and a map's georeference."""

import contextlib
from typing import Any, NamedTuple

from PIL import Image

_DATE, _EXIF, _GPS = 0x0132, 0x8769, 0x8825
_TIMES = (0x9003, 0x9004, 0x9010, 0x9011, 0x9012)  # original, digitised, and their offsets
_GEOREFERENCE = (33550, 33922, 34264, 34735, 34736, 34737)


class Metadata(NamedTuple):
    """EXIF to write, and TIFF tags as tifffile takes them, which are of one size of image."""

    exif: Image.Exif | None = None
    tags: tuple[tuple[Any, ...], ...] = ()
    size: tuple[int, int] = (0, 0)


NO_METADATA = Metadata()


def of_exif(found: Image.Exif) -> Metadata:
    """Return the place and the time that EXIF data hold."""
    kept = Image.Exif()
    if _DATE in found:
        kept[_DATE] = found[_DATE]
    with contextlib.suppress(Exception):  # of parts that are damaged, and matter to no pixel
        times = {tag: value for tag, value in found.get_ifd(_EXIF).items() if tag in _TIMES}
        for tag, values in ((_EXIF, times), (_GPS, dict(found.get_ifd(_GPS)))):
            if values:
                kept[tag] = values
    return Metadata(kept)


def of_map(page: Any) -> Metadata:
    """Return the georeference of a page of a GeoTIFF."""
    tags = [page.tags[code] for code in _GEOREFERENCE if code in page.tags]
    kept = tuple((tag.code, int(tag.dtype), tag.count, tag.value, True) for tag in tags)
    return Metadata(None, kept, (page.imagelength, page.imagewidth))
