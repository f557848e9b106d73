"""The two images of one scene: finding them by name, reading them, and making their sizes agree."""

import contextlib
import os
from collections import defaultdict
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from cddfuse_jax.errors import InputError
from cddfuse_jax.images import levels
from cddfuse_jax.images.image_files import SUFFIXES, Photo, read_photo, read_size

Resize = Literal["visible", "infrared"]
RESIZES: tuple[Resize, ...] = ("visible", "infrared")
ASPECT_TOLERANCE = 0.02  # sides may be rounded to pixels without distorting the image


class Pair(NamedTuple):
    """The two files of one scene; ``name`` is their common stem."""

    name: str
    visible: Path
    infrared: Path


class Pairs(NamedTuple):
    """The pairs of two folders, sorted by name, and the files that have no partner."""

    pairs: list[Pair]
    only_visible: list[Path]
    only_infrared: list[Path]


def find_pairs(visible: str | os.PathLike, infrared: str | os.PathLike) -> Pairs:
    """Pair the images of two folders by stem, so that ``a.png`` goes with ``a.jpg``.

    Raises:
        InputError: a folder is missing, or holds two images of one stem.
    """
    first, second = images_by_stem(visible), images_by_stem(infrared)
    return Pairs(
        [Pair(stem, first[stem], second[stem]) for stem in sorted(first.keys() & second.keys())],
        [first[stem] for stem in sorted(first.keys() - second.keys())],
        [second[stem] for stem in sorted(second.keys() - first.keys())],
    )


def select_pairs(visible: Path, infrared: Path) -> tuple[list[Pair], list[str]]:
    """Return the pairs of two files or two folders, and a line for each file without a partner.

    Raises:
        InputError: one is a file and the other a folder, one is missing, or there is no pair.
    """
    for path in (visible, infrared):
        if not path.exists():
            raise InputError(f"{path}: no such file or folder")
    if visible.is_dir() != infrared.is_dir():
        raise InputError("--vi and --ir must be two files or two folders, got one of each")
    if visible.is_file():
        return [Pair(visible.stem, visible, infrared)], []
    found = find_pairs(visible, infrared)
    alone = [(file, infrared) for file in found.only_visible]
    alone += [(file, visible) for file in found.only_infrared]
    if not found.pairs:
        raise InputError(
            f"no pairs: an image in {visible} and one in {infrared} must have the same name "
            f"(endings may differ), found {len(alone)} images without a partner"
        )
    return found.pairs, [f"{file}: no image of that name in {folder}" for file, folder in alone]


def images_by_stem(folder: str | os.PathLike) -> dict[str, Path]:
    """Image files of a folder (not of its subfolders), sorted, by the name without its ending.

    Raises:
        InputError: the folder is missing, or holds two images of one stem; all such are listed.
    """
    found = candidates_by_stem(folder)
    ambiguous = [", ".join(file.name for file in files) for files in found.values() if files[1:]]
    if ambiguous:
        more = f" and {len(ambiguous) - 5} more names" if len(ambiguous) > 5 else ""
        raise InputError(
            f"{folder}: one image per name, found {'; '.join(ambiguous[:5])}{more}; "
            "remove all but one"
        )
    return {stem: files[0] for stem, files in found.items()}


def candidates_by_stem(folder: str | os.PathLike) -> dict[str, list[Path]]:
    """All image files of a folder by stem, sorted; a stem with several files is ambiguous.

    Raises:
        InputError: the folder is missing.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    found = defaultdict(list)
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() in SUFFIXES and not file.name.startswith("."):
            found[file.stem].append(file)
    return dict(found)


class PairOfPhotos(NamedTuple):
    """A pair as read, of one size unless it was read without a check."""

    visible: Photo
    infrared: Photo


def read_pair(pair: Pair, resize: Resize | None = None) -> PairOfPhotos:
    """Read both files of a pair and, if asked, resample one to the size of the other.

    Raises:
        InputError: a file cannot be read, or the sizes differ and ``resize`` is None.
    """
    photos = {"visible": read_photo(pair.visible), "infrared": read_photo(pair.infrared)}
    sizes = {name: photo.pixels.shape[:2] for name, photo in photos.items()}
    if resize is None:
        _check_same_size(pair, *sizes.values())
    elif sizes["visible"] != sizes["infrared"]:
        photos[resize] = _resized(photos[resize], *sizes[_other(resize)])
    return PairOfPhotos(**photos)


def notes_on(pair: Pair, photos: PairOfPhotos, percentiles: levels.Percentiles) -> dict[str, str]:
    """Return what a user should know of how a pair was read: note -> file name."""
    found: dict[str, str] = {}
    for path, photo in ((pair.visible, photos.visible), (pair.infrared, photos.infrared)):
        notes = list(photo.notes)
        if levels.is_deep(photo.pixels):
            low, high = percentiles
            notes.append(f"deeper than 8 bits, percentiles {low:g} and {high:g} become 0 and 1")
        found |= {note: f"{path.parent.name}/{path.name}" for note in notes}
    return found


def _other(modality: Resize) -> Resize:
    return RESIZES[1 - RESIZES.index(modality)]


def _resized(photo: Photo, height: int, width: int) -> Photo:
    before = photo.pixels.shape[:2]
    note = f"resized from {before[1]}x{before[0]} to {width}x{height}"
    distortion = (width / height) / (before[1] / before[0])
    if abs(distortion - 1) > ASPECT_TOLERANCE:
        note += f", which stretches its width by {distortion:.2f} against its height"
    return Photo(levels.resized(photo.pixels, height, width), (*photo.notes, note))


def check_same_size(pair: Pair, visible: np.ndarray, infrared: np.ndarray) -> None:
    """Refuse a pair whose images differ in height or width.

    Raises:
        InputError: naming both files and both sizes.
    """
    _check_same_size(pair, visible.shape[:2], infrared.shape[:2])


def read_pair_size(pair: Pair) -> tuple[int, int]:
    """Read the common (height, width) of a pair from the headers of its two files.

    Raises:
        InputError: a file is missing or no image, or the sizes differ.
    """
    size = read_size(pair.visible)
    _check_same_size(pair, size, read_size(pair.infrared))
    return size


def sizes_of(pairs: list[Pair], resize: Resize | None = None) -> list[tuple[int, int]]:
    """Read the (height, width) that `read_pair` will give each pair, from the headers.

    Pairs whose files cannot be read, or whose sizes differ without ``resize``, are left out.
    """
    sizes = []
    for pair in pairs:
        with contextlib.suppress(InputError):
            if resize is None:
                sizes.append(read_pair_size(pair))
            else:
                sizes.append(read_size(getattr(pair, _other(resize))))
    return sizes


def _check_same_size(pair: Pair, visible: tuple[int, int], infrared: tuple[int, int]) -> None:
    if visible != infrared:
        (vi_height, vi_width), (ir_height, ir_width) = visible, infrared
        raise InputError(
            f"{pair.name}: both images must have one size, {pair.visible} is "
            f"{vi_width}x{vi_height} and {pair.infrared} is {ir_width}x{ir_height}; resize one "
            "(fuse, check_data and decompose: --resize visible or --resize infrared)"
        )
