"""The two images of one scene: finding them by name, reading them, and making their sizes agree."""

import contextlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from cddfuse_jax.console import report
from cddfuse_jax.errors import InputError
from cddfuse_jax.images import levels
from cddfuse_jax.images.image_files import READ, SUFFIXES, Photo, missing, read_photo, read_size
from cddfuse_jax.images.pair_rules import Rule, find_rule, sides

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


def find_pairs(
    visible: str | os.PathLike, infrared: str | os.PathLike, rule: Rule | None = None
) -> Pairs:
    """Pair the images of two folders by name, so that ``a.png`` goes with ``a.jpg``.

    Where no names are equal, or both folders are one, the rule is found from the names, if one
    stands out, and told. A folder without images is searched through its subfolders.

    Args:
        visible: the visible images' folder.
        infrared: the infrared ones', or the same one.
        rule: how names go together; None for equal names, or what is found.

    Raises:
        InputError: a folder is missing, a side has two images of one scene, or the folders are one
            and no rule tells the sides apart.
    """
    one = os.path.isdir(visible) and os.path.realpath(visible) == os.path.realpath(infrared)
    deep = rule is not None and "/" in rule.visible + rule.infrared
    listed = _unambiguous(visible, deep)
    first, second = listed, listed if one else _unambiguous(infrared, deep)
    tell_skipped(visible, *(() if one else (infrared,)))
    if rule is None:
        rule = _rule_of(list(first), list(second), visible, one)
    parts = sides(rule, first, second, one)
    for folder, side in zip((visible, infrared), parts, strict=True):
        _refuse_ambiguous(folder, (names for names in side.values()))
    scenes = sorted(parts[0].keys() & parts[1].keys())
    pairs = [Pair(s, first[parts[0][s][0]], second[parts[1][s][0]]) for s in scenes]
    for pair in pairs:
        refuse_one_file(pair)
    paired = {file for pair in pairs for file in pair[1:]}
    alone = [[file for file in side.values() if file not in paired] for side in (first, second)]
    if one:  # what fits no pattern is of neither side, and told once
        of_infrared = {second[name] for names in parts[1].values() for name in names}
        alone = [
            [file for file in alone[0] if file not in of_infrared],
            [file for file in alone[0] if file in of_infrared],
        ]
    return Pairs(pairs, *alone)


def _rule_of(visible: list[str], infrared: list[str], folder, one: bool) -> Rule:
    if not one and set(visible) & set(infrared):
        return Rule()
    rule = find_rule(visible, infrared, one)
    if rule is not None:
        report(f"note: pairs found by {rule}")
        return rule
    if one:
        raise InputError(
            f"{folder}: the same folder for both sides, and nothing in the names tells them apart; "
            "give two folders, or --pair '{}_V' '{}_T' with what marks each side"
        )
    return Rule()


def refuse_one_file(pair: Pair) -> None:
    """Refuse a pair whose two files are one.

    Raises:
        InputError: they are, by whatever names.
    """
    if os.path.realpath(pair.visible) == os.path.realpath(pair.infrared):
        raise InputError(
            f"{pair.visible}: the same file for both sides; give the visible image and the "
            "infrared one"
        )


def tell_skipped(*folders: str | os.PathLike) -> None:
    """Tell how many files of folders are no images that are read, by their endings."""
    for folder in folders:
        kinds = Counter(
            file.suffix.lower() or "nameless"
            for file in Path(folder).iterdir()
            if file.suffix.lower() not in SUFFIXES and file.name[0] != "." and file.is_file()
        )
        if kinds:
            counts = (f"{n} {kind} file{'s' * (n > 1)}" for kind, n in kinds.most_common(6))
            report(f"note: {folder}: skipped {', '.join(counts)}; {READ} are read")


def select_pairs(
    visible: Path, infrared: Path, rule: Rule | None = None
) -> tuple[list[Pair], list[str]]:
    """Return the pairs of two files or two folders, and a line for each file without a partner.

    Raises:
        InputError: one is a file and the other a folder, one is missing, both are one file, or
            there is no pair; and as `find_pairs`.
    """
    for path in (visible, infrared):
        if not path.exists():
            raise InputError(missing(path))
    if visible.is_dir() != infrared.is_dir():
        raise InputError("--vi and --ir must be two files or two folders, got one of each")
    if not visible.is_dir():
        pair = Pair(visible.stem, visible, infrared)
        refuse_one_file(pair)
        return [pair], []
    found = find_pairs(visible, infrared, rule)
    alone = [(file, infrared) for file in found.only_visible]
    alone += [(file, visible) for file in found.only_infrared]
    if not found.pairs:
        raise InputError(no_pairs(visible, infrared, len(alone), rule))
    if rule:
        return found.pairs, [f"{file}: no partner by {rule}" for file, _ in alone]
    return found.pairs, [f"{file}: no image of that name in {folder}" for file, folder in alone]


def no_pairs(visible, infrared, alone: int, rule: Rule | None = None) -> str:
    """Return the line for two folders that have no pair."""
    if rule:
        return f"no pairs: no two names in {visible} and {infrared} go together by {rule}"
    return (
        f"no pairs: an image in {visible} and one in {infrared} must have the same name "
        f"(endings may differ), found {alone} images without a partner; where names carry a mark "
        "of the side, give --pair '{}_V' '{}_T'"
    )


def images_by_stem(folder: str | os.PathLike) -> dict[str, Path]:
    """Image files of a folder (not of its subfolders), sorted, by the name without its ending.

    Raises:
        InputError: the folder is missing, or holds two images of one stem; all such are listed.
    """
    found = candidates_by_stem(folder)
    _refuse_ambiguous(folder, ([file.name for file in files] for files in found.values()))
    return {stem: files[0] for stem, files in found.items()}


def _unambiguous(folder: str | os.PathLike, deep: bool) -> dict[str, Path]:
    found = candidates_by_stem(folder, subfolders=deep)
    found = found or candidates_by_stem(folder, subfolders=True)
    _refuse_ambiguous(folder, ([file.name for file in files] for files in found.values()))
    return {stem: files[0] for stem, files in found.items()}


def _refuse_ambiguous(folder: str | os.PathLike, groups: Iterable[list[str]]) -> None:
    ambiguous = [", ".join(names) for names in groups if names[1:]]
    if ambiguous:
        more = f" and {len(ambiguous) - 5} more names" if len(ambiguous) > 5 else ""
        raise InputError(
            f"{folder}: one image per name, found {'; '.join(ambiguous[:5])}{more}; "
            "remove all but one"
        )


def candidates_by_stem(
    folder: str | os.PathLike, subfolders: bool = False
) -> dict[str, list[Path]]:
    """All image files of a folder by stem, sorted; a stem with several files is ambiguous.

    With ``subfolders`` those in them too; the stem is then the path within the folder, as
    ``day/a``, without the ending.

    Raises:
        InputError: the folder is missing.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    found = defaultdict(list)
    for file in sorted(folder.rglob("*") if subfolders else folder.iterdir()):
        within = file.relative_to(folder)
        if file.suffix.lower() in SUFFIXES and not any(part[0] == "." for part in within.parts):
            found[within.with_suffix("").as_posix()].append(file)
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
    found = {}
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
