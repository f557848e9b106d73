"""From images of any type and any channels to the planes 0-255 that scores take."""

from typing import Optional, Union

import numpy as np
from numpy.typing import ArrayLike

from cddfuse_jax.errors import InputError
from cddfuse_jax.metrics.shapes import Num

# Fused, and visible and infrared where there are sources.
Planes = tuple[Num[np.ndarray, "h w"], ...]
# BT.601's, as in `images.levels`: the scores import nothing of the package but its errors.
LUMA = np.array((0.299, 0.587, 0.114))


def scaled(
    image: ArrayLike, name: str, data_range: Optional[float]
) -> Union[Num[np.ndarray, "h w"], Num[np.ndarray, "h w 3"]]:
    """Bring an image to the range 0-255: uint8 as it is, all others as float64.

    Args:
        image: HxW, HxWx1, HxWx3 or HxWx4 (alpha is dropped), any boolean, integer or float type.
        name: what to call it in an error.
        data_range: the value that becomes 255. None: 1 for bool, 255 for uint8, 65535 for uint16,
            and 255 for all other types.

    Raises:
        InputError: another shape or type, a value that is not finite or leaves the range; or no
            ``data_range`` and an image that has two readings (all values within 0-1, or uint16
            that stays within 0-255).
    """
    image = np.asarray(image)
    shape = "x".join(map(str, image.shape))
    channels = image.shape[2] if image.ndim == 3 else 1
    if image.ndim not in (2, 3) or channels not in (1, 3, 4) or image.size == 0:
        raise InputError(f"{name}: an image is HxW, HxWx1, HxWx3 or HxWx4, got {shape}")
    if image.dtype.kind not in "biuf":
        raise InputError(f"{name}: an image holds real numbers, got {image.dtype}")
    if image.ndim == 3:
        image = image[..., 0] if channels == 1 else image[..., :3]
    if image.dtype == np.uint8 and data_range in (None, 255):
        return image
    values = image.astype(np.float64)
    low, high = values.min(), values.max()
    if not np.isfinite([low, high]).all():
        bad = values.size - np.isfinite(values).sum()
        raise InputError(f"{name}: pixels must be finite, {bad} of {values.size} are not")
    if data_range is None:
        data_range = {"bool": 1, "uint16": 65535}.get(image.dtype.name, 255)
        doubtful = {65535: 255, 255: 1}.get(data_range)
        if doubtful and 0 < high <= doubtful:
            raise InputError(
                f"{name}: {image.dtype} values of at most {high:g} are either 0-{doubtful} or "
                f"0-{data_range}; say which: data_range={doubtful} or data_range={data_range}"
            )
    if low < 0 or high > data_range:
        raise InputError(
            f"{name}: values span {low:g} to {high:g}, outside 0-{data_range:g}; rescale the image "
            "or give its data_range"
        )
    return values * (255 / data_range)


def grey(
    image: Union[Num[np.ndarray, "h w"], Num[np.ndarray, "h w 3"]],
) -> Num[np.ndarray, "h w"]:
    """Return 0.299 R + 0.587 G + 0.114 B of colour, rounded for uint8; a grey image stays."""
    if image.ndim == 2:
        return image
    luma = image @ LUMA
    return np.rint(luma).astype(np.uint8) if image.dtype == np.uint8 else luma


def planes(images: tuple[Num[np.ndarray, "..."], ...], colour: str) -> list[Planes]:
    """Split images 0-255 as a protocol takes colour: one tuple of HxW per plane.

    Args:
        images: fused (and visible, infrared), grey or RGB, of one height and width.
        colour: see `Protocol`.

    Returns:
        One tuple, or three for the channels of a fused image in colour; where all three are the
        same they are one object.
    """
    if len({image.shape[:2] for image in images}) > 1:
        names = ("fused", "visible", "infrared")
        sizes = ", ".join(
            f"{name} {image.shape[1]}x{image.shape[0]}" for name, image in zip(names, images)
        )
        raise InputError(f"all images have one size (width x height), got {sizes}; resize them")
    if colour == "luma" or images[0].ndim == 2:
        return [tuple(grey(image) for image in images)]
    if all(image.ndim == 2 or _grey_in_colour(image) for image in images):
        return [tuple(image if image.ndim == 2 else image[..., 0] for image in images)] * 3
    return [tuple(x if x.ndim == 2 else x[..., k] for x in images) for k in range(3)]


def _grey_in_colour(image: Num[np.ndarray, "h w 3"]) -> bool:
    return bool((image == image[..., :1]).all())
