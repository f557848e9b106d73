"""The arrays and Pillow images that `Fuser` takes, as a batch of images."""

import os
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped
from PIL import Image

from cddfuse_jax.errors import InputError
from cddfuse_jax.images import levels
from cddfuse_jax.images.image_files import photo_of
from cddfuse_jax.pairs.read import check_same_size

# HxW, or HxWx3 in colour. Whether two are of one size is for the functions to say.
Pixels = Shaped[np.ndarray, "_h _w *_rgb"]
Grey = Float[np.ndarray, "_h _w"]
_CHANNELS = (1, 3, 4)
LEAST_SIDE = 2  # pixels: the detail branch reflects at the border


class Batches(NamedTuple):
    """Both sides, NxHxW or NxHxWx3; whether a batch was given, and whether any floats were."""

    sides: tuple[Shaped[np.ndarray, "n _h _w *_rgb"], Shaped[np.ndarray, "n _hh _ww *_rgbs"]]
    is_batch: bool
    as_floats: bool


def as_batches(visible: Any, infrared: Any) -> Batches:
    """Return both sides as batches.

    Raises:
        InputError: these are no images, or no two batches of one length.
    """
    arrays = as_array(visible, "visible"), as_array(infrared, "infrared")
    first, is_batch = as_batch(arrays[0], "visible")
    second, is_also = as_batch(arrays[1], "infrared")
    if is_batch != is_also or len(first) != len(second):
        shapes = arrays[0].shape, arrays[1].shape
        raise InputError(
            "visible and infrared must be two images or two batches of one length, got "
            f"shapes {shapes[0]} and {shapes[1]}{transposing(*shapes)}"
        )
    return Batches((first, second), is_batch, any(array.dtype.kind == "f" for array in arrays))


def check_sizes(visible: Pixels, infrared: Pixels) -> None:
    """Check that two images, grey or in colour, can be a pair."""
    check_same_size(visible.shape[:2], infrared.shape[:2])
    height, width = visible.shape[:2]
    if min(height, width) < LEAST_SIDE:
        raise InputError(f"images must be at least 2x2, got {width}x{height}")


def as_array(given: Any, name: str) -> np.ndarray:
    """Return what was given as an array of real numbers, masked where it was.

    A Pillow image's palette is looked up and its EXIF orientation applied, as in files.

    Args:
        given: an array, a list, or a Pillow image.
        name: what a message calls it.
    """
    if isinstance(given, Image.Image):
        return photo_of(given, name).pixels
    if given is None:
        raise InputError(f"{name} is None; cv2.imread returns that for a file it cannot read")
    if isinstance(given, str | os.PathLike):
        raise InputError(
            f"{name} must be an array or a Pillow image, got the path {given}; give "
            "PIL.Image.open of it, or fuse files by Fuser.folder"
        )
    try:
        array = np.asanyarray(given)
    except ValueError:  # a list of several sizes
        raise InputError(
            f"{name} must be an array, got a list of images of several sizes; fuse them one by one"
        ) from None
    if jnp.issubdtype(array.dtype, jnp.floating) and array.dtype.kind != "f":
        array = array.astype(np.float32)  # bfloat16 and smaller
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name} must be an array of real numbers, got {array.dtype}")
    return array


def as_batch(images: np.ndarray, name: str) -> tuple[Shaped[np.ndarray, "n h w *rgb"], bool]:
    """Return images as NxHxW or NxHxWx3, and whether they were a batch.

    By the rules of files: one channel is grey, of four the last is alpha and dropped.

    Args:
        images: HxW, HxWxC, NxHxW or NxHxWxC with C of 1, 3 or 4; three axes are one image if the
            last has such a length, else a batch.
        name: what a message calls it.
    """
    shape = images.shape
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
    batch = images if is_batch else images[None]
    if isinstance(batch, np.ma.MaskedArray):
        batch = np.stack([levels.without(x.data, np.ma.getmaskarray(x)) for x in batch])
    return np.asarray(batch), is_batch


def transposing(*shapes: tuple[int, ...]) -> str:
    """Return the end of a message: the fix, if one of the shapes looks like channels first."""
    for shape in shapes:
        if len(shape) in (3, 4) and shape[-3] in _CHANNELS and shape[-1] not in _CHANNELS:
            axes = "1, 2, 0" if len(shape) == 3 else "0, 2, 3, 1"
            return f"; put channels last: x.transpose({axes})"
    return ""
