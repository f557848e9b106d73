"""An image as its file stores it, and how it is turned upright."""

from typing import NamedTuple

import numpy as np

TURNED = "turned upright as its EXIF data say"
TRANSPOSING = (5, 6, 7, 8)  # orientations, as EXIF numbers them, that swap the sides


class Photo(NamedTuple):
    """An image as stored, upright, and what was lost or changed in reading it.

    ``pixels`` is HxW (grey) or HxWx3 (RGB) of any real type; NaN where the file says that there is
    no value. ``notes`` says, a few words each, what a user may want to know. ``limits`` are the
    values that become black and white, where the file or the reader has set them, else None.
    ``depth`` is that of the stored values, as "16-bit", where ``pixels`` are made from them, and
    ``warnings`` say what is probably wrong with these. ``corners`` are where a slice lies, in mm.
    """

    pixels: np.ndarray
    notes: tuple[str, ...] = ()
    limits: tuple[float, float] | None = None
    depth: str = ""
    warnings: tuple[str, ...] = ()
    corners: np.ndarray | None = None


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation, 2 to 8: transpose if the sides are swapped, then mirror."""
    if orientation in TRANSPOSING:
        pixels = pixels.swapaxes(0, 1)
    down = -1 if orientation in (3, 4, 7, 8) else 1
    across = -1 if orientation in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(pixels[::down, ::across])
