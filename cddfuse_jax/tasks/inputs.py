"""What a segmenter is shown: one of two images, a plain mean of both, or a folder of fused ones."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from cddfuse_jax.console import progress
from cddfuse_jax.errors import InputError
from cddfuse_jax.images import levels
from cddfuse_jax.images.colour import is_coloured, with_chroma
from cddfuse_jax.images.image_files import read_image
from cddfuse_jax.images.pairs import images_by_stem

BUILT_IN = ("visible", "infrared", "mean", "max")


class Input(NamedTuple):
    """A name of `BUILT_IN`, or any other with the folder of its images."""

    name: str
    folder: Path | None = None


class Sources(NamedTuple):
    """The folders of the visible and of the infrared images."""

    visible: Path
    infrared: Path


def parse_input(text: str) -> Input:
    """Return the input of ``visible``, ..., or of ``NAME=FOLDER``.

    Raises:
        InputError: it is neither.
    """
    name, equals, folder = text.partition("=")
    if name in BUILT_IN and not equals:
        return Input(name)
    if not equals or not folder or name in BUILT_IN or not is_name(name):
        raise InputError(
            f"an input is one of {', '.join(BUILT_IN)}, or NAME=FOLDER with another name, got "
            f"{text!r}"
        )
    return Input(name, Path(folder))


def is_name(name: str) -> bool:
    """Tell whether a name can also be that of a folder."""
    return bool(name) and name[0] != "." and not set(name) & set("/\\\0")


def input_files(of: Input, sources: Sources, names: Sequence[str]) -> list[tuple[Path, ...]]:
    """Find the files that each image of an input is made of.

    Raises:
        InputError: a folder is missing, or has no image of a name.
    """
    folders = {
        "visible": (sources.visible,), "infrared": (sources.infrared,),
    }.get(of.name, tuple(sources))  # fmt: skip
    if of.folder:
        folders = (of.folder,)
    columns = []
    for folder in folders:
        found = images_by_stem(folder)
        absent = [name for name in names if name not in found]
        if absent:
            raise InputError(
                f"{folder}: no image for {len(absent)} of {len(names)} names, the first is "
                f"{absent[0]}"
            )
        columns.append([found[name] for name in names])
    return list(zip(*columns, strict=True))


def read_input(
    of: Input,
    files: Sequence[tuple[Path, ...]],
    height: int,
    width: int,
    silent: bool = False,
) -> UInt8[np.ndarray, "n h w 3"]:
    """Read the images of an input as RGB of one size; grey is repeated, so that all have three.

    ``mean`` and ``max`` are of the visible luma and the infrared one, with the visible chroma put
    back, as `fuse` does it.

    Raises:
        InputError: an image cannot be read.
    """
    images = np.empty((len(files), height, width, 3), np.uint8)
    told = files if silent else progress(files, f"{of.name}: images", unit="image")
    for index, paths in enumerate(told):
        images[index] = _as_rgb(of, [_read(path, height, width) for path in paths])
    return images


def _read(path: str | os.PathLike, height: int, width: int) -> np.ndarray:
    image = read_image(path)
    return image if image.shape[:2] == (height, width) else levels.resized(image, height, width)


def _as_rgb(of: Input, images: list[np.ndarray]) -> np.ndarray:
    if len(images) == 1:
        return images[0] if images[0].ndim == 3 else images[0][..., None].repeat(3, -1)
    visible = images[0]
    lumas = [levels.luma(image) for image in images]
    fused = np.maximum(*lumas) if of.name == "max" else (lumas[0] + lumas[1]) / 2
    if is_coloured(visible):
        return levels.to_8_bit(with_chroma(fused, visible))
    return levels.to_8_bit(fused)[..., None].repeat(3, -1)
