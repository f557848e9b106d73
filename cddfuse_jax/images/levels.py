"""From stored pixel values to intensities in [0, 1]: bit depth, thermal ranges, luma."""

import numpy as np
from PIL import Image

from cddfuse_jax.errors import InputError
from cddfuse_jax.images.ranges import AUTO, Range, Values, kept, scene_rows

LUMA = (0.299, 0.587, 0.114)  # BT.601 weights of red, green and blue
OVERSHOOT = 0.05  # what resampling leaves beyond [0, 1], of images that were within
_BITS = (8, 10, 12)  # that colour stored as uint16 may have: 255, 1023, 4095 is white


def white(pixels: np.ndarray) -> float | None:
    """Return the value that is 1 in [0, 1], None where an image needs a range: grey counts.

    That is 255 for uint8 and for other integers that all lie within 0-255 (grey of 16 bits are
    counts), 1 for floats that leave [0, 1] by `OVERSHOOT` at most. Colour was rendered for a
    screen: uint16 is of 8, 10, 12 or 16 bits, as its greatest value needs. Three equal channels are
    grey.

    Raises:
        InputError: colour of another range, which may be of several.
    """
    if pixels.dtype in (np.uint8, np.bool_):
        return 1 if pixels.dtype == np.bool_ else 255
    low, high = _extremes(pixels)
    if pixels.dtype.kind == "f" and low >= -OVERSHOOT and high <= 1 + OVERSHOOT:
        return 1
    grey = pixels.ndim == 2 or bool(((pixels == pixels[..., :1]) | np.isnan(pixels)).all())
    counts = pixels.dtype.kind == "f" or (grey and pixels.dtype in (np.uint16, np.int16))
    if low >= 0 and high <= 255 and not counts:
        return 255
    if grey:
        return None
    if pixels.dtype == np.uint16:
        return 2 ** next((bits for bits in _BITS if high < 2**bits), 16) - 1
    rule = "floats must be in [0, 1]" if pixels.dtype.kind == "f" else f"{pixels.dtype} in 0-255"
    raise InputError(
        f"colours given as {rule}, got {low:.9g} to {high:.9g}; divide by the value that is white, "
        "or make them uint8 (0-255) or uint16 (0-65535)"
    )


def measured_range(pixels: np.ndarray, given: Range = AUTO) -> tuple[float, float]:
    """Return the values that become 0 and 1; the second is never below the first."""
    if isinstance(given, Values):
        return given.low, given.high
    if pixels.ndim == 3 and not given.always:
        pixels = pixels[..., 0]  # equal channels
    rows = scene_rows(pixels) if given.robust else slice(None)
    values = pixels[rows][_usable(pixels)[rows]]
    if not values.size:  # of a scene in a few rows only
        values = pixels[_usable(pixels)]
    low, high = np.percentile(kept(values) if given.robust else values, given[:2])
    return float(low), float(high)


def intensities(pixels: np.ndarray, limits: tuple[float, float] | None = None) -> np.ndarray:
    """Scale stored values to float32 in [0, 1], HxW or HxWx3.

    ``limits`` become 0 and 1; without them 0 and `white`, or of grey counts what `measured_range`
    returns. A constant image of these becomes 0. Where a value is not finite, that of the nearest
    pixel which has one is taken.

    Raises:
        InputError: no pixel is finite; and as `white`.
    """
    if limits is None and (most := white(pixels)):
        return np.clip(_filled(pixels).astype(np.float32) / np.float32(most), 0, 1)
    low, high = limits or measured_range(pixels)
    scaled = (_filled(pixels).astype(np.float64) - low) / (high - low if high > low else 1)
    return np.clip(scaled, 0, 1).astype(np.float32)


def limits_for(
    pixels: np.ndarray, given: Range, own: tuple[float, float] | None = None
) -> tuple[float, float] | None:
    """Return the values that become 0 and 1: those given, else the file's ``own``, else measured.

    None for an image whose type says them: 8 bits, floats within [0, 1], colour. Only a range with
    ``always`` is for these too.
    """
    if given.always:
        return measured_range(pixels, given)
    if isinstance(given, Values):
        floats, known = pixels.dtype.kind == "f", pixels.dtype in (np.uint8, np.uint16, np.bool_)
        sample = pixels[..., 0] if floats and pixels.ndim == 3 else pixels
        return None if (floats or known) and white(sample) else given[:2]
    if own and given == AUTO:
        return own
    return measured_range(pixels, given) if white(pixels) is None else None


def picture(pixels: np.ndarray, limits: tuple[float, float] | None = None) -> np.ndarray:
    """Return integers that are 0-255 as uint8, all else by `intensities`.

    Three equal channels become one, so that they give what a grey image gives.
    """
    if limits is None and pixels.dtype.kind in "iu" and white(pixels) == 255:
        return pixels.astype(np.uint8, copy=False)
    values = intensities(pixels, limits)
    return values[..., 0] if values.ndim == 3 and (values == values[..., :1]).all() else values


