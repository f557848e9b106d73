"""The source images of an evaluation, paired by name as the user's folders have them."""

from pathlib import Path
from typing import NamedTuple

from cddfuse_jax.errors import InputError
from cddfuse_jax.images.image_files import SUFFIXES
from cddfuse_jax.images.pairs import Pair, images_by_stem

PLACE = "{}"  # where the scene's name stands in a pattern of file names
SEPARATORS = " _-.()[]"


class Sources(NamedTuple):
    """The pairs of two folders, sorted by name, all images of each folder, and how they are named.

    ``images`` and ``patterns`` are by folder as the user gave it.
    """

    pairs: list[Pair]
    images: dict[Path, list[Path]]
    patterns: dict[Path, str]


def find_sources(visible: Path, infrared: Path) -> Sources:
    """Pair the images of two folders by stem; the first rule that finds any.

    1. A folder's last part is a pattern such as ``{}_vi``: the scene's name is what stands at the
       ``{}``. Both patterns may be of one folder.
    2. The stems are the same.
    3. The stems are the same without what all of a folder begin or end with, as far as it is set
       off by one of `SEPARATORS`: ``04_vi`` beside ``04_ir``.

    Raises:
        InputError: a folder is missing, or holds two images of one stem.
    """
    stems = {side: images_by_stem(home(side)) for side in (visible, infrared)}
    patterns = {side: side.name if PLACE in side.name else PLACE for side in stems}
    named = {side: _scenes(stems[side], patterns[side]) for side in stems}
    if not named[visible].keys() & named[infrared].keys() and visible != infrared:
        free = [side for side in stems if PLACE not in side.name]
        parts = {side: _common_parts(list(stems[side])) for side in free}
        if len(free) == 2:  # what both folders share belongs to the names of scenes
            kept = [len(set(either)) > 1 for either in zip(*parts.values(), strict=True)]
            parts = {side: tuple(p * k for p, k in zip(parts[side], kept, strict=True))
                     for side in free}  # fmt: skip
        tried = patterns | {side: PLACE.join(parts[side]) for side in free}
        found = {side: _scenes(stems[side], tried[side]) for side in stems}
        if found[visible].keys() & found[infrared].keys():
            patterns, named = tried, found
    common = sorted(named[visible].keys() & named[infrared].keys())
    pairs = [Pair(name, named[visible][name], named[infrared][name]) for name in common]
    if same := [pair.visible for pair in pairs if pair.visible == pair.infrared]:
        raise InputError(
            f"--vi and --ir both name {same[0]}; give two folders, or patterns such as "
            f"{home(visible)}/{PLACE}_vi and {home(infrared)}/{PLACE}_ir"
        )
    images = {side: list(stems[side].values()) for side in stems}
    if home(visible) == home(infrared):  # the other side's images are not left over from this one
        images = {side: list(named[side].values()) for side in stems}
    return Sources(pairs, images, patterns)


def home(folder: Path) -> Path:
    """Return the folder of a pattern; a folder is its own."""
    return folder.parent if PLACE in folder.name else folder


def _scenes(stems: dict[str, Path], pattern: str) -> dict[str, Path]:
    if Path(pattern).suffix.lower() in SUFFIXES:
        pattern = Path(pattern).stem
    before, after = pattern.split(PLACE, 1)
    return {
        stem[len(before) : len(stem) - len(after)]: file
        for stem, file in stems.items()
        if len(stem) > len(before + after) and stem.startswith(before) and stem.endswith(after)
    }


def _common_parts(stems: list[str]) -> tuple[str, str]:
    """Return what all stems begin and end with, each as far as the last separator in it."""
    before = _common_start(stems)
    after = _common_start([stem[::-1] for stem in stems])[::-1]
    while before and before[-1] not in SEPARATORS:
        before = before[:-1]
    while after and after[0] not in SEPARATORS:
        after = after[1:]
    whole = len(stems) < 2 or any(len(stem) <= len(before + after) for stem in stems)
    return ("", "") if whole else (before, after)


def _common_start(words: list[str]) -> str:
    first, last = min(words, default=""), max(words, default="")
    end = next((k for k, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), None)
    return first[:end]
