"""FLIR's radiometric JPEG: image, temperatures and how the camera aligned them, out of one file."""

import contextlib
import os
from typing import NamedTuple

import numpy as np
from PIL import Image

from cddfuse_jax.errors import InputError, install, one_line
from cddfuse_jax.images.metadata import of_exif
from cddfuse_jax.images.photo import Photo

_SEGMENT, _SEARCHED = b"FLIR\0\1", 2**18  # what begins the data, among a file's first bytes
_MAKER = 0x010F  # EXIF's tag
RADIOMETRIC = (
    "radiometric JPEG: its image is read, not its temperatures; to fuse these, give it as --vi and "
    "as --ir (FLIR), or take them out as TIFF (FLIR: exiftool -b -RawThermalImage; DJI: dji_irp of "
    "its Thermal SDK)"
)


class Radiometric(NamedTuple):
    """Both images of a file, and where the thermal one's middle lies in the visible one.

    ``scale`` is visible pixels per thermal pixel, ``shift`` how far right of and below the visible
    one's middle, in visible pixels. The temperatures are degrees Celsius.
    """

    visible: Photo
    thermal: Photo
    scale: float
    shift: tuple[float, float]


def is_flir(path: str | os.PathLike) -> bool:
    """Return, by its content, whether a file is a JPEG with the data of a FLIR camera."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        start = file.read(_SEARCHED)
        return start.startswith(b"\xff\xd8\xff") and _SEGMENT in start
    return False


def is_radiometric(image: Image.Image) -> bool:
    """Return whether a JPEG holds a thermal camera's counts next to its image."""
    segments = getattr(image, "applist", [])
    if any(name == "APP1" and data.startswith(b"FLIR\0") for name, data in segments):
        return True
    by_dji = "DJI" in str(image.getexif().get(_MAKER, "")) if segments else False
    return by_dji and any(name in ("APP3", "APP4") for name, _ in segments)


def read_flir(path: str | os.PathLike) -> Radiometric:
    """Read both images of a radiometric JPEG.

    Raises:
        InputError: the extra is missing, the file is broken, or has no visible image.
    """
    try:
        import flyr
    except ImportError:
        raise InputError(
            f"{path}: its image and temperatures are taken out by flyr: {install('flir')}"
        ) from None
    try:
        found = flyr.unpack(os.fspath(path))
        colours, kelvin, placed = found.optical, found.kelvin, found.pip_info
        with Image.open(path) as image:
            metadata = of_exif(image.getexif())
    except Exception as error:  # of any kind, if it is broken
        raise InputError(f"{path}: flyr cannot read it ({one_line(error)})") from None
    if colours is None or placed is None or not placed.real_to_ir > 0:
        raise InputError(
            f"{path}: holds no image of a visible camera next to its temperatures; give that as "
            "--vi, and the temperatures as TIFF (exiftool -b -RawThermalImage)"
        )
    return Radiometric(
        Photo(np.ascontiguousarray(colours), metadata=metadata),
        Photo((kelvin - 273.15).astype(np.float32), ("degrees Celsius of a radiometric JPEG",)),
        colours.shape[1] / kelvin.shape[1] / placed.real_to_ir,
        (placed.offset_x, placed.offset_y),
    )
