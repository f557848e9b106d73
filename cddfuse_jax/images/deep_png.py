"""PNG of 16 bits: what Pillow cuts, and what cameras store in the wrong order."""

import io

import numpy as np
from PIL import Image

SWAPPED = 8  # times as large: steps between neighbours whose bytes are in the wrong order


def deep_png(image: Image.Image) -> np.ndarray:
    """Decode 16-bit colour, or grey with alpha, HxWxC, which Pillow cuts to 8 bits."""
    import imagecodecs

    file = image.fp or io.BytesIO()  # type: ignore[attr-defined]
    place = file.tell()
    file.seek(0)
    pixels = imagecodecs.png_decode(file.read())
    file.seek(place)
    return pixels


def unswapped(pixels: np.ndarray, notes: list[str]) -> np.ndarray:
    """Swap the bytes of 16-bit counts whose neighbours then differ far less: FLIR's raw PNG."""
    swapped = pixels.byteswap()
    if pixels.dtype != np.uint16 or pixels.shape[1] < 2 or swapped.max() <= 255:
        return pixels  # of 8 bits, stored in the upper ones
    steps = [np.median(np.abs(np.diff(x.astype(np.int32)))) for x in (pixels, swapped)]
    if steps[0] <= SWAPPED * steps[1]:
        return pixels
    notes.append("bytes of its counts swapped, as FLIR stores them")
    return swapped
