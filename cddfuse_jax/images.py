"""Reading images as the release reads them, writing PNG, and finding the pairs in two folders."""

import contextlib
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from cddfuse_jax.commands import InputError, replacing

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
LUMA = (0.299, 0.587, 0.114)  # BT.601 weights of red, green and blue
_AS_MODE = {"L": "L", "1": "L", "LA": "L", "P": "RGB", "RGB": "RGB", "RGBA": "RGB", "CMYK": "RGB"}


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Read an 8-bit image: uint8, HxW (grey) or HxWx3 (RGB); alpha is dropped.

    Raises:
        InputError: the file is missing, broken, no image, or not 8-bit.
    """
    with _opened(path) as image:
        mode = _AS_MODE.get("L" if image.mode == "P" and _grey_palette(image) else image.mode)
        if mode is None:
            raise InputError(f"{path}: 8-bit grey or RGB images are read, this one is {image.mode}")
        return np.asarray(image.convert(mode))


def read_size(path: str | os.PathLike) -> tuple[int, int]:
    """Read an image's (height, width) from its header, without decoding the pixels.

    Raises:
        InputError: the file is missing or no image.
    """
    with _opened(path) as image:
        return image.height, image.width


@contextlib.contextmanager
def _opened(path: str | os.PathLike) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as image:
            yield image
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnidentifiedImageError:
        raise InputError(f"{path}: not an image that can be read") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: broken image file ({error})") from None


def _grey_palette(image: Image.Image) -> bool:
    palette = np.asarray(image.getpalette("RGB")).reshape(-1, 3)
    return bool((palette == palette[:, :1]).all())


def read_grey(path: str | os.PathLike) -> np.ndarray:
    """Read an image as the release's scripts do: round(0.299 R + 0.587 G + 0.114 B), uint8 HxW."""
    image = read_image(path)
    return image if image.ndim == 2 else np.rint(image @ np.array(LUMA)).astype(np.uint8)


def read_luma(path: str | os.PathLike) -> np.ndarray:
    """Read luma as the release's patch preparation does: float32 HxW in [0, 1], never rounded."""
    image = read_image(path).astype(np.float32) / np.float32(255)
    if image.ndim == 2:
        return image
    red, green, blue = np.float32(LUMA)
    return image[..., 0] * red + image[..., 1] * green + image[..., 2] * blue


def write_png(path: str | os.PathLike, image: np.ndarray) -> None:
    """Write a uint8 image, HxW or HxWx3, as PNG; the file appears whole or not at all."""
    with replacing(path) as temporary:
        Image.fromarray(image).save(temporary, format="PNG")


class Pair(NamedTuple):
    """The two files of one scene; ``name`` is their common stem."""

    name: str
    infrared: Path
    visible: Path


class Pairs(NamedTuple):
    """The pairs of two folders, sorted by name, and the files that have no partner."""

    pairs: list[Pair]
    only_infrared: list[Path]
    only_visible: list[Path]


def find_pairs(infrared: str | os.PathLike, visible: str | os.PathLike) -> Pairs:
    """Pair the images of two folders by stem, so that ``a.png`` goes with ``a.jpg``.

    Raises:
        InputError: a folder is missing, or holds two images of one stem.
    """
    first, second = images_by_stem(infrared), images_by_stem(visible)
    return Pairs(
        [Pair(stem, first[stem], second[stem]) for stem in sorted(first.keys() & second.keys())],
        [first[stem] for stem in sorted(first.keys() - second.keys())],
        [second[stem] for stem in sorted(second.keys() - first.keys())],
    )


def images_by_stem(folder: str | os.PathLike) -> dict[str, Path]:
    """Image files of a folder (not of its subfolders), sorted, by the name without its ending.

    Raises:
        InputError: the folder is missing, or holds two images of one stem.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    files = sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    )
    for stem, count in Counter(file.stem for file in files).items():
        if count > 1:
            names = ", ".join(file.name for file in files if file.stem == stem)
            raise InputError(f"{folder}: one image per name, found {names}; remove all but one")
    return {file.stem: file for file in files}


def check_same_size(pair: Pair, infrared: np.ndarray, visible: np.ndarray) -> None:
    """Refuse a pair whose images differ in height or width.

    Raises:
        InputError: naming both files and both sizes.
    """
    _check_same_size(pair, infrared.shape[:2], visible.shape[:2])


def read_pair_size(pair: Pair) -> tuple[int, int]:
    """Read the common (height, width) of a pair from the headers of its two files.

    Raises:
        InputError: a file is missing or no image, or the sizes differ.
    """
    size = read_size(pair.infrared)
    _check_same_size(pair, size, read_size(pair.visible))
    return size


def _check_same_size(pair: Pair, infrared: tuple[int, int], visible: tuple[int, int]) -> None:
    if infrared != visible:
        (ir_height, ir_width), (vi_height, vi_width) = infrared, visible
        raise InputError(
            f"{pair.name}: both images must have one size, {pair.infrared} is "
            f"{ir_width}x{ir_height} and {pair.visible} is {vi_width}x{vi_height}; resize one"
        )
