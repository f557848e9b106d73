"""Putting colour back on a fused luma, so that neither its hue nor that luma changes.

The space is the YCbCr of JPEG files: BT.601 luma Y = 0.299 R + 0.587 G + 0.114 B of the stored
(gamma-coded) values, full range. Only Y is fused; Cb and Cr are those of the colour source. Written
without them: R' = Y' + (R - Y), and so for G and B.

Where Y' is far from Y the result leaves [0, 1]. Clipping each channel there would turn orange into
yellow and change the luma that was fused: the fringes around lamps and hot targets. Instead the
pixel's chroma is scaled, as one vector, by the largest factor of at most 1 that fits. Hue and
luma stay, saturation gives way, all of it at black and white.
"""

from typing import Literal

import numpy as np

from cddfuse_jax.images.levels import LUMA, intensities, white

Color = Literal["auto", "visible", "infrared", "none"]
COLORS: tuple[Color, ...] = ("auto", "visible", "infrared", "none")
LEAST_DIFFERENCE = 8 / 255  # between two channels of a pixel, that makes an image coloured


def is_coloured(pixels: np.ndarray) -> bool:
    """Return whether an HxWx3 image shows any colour; three equal channels, or nearly, do not."""
    if pixels.ndim == 2:
        return False
    most = white(pixels)
    if most is None:  # three equal channels
        return False
    # Differences of unsigned numbers would wrap around; minimum and maximum do not.
    spread = pixels.max(-1).astype(np.float32) - pixels.min(-1).astype(np.float32)
    return bool(spread.max(initial=0) > LEAST_DIFFERENCE * most)


def colour_source(visible: np.ndarray, infrared: np.ndarray, color: Color) -> np.ndarray | None:
    """Choose the image whose chroma is put back, None for a grey result.

    ``auto`` takes the visible image if it is coloured, else the infrared one if that is (PET and
    SPECT with MRI). Naming one that is grey gives a grey result: grey in, grey out.
    """
    candidates = {
        "auto": (visible, infrared),
        "visible": (visible,),
        "infrared": (infrared,),
        "none": (),
    }[color]
    return next((pixels for pixels in candidates if is_coloured(pixels)), None)


def with_chroma(luma: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Give a fused luma the chroma of a colour image.

    Args:
        luma: HxW float, in [0, 1].
        source: HxWx3 of a type that `levels.intensities` takes.

    Returns:
        HxWx3 float32 in [0, 1], whose luma is ``luma`` and whose hue is the source's.
    """
    rgb = intensities(source)
    chroma = rgb - (rgb @ np.array(LUMA, np.float32))[..., None]
    room = np.where(chroma > 0, 1 - luma[..., None], luma[..., None])
    # A channel without chroma always fits; dividing by it would only warn.
    fits = room / np.maximum(np.abs(chroma), 1e-9)
    scale = np.minimum(fits.min(-1, keepdims=True), 1)
    return np.clip(luma[..., None] + scale * chroma, 0, 1, dtype=np.float32)
