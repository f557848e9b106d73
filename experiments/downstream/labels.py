"""Label maps: images whose pixels are numbers of classes, and which classes are kept apart."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from cddfuse_jax.errors import InputError, one_line
from cddfuse_jax.images.listing import images_by_stem

# The classes of MSRS's Segmentation_labels, in the order of their numbers.
MSRS_CLASSES = (
    "background", "car", "person", "bike", "curve", "car stop", "guardrail", "colour cone", "bump",
)  # fmt: skip
KEPT = ("car", "person", "bike")  # of them by default: what warm or moving things are
REST = "rest"
VOID = 255  # a pixel of no class: neither trained on nor scored


class Classes(NamedTuple):
    """Classes that are kept apart, and what number in a file is which of them.

    Attributes:
        names: by their number in predictions and scores; the first is the background.
        numbers: of each number 0 to 255 in a label file, the number in ``names``, or `VOID`.
        stored: how many classes a file has; a greater number in it is an error, but for `VOID`.
    """

    names: tuple[str, ...]
    numbers: np.ndarray
    stored: int

    def of(self, pixels: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
        """Return the numbers of `names` for a file's numbers."""
        return self.numbers[pixels]


def classes(stored: Sequence[str] = MSRS_CLASSES, kept: Sequence[str] = KEPT) -> Classes:
    """Keep the classes ``kept`` apart, and call all others one, "rest".

    Args:
        stored: names of the classes in the files, in the order of their numbers.
        kept: some of them, or "all".

    Raises:
        InputError: a name is not stored, or twice there, or there are more than 255.
    """
    if len(set(stored)) < len(stored) or not 2 <= len(stored) <= VOID:
        raise InputError(f"--classes takes 2 to 255 different names, got {', '.join(stored)}")
    unknown = [name for name in kept if name not in stored]
    if tuple(kept) == ("all",):
        kept = stored
    elif unknown:
        raise InputError(f"--keep takes names of {', '.join(stored)}; got {', '.join(unknown)}")
    numbers = np.full(256, VOID, np.uint8)
    if set(kept) == set(stored):
        numbers[: len(stored)] = np.arange(len(stored))
        return Classes(tuple(stored), numbers, len(stored))
    chosen = [name for name in stored if name in kept]  # in the order of the files
    numbers[: len(stored)] = [chosen.index(n) + 1 if n in chosen else 0 for n in stored]
    return Classes((REST, *chosen), numbers, len(stored))


def read_labels(path: str | os.PathLike, stored: int) -> UInt8[np.ndarray, "h w"]:
    """Read a label map, a PNG, as the numbers in the file: grey or with a palette, 8 bits.

    Raises:
        InputError: it cannot be read, or has a number that is neither below ``stored`` nor `VOID`.
    """
    try:
        with Image.open(path, formats=("PNG",)) as image:
            mode, pixels = image.mode, np.asarray(image).astype(np.uint8)
    except (OSError, ValueError, SyntaxError) as error:
        raise InputError(f"{path}: not a PNG that can be read ({one_line(error)})") from None
    if mode not in ("1", "L", "P"):
        raise InputError(f"{path}: a label map is grey or palette, 8 bits; this image is {mode}")
    beyond = np.unique(pixels[(pixels >= stored) & (pixels != VOID)])
    if beyond.size:
        raise InputError(
            f"{path}: labels are 0 to {stored - 1}, or {VOID} for no class, found {beyond[0]}; "
            "name all classes with --classes"
        )
    return pixels


def resized_labels(
    labels: UInt8[np.ndarray, "a b"], height: int, width: int
) -> UInt8[np.ndarray, "h w"]:
    """Resample to a size by the nearest pixel, as numbers of classes have no mean."""
    return np.asarray(Image.fromarray(labels).resize((width, height), Image.Resampling.NEAREST))


def label_files(folder: Path, names: Sequence[str] | None = None) -> dict[str, Path]:
    """Find the label maps of a folder by stem, all or those of the stems ``names``.

    Raises:
        InputError: the folder is missing, or has no map of a name.
    """
    found = images_by_stem(folder)
    if names is None:
        return found
    absent = [name for name in names if name not in found]
    if absent:
        raise InputError(
            f"{folder}: no label map for {len(absent)} of {len(names)} images, the first is "
            f"{absent[0]}"
        )
    return {name: found[name] for name in names}


def read_names(path: str | os.PathLike) -> list[str]:
    """Read a list of images, a name a line; endings are dropped, empty lines and # left out.

    Raises:
        InputError: the file cannot be read, is empty, or names an image twice.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: a list of names cannot be read ({one_line(error)})") from None
    names = [Path(line.strip()).stem for line in lines if line.strip() and line.strip()[0] != "#"]
    if not names:
        raise InputError(f"{path}: names one image per line, found none")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{path}: names {twice} twice")
    return names
