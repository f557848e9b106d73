"""Which fused file is of which scene: matched by name, by a rule that is printed."""

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from cddfuse_jax.errors import InputError, some
from cddfuse_jax.images.listing import images_within
from cddfuse_jax.pairs.find import Pair, find_pairs, home
from cddfuse_jax.pairs.rules import PLACE, SEPARATORS, Rule


class Run(NamedTuple):
    """A method to score: its name and its folders of fused images, one per seed.

    A folder's last part may be a pattern, such as ``results/{}_ADF``.
    """

    name: str
    folders: tuple[Path, ...]


class Scene(NamedTuple):
    """One scene that every folder has: its two sources and, per run, the fused file per seed."""

    pair: Pair
    fused: tuple[tuple[Path, ...], ...]


class Selection(NamedTuple):
    """Scenes to score, sorted by name; per folder the files left over; how many pairs there are.

    ``patterns`` are by folder as the user gave it, with the name of the run before. ``others``
    counts the images of a folder whose names fit no run's pattern, such as other methods' in it.
    ``notes`` are those of `pairs.find.Pairs`.
    """

    scenes: list[Scene]
    leftovers: dict[str, list[str]]
    pairs: int
    patterns: dict[str, str]
    others: dict[str, int]
    notes: tuple[str, ...] = ()


def find_scenes(
    runs: list[Run], visible: Path, infrared: Path, rule: Rule | None = None
) -> Selection:
    """Find the scenes that the two source folders and all folders of all runs have.

    Sources are matched as `pairs.find.find_pairs` says, fused files by `matched`. Runs are
    compared on the same images only: what one run lacks is scored for none.

    Raises:
        InputError: a folder is missing, holds two images of one stem, names are ambiguous, or no
            scene is in all.
    """
    sources = find_pairs(visible, infrared, rule)
    pairs = {pair.name: pair for pair in sources.pairs}
    files, patterns = {}, {}
    used: dict[Path, set[Path]] = defaultdict(set)
    in_sources: dict[Path, list[Path]] = defaultdict(list)
    for folder, of in ((visible, sources.visible), (infrared, sources.infrared)):
        in_sources[folder] += of  # one folder may hold both sides
    for run in runs:
        for folder in run.folders:
            pattern, found = matched(folder, run.name, list(pairs))
            if twice := used[home(folder)] & set(found.values()):
                raise InputError(
                    f"each folder of fused images is given once, {min(twice)} is in two of them"
                )
            files[run.name, folder], patterns[f"{run.name}={folder}"] = found, pattern
            used[home(folder)] |= set(found.values())
    common = sorted(set(pairs).intersection(*files.values()))
    homes = {place: list(images_within(place, _nested(pairs)).values()) for place in used}
    counts = ", ".join(f"{path}: {len(of)}" for path, of in (in_sources | homes).items())
    if not pairs:
        raise InputError(
            "visible and infrared images are matched by name, and no name is in both folders "
            f"({counts} images); say how they are named: --vi DIR/{{}}_SUFFIX --ir DIR/{{}}_SUFFIX"
        )
    if not common:
        raise InputError(
            "fused images are matched to sources by name, with the same decoration on all, and no "
            f"name is in all folders ({counts} images); say how they are named: "
            "--fused NAME=DIR/{}_SUFFIX"
        )
    paired = {file for name in common for file in (pairs[name].visible, pairs[name].infrared)}
    leftovers = {
        str(folder): sorted(file.name for file in of if file not in paired)
        for folder, of in in_sources.items()
    }
    for run in runs:
        for folder in run.folders:
            place, pattern = home(folder), patterns[f"{run.name}={folder}"]
            # Of a folder that several methods share, the others' files are not left over.
            free = [f for f in homes[place] if f not in used[place]]
            own = [f for f in free if _shape(pattern).match(f.stem)]
            own += [f for name, f in files[run.name, folder].items() if name not in common]
            shared = str(folder) in leftovers  # by two runs, each with its own names in it
            leftovers[str(folder)] = sorted(
                {file.name for file in own} | set(leftovers[str(folder)] if shared else ())
            )
    scenes = [
        Scene(pairs[name], tuple(tuple(files[r.name, d][name] for d in r.folders) for r in runs))
        for name in common
    ]
    left = {folder: names for folder, names in leftovers.items() if names}
    fitting = {(home(run_folder), name) for run in runs for run_folder in run.folders
               for name in leftovers[str(run_folder)]}  # fmt: skip
    others = {
        str(place): sum(f not in used[place] and (place, f.name) not in fitting for f in of)
        for place, of in homes.items()
    }
    others = {place: count for place, count in others.items() if count}
    return Selection(scenes, left, len(pairs), patterns, others, sources.notes)


def matched(folder: Path, method: str, scenes: list[str]) -> tuple[str, dict[str, Path]]:
    """Match the images of a folder to scenes by their stems; the first rule that finds any.

    1. The folder's last part is a pattern such as ``{}_ADF``: the stems that it makes.
    2. The stem is the scene's name.
    3. The stem is the scene's name with the method's before or after it: ``carLight_ADF``.
    4. The stem is the scene's name with something else before or after it, set off by one of
       `` _-.()[]``, the same for all images; of several such decorations the one on most scenes.

    Endings do not matter, nor does the case of the method's name.

    Returns:
        The pattern found and the file of each scene that has one.
    """
    by_stem = images_within(home(folder), _nested(scenes))
    if PLACE in folder.name:
        return folder.name, _made_by(folder.name, scenes, by_stem)
    if exact := _made_by(PLACE, scenes, by_stem):
        return PLACE, exact
    found = {pattern: _made_by(pattern, scenes, by_stem) for pattern in _patterns(by_stem, scenes)}
    if not found:
        return PLACE, {}
    named = [p for p in found if _decoration(p) == method.lower()]
    most = max(len(found[pattern]) for pattern in named or found)
    best = sorted(pattern for pattern in named or found if len(found[pattern]) == most)
    if len(best) > 1:
        raise InputError(
            f"{folder}: several sets of names fit the scenes equally well ({some(best, 4)}); say "
            f"which: --fused {method}={folder}/{best[0]}"
        )
    return best[0], found[best[0]]


def _nested(scenes: Iterable[str]) -> bool:
    """Return whether scenes lie in subfolders, as ``train/0001``, and fused images too."""
    return any("/" in scene for scene in scenes)


def _made_by(pattern: str, scenes: list[str], by_stem: dict[str, Path]) -> dict[str, Path]:
    made = {scene: pattern.replace(PLACE, scene) for scene in scenes}
    return {
        scene: by_stem[key]
        for scene, stem in made.items()
        for key in (stem, Path(stem).with_suffix("").as_posix())  # a pattern may have an ending
        if key in by_stem
    }


def _patterns(by_stem: dict[str, Path], scenes: list[str]) -> set[str]:
    patterns = set()
    for stem in by_stem:
        for scene in scenes:
            start = stem.find(scene)
            while start >= 0:
                before, after = stem[:start], stem[start + len(scene) :]
                apart = (not before or before[-1] in SEPARATORS) and (
                    not after or after[0] in SEPARATORS
                )
                if apart:
                    patterns.add(before + PLACE + after)
                start = stem.find(scene, start + 1)
    return patterns


def _decoration(pattern: str) -> str:
    return pattern.replace(PLACE, "").strip(SEPARATORS).lower()


def _shape(pattern: str) -> re.Pattern:
    before, after = (re.escape(part) for part in pattern.split(PLACE, 1))
    return re.compile(f"{before}.+{after}$")