def without(pixels: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Return an image with NaN, which is no data, where ``missing``; in [0, 1] but for counts."""
    missing = np.broadcast_to(missing, pixels.shape)
    if not missing.any():
        return pixels
    most = 1.0 if missing.all() else white(np.where(missing, pixels.min(), pixels)) or 1.0
    floats = pixels.astype(np.result_type(pixels.dtype, np.float32)) / np.float32(most)
    return np.where(missing, np.nan, floats).astype(floats.dtype)


def without_transparent(pixels: np.ndarray, alpha: np.ndarray, notes: list[str]) -> np.ndarray:
    """Return an image HxW or HxWx3 with no data where it is transparent, alpha HxW being 0."""
    unseen = alpha == 0
    if not unseen.any() or unseen.all():
        notes.append("alpha dropped")
        return pixels
    notes.append("transparent pixels have no value")
    return without(pixels, unseen if pixels.ndim == 2 else unseen[..., None])


def is_flat(pixels: np.ndarray) -> bool:
    """Return whether every pixel of an image, grey or colour, is the same."""
    return bool((pixels == pixels[:1, :1]).all())


def of_fused(pixels: np.ndarray) -> np.ndarray:
    """Scale a fused image to float32 in [0, 1]: 65535 of uint16 is 1, and 255 of other types.

    Floats within [0, 1] stay; no range is measured.

    Raises:
        InputError: values beyond these or not finite, or uint16 within 0-255, which may be either.
    """
    floats = pixels.dtype.kind == "f"
    low, high = float(pixels.min()), float(pixels.max())
    most = 1 if floats and high <= 1 + OVERSHOOT else 255
    most = {"bool": 1, "uint16": 65535}.get(pixels.dtype.name, most)
    beyond = OVERSHOOT * most * floats
    if not (-beyond <= low and high <= most + beyond) or (most == 65535 and 0 < high <= 255):
        raise InputError(
            "pixels must be finite, and of a fused image 0-255, uint16 0-65535 or floats 0-1, got "
            f"{pixels.dtype} from {low:.9g} to {high:.9g}; save it as PNG of 8 or 16 bits"
        )
    return np.clip(pixels.astype(np.float32) / np.float32(most), 0, 1)


def _usable(pixels: np.ndarray) -> np.ndarray:
    """Return which pixels are finite in all channels: HxW, not all of them False."""
    with np.errstate(over="ignore"):  # beyond float32 is as good as infinite
        finite = np.isfinite(pixels.astype(np.float32, copy=False))
    usable = np.asarray(finite.all(-1) if pixels.ndim == 3 else finite)
    if not usable.any():
        raise InputError(f"pixels must be finite, {pixels.size} of {pixels.size} values are not")
    return usable


def _extremes(pixels: np.ndarray) -> tuple[float, float]:
    values = pixels[_usable(pixels)] if pixels.dtype.kind == "f" else pixels
    return float(values.min()), float(values.max())


def _filled(pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype.kind != "f" or (usable := _usable(pixels)).all():
        return pixels
    from scipy.ndimage import distance_transform_edt

    nearest = distance_transform_edt(~usable, return_distances=False, return_indices=True)
    return pixels[tuple(nearest)]


def to_8_bit(values: np.ndarray) -> np.ndarray:
    """Round intensities in [0, 1] to uint8, halves to even."""
    return np.rint(values * 255).astype(np.uint8)


def in_8_bits(pixels: np.ndarray, limits: tuple[float, float] | None = None) -> np.ndarray:
    """Return an image as uint8, deeper ones by `intensities`."""
    return pixels if pixels.dtype == np.uint8 else to_8_bit(intensities(pixels, limits))


def grey_8_bit(pixels: np.ndarray) -> np.ndarray:
    """Return round(0.299 R + 0.587 G + 0.114 B), uint8 HxW, as the release's scripts read a file.

    Deep images are brought to 8 bits by `intensities`.
    """
    pixels = in_8_bits(pixels)
    return pixels if pixels.ndim == 2 else np.rint(pixels @ np.array(LUMA)).astype(np.uint8)


def luma(pixels: np.ndarray, limits: tuple[float, float] | None = None) -> np.ndarray:
    """Return 0.299 R + 0.587 G + 0.114 B of the intensities: float32 HxW in [0, 1], not rounded."""
    values = intensities(pixels, limits)
    if values.ndim == 2:
        return values
    red, green, blue = np.array(LUMA, np.float32)
    return values[..., 0] * red + values[..., 1] * green + values[..., 2] * blue


def network_input(pixels: np.ndarray) -> np.ndarray:
    """Return what the network fuses: float32 HxW in [0, 1].

    That is `grey_8_bit` over 255 for 8-bit images, as in the release, and `luma` for all others,
    which keep their depth.
    """
    if pixels.dtype == np.uint8:
        return grey_8_bit(pixels).astype(np.float32) / np.float32(255)
    return luma(pixels)


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
