"""EXIF and map tags: how an image is turned, and what a result keeps of the visible file."""

import contextlib
import os
from typing import IO, Any, NamedTuple

from PIL import Image

_ORIENTATION, _DATE, _EXIF, _GPS = 0x0112, 0x0132, 0x8769, 0x8825
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


def orientation_of(image: Image.Image) -> int:
    """Return EXIF's code of how an image is turned, 1 for upright."""
    # Asked for EXIF, Pillow decodes a whole PNG in search of it.
    if image.format == "PNG" and "exif" not in image.info and not _has_exif(image):
        return 1
    return image.getexif().get(_ORIENTATION, 1)


def _has_exif(image: Image.Image) -> bool:
    """Return whether a PNG holds EXIF data, before or after its pixels; False once it is read."""
    file: IO[bytes] | None = getattr(image, "fp", None)
    if file is None:
        return False
    before, kind = file.tell(), b""
    file.seek(len(b"\x89PNG\r\n\x1a\n"))
    while kind not in (b"eXIf", b"IEND") and len(head := file.read(8)) == 8:
        kind = head[4:]
        file.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)
    file.seek(before)
    return kind == b"eXIf"
