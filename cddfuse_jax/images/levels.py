"""From stored pixel values to intensities in [0, 1]: bit depth, thermal ranges, luma."""

from typing import NamedTuple

import numpy as np
from PIL import Image

from cddfuse_jax.errors import InputError

LUMA = (0.299, 0.587, 0.114)  # BT.601 weights of red, green and blue


class Percentiles(NamedTuple):
    """The percentiles of a deep grey image that become 0 and 1; values beyond them are clipped."""

    low: float = 0.1
    high: float = 99.9


AUTO = Percentiles()


def parse_percentiles(text: str) -> Percentiles:
    """Read ``--range``: ``auto`` or ``LOW,HIGH``, such as ``1,99``.

    Raises:
        InputError: neither of these, or not 0 <= LOW < HIGH <= 100.
    """
    if text == "auto":
        return AUTO
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low, high = 1.0, 0.0
    if not 0 <= low < high <= 100:
        raise InputError(
            f"--range is auto or two percentiles LOW,HIGH with 0 <= LOW < HIGH <= 100, got {text!r}"
        )
    return Percentiles(low, high)


def is_deep(pixels: np.ndarray) -> bool:
    """Tell whether an image needs a range: grey, and neither 8-bit nor floats within [0, 1].

    Colour images were rendered for a screen: theirs is the whole range of their type.
    """
    if pixels.ndim == 3 or pixels.dtype in (np.uint8, np.bool_):
        return False
    return pixels.dtype.kind != "f" or pixels.min() < 0 or pixels.max() > 1


def measured_range(pixels: np.ndarray, percentiles: Percentiles = AUTO) -> tuple[float, float]:
    """Return the values at the percentiles; the second is never below the first."""
    low, high = np.percentile(pixels, percentiles)
    return float(low), float(high)


def intensities(pixels: np.ndarray, limits: tuple[float, float] | None = None) -> np.ndarray:
    """Scale stored values to float32 in [0, 1], HxW or HxWx3 as they come.

    8-bit values are divided by 255, a colour image of another integer type by that type's maximum,
    floats within [0, 1] stay. A deep grey image (`is_deep`) maps ``limits`` to 0 and 1, by default
    its percentiles 0.1 and 99.9; one that is constant becomes 0.

    Raises:
        InputError: a value is not finite, or a float colour image leaves [0, 1].
    """
    if pixels.dtype.kind == "f":
        with np.errstate(over="ignore"):  # beyond float32 is as good as infinite
            bad = pixels.size - np.isfinite(pixels.astype(np.float32, copy=False)).sum()
        if bad:
            raise InputError(f"pixels must be finite, {bad} of {pixels.size} values are not")
    if is_deep(pixels):
        low, high = limits or measured_range(pixels)
        scaled = (pixels.astype(np.float64) - low) / (high - low if high > low else 1)
        return np.clip(scaled, 0, 1).astype(np.float32)
    if pixels.dtype.kind == "f":
        if pixels.size and (pixels.min() < 0 or pixels.max() > 1):
            raise InputError(
                "colours given as floats must be in [0, 1], got "
                f"{pixels.min():.3g} to {pixels.max():.3g}; divide by their largest value"
            )
        return pixels.astype(np.float32)
    most = 1 if pixels.dtype == np.bool_ else np.iinfo(pixels.dtype).max
    return pixels.astype(np.float32) / np.float32(most)


def to_8_bit(values: np.ndarray) -> np.ndarray:
    """Round intensities in [0, 1] to uint8, halves to even."""
    return np.rint(values * 255).astype(np.uint8)


def grey_8_bit(pixels: np.ndarray, limits: tuple[float, float] | None = None) -> np.ndarray:
    """Return round(0.299 R + 0.587 G + 0.114 B), uint8 HxW, as the release's scripts read a file.

    Deep images are brought to 8 bits by `intensities`.

    Raises:
        InputError: as `intensities`.
    """
    if pixels.dtype != np.uint8:
        pixels = to_8_bit(intensities(pixels, limits))
    return pixels if pixels.ndim == 2 else np.rint(pixels @ np.array(LUMA)).astype(np.uint8)


def luma(pixels: np.ndarray, limits: tuple[float, float] | None = None) -> np.ndarray:
    """Return 0.299 R + 0.587 G + 0.114 B of the intensities: float32 HxW in [0, 1], not rounded.

    Raises:
        InputError: as `intensities`.
    """
    values = intensities(pixels, limits)
    if values.ndim == 2:
        return values
    red, green, blue = np.array(LUMA, np.float32)
    return values[..., 0] * red + values[..., 1] * green + values[..., 2] * blue


def network_input(pixels: np.ndarray, limits: tuple[float, float] | None = None) -> np.ndarray:
    """Return what the network fuses: float32 HxW in [0, 1].

    That is `grey_8_bit` over 255 for 8-bit images, as in the release, and `luma` for all others,
    which keep their depth.

    Raises:
        InputError: as `intensities`.
    """
    if pixels.dtype == np.uint8:
        return grey_8_bit(pixels).astype(np.float32) / np.float32(255)
    return luma(pixels, limits)


def resized(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resample to a size, bicubic and without aliasing; type and range of values stay."""
    if pixels.dtype == np.uint8:
        return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))
    channels = pixels[..., None] if pixels.ndim == 2 else pixels
    parts = [
        Image.fromarray(channels[..., i].astype(np.float32)).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        for i in range(channels.shape[2])
    ]
    resampled = np.stack([np.asarray(part) for part in parts], -1)
    out = np.clip(resampled, pixels.min(), pixels.max())
    out = out if pixels.dtype.kind == "f" else np.rint(out)
    return out.reshape(height, width, *pixels.shape[2:]).astype(pixels.dtype)


def stretched(luma: np.ndarray, limits: tuple[float, float] | None = None) -> np.ndarray:
    """Stretch a fused luma to [0, 1] as the release does: (f - min) / (max - min).

    With ``limits`` these take the place of minimum and maximum, and what lies beyond is clipped. A
    constant image has nothing to stretch and keeps its value.
    """
    low, high = limits or (luma.min(), luma.max())
    return np.clip((luma - low) / (high - low), 0, 1) if high > low else np.clip(luma, 0, 1)
