"""The arrays and Pillow images that `Fuser` takes, as a batch of images."""

from typing import Any

import numpy as np
from jaxtyping import Shaped
from PIL import Image

from cddfuse_jax.errors import InputError
from cddfuse_jax.images.image_files import photo_of

# HxW, or HxWx3 in colour. Whether two are of one size is for the functions to say.
Pixels = Shaped[np.ndarray, "_h _w *_rgb"]
_CHANNELS = (1, 3, 4)
LEAST_SIDE = 2  # pixels: the detail branch reflects at the border


def as_batches(
    visible: Any, infrared: Any
) -> tuple[Shaped[np.ndarray, "n _h _w *_rgb"], Shaped[np.ndarray, "n _hh _ww *_rgbs"], bool]:
    """Return both sides as `as_batch` does, and whether they were batches."""
    first, is_batch = as_batch(visible, "visible")
    second, is_also = as_batch(infrared, "infrared")
    if is_batch != is_also or len(first) != len(second):
        shapes = np.asarray(visible).shape, np.asarray(infrared).shape
        raise InputError(
            "visible and infrared must be two images or two batches of one length, got "
            f"shapes {shapes[0]} and {shapes[1]}{transposing(*shapes)}"
        )
    return first, second, is_batch


def check_sizes(visible: Pixels, infrared: Pixels) -> None:
    """Check that two images, grey or in colour, can be a pair."""
    (height, width), other = visible.shape[:2], infrared.shape[:2]
    if (height, width) != other:
        raise InputError(
            f"both images must have one size, got {width}x{height} and {other[1]}x{other[0]}; "
            "resize one, or give Fuser(registration=...)"
        )
    if min(height, width) < LEAST_SIDE:
        raise InputError(f"images must be at least 2x2, got {width}x{height}")


def as_batch(given: Any, name: str) -> tuple[Shaped[np.ndarray, "n h w *rgb"], bool]:
    """Return images as NxHxW or NxHxWx3, and whether they were a batch.

    By the rules of files: one channel is grey, of four the last is alpha and dropped, a Pillow
    image's palette is looked up and its EXIF orientation applied.

    Args:
        given: an array or list HxW, HxWxC, NxHxW or NxHxWxC with C of 1, 3 or 4 (three axes are one
            image if the last has such a length, else a batch), or a Pillow image.
        name: what a message calls it.
    """
    images = photo_of(given, name).pixels if isinstance(given, Image.Image) else np.asarray(given)
    shape = images.shape
    if images.dtype.kind not in "biuf":
        raise InputError(f"{name} must be an array of real numbers, got {images.dtype}")
    has_channels = len(shape) > 2 and shape[-1] in _CHANNELS
    if len(shape) not in (2, 3, 4) or (len(shape) == 4 and not has_channels):
        raise InputError(
            f"{name} must be HxW or HxWxC, or a batch NxHxW or NxHxWxC, with 1, 3 or 4 channels, "
            f"got shape {shape}{transposing(shape)}"
        )
    if has_channels:
        images = images[..., 0] if shape[-1] == 1 else images[..., :3]
    is_batch = len(shape) - has_channels == 3
    if 0 in shape:
        raise InputError(f"{name} must hold at least one image with pixels, got shape {shape}")
    return (images if is_batch else images[None]), is_batch


def transposing(*shapes: tuple[int, ...]) -> str:
    """Return the end of a message: the fix, if one of the shapes looks like channels first."""
    for shape in shapes:
        if len(shape) in (3, 4) and shape[-3] in _CHANNELS and shape[-1] not in _CHANNELS:
            axes = "1, 2, 0" if len(shape) == 3 else "0, 2, 3, 1"
            return f"; put channels last: x.transpose({axes})"
    return ""
