"""The two files of one scene, found by their names."""

import os
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from cddfuse_jax.errors import InputError, some
from cddfuse_jax.images.flir_files import is_flir
from cddfuse_jax.images.image_files import missing
from cddfuse_jax.images.listing import images_within, is_image, refuse_ambiguous, without_ending
from cddfuse_jax.images.not_read import EXPORTING, READ
from cddfuse_jax.pairs.rules import PLACE, Rule, find_rule, parse, sides


class Pair(NamedTuple):
    """The two files of one scene; ``name`` is their common stem."""

    name: str
    visible: Path
    infrared: Path


class Pairs(NamedTuple):
    """The pairs of two folders, sorted by name, the files without a partner, and by which rule.

    ``notes`` say how pairs were found where no rule was given, and what was skipped; ``alone`` is a
    line for each file without a partner.
    """

    pairs: list[Pair]
    only_visible: list[Path]
    only_infrared: list[Path]
    rule: Rule = Rule()
    notes: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()

    @property
    def visible(self) -> list[Path]:
        """All files of the visible side."""
        return sorted([pair.visible for pair in self.pairs] + self.only_visible)

    @property
    def infrared(self) -> list[Path]:
        """All files of the infrared side."""
        return sorted([pair.infrared for pair in self.pairs] + self.only_infrared)


def find_pairs(
    visible: str | os.PathLike,
    infrared: str | os.PathLike,
    rule: Rule | None = None,
) -> Pairs:
    """Pair the images of two folders by name, so that ``a.png`` goes with ``a.jpg``.

    Where no names are equal, or both folders are one, the rule is found from the names, if only
    one fits, with a note. A folder without images is searched through its subfolders.

    Args:
        visible: the visible images' folder; a last part with ``{}``, as in ``DIR/{}_V``, is the
            rule of its side.
        infrared: the infrared ones', or the same one.
        rule: how names go together; None for equal names, or what is found.

    Raises:
        InputError: a folder is missing, a side has two images of one scene, or the folders are one
            and no rule says which side a file is of.
    """
    patterns = [side if PLACE in side.name else None for side in (Path(visible), Path(infrared))]
    if any(patterns):
        visible, infrared = home(Path(visible)), home(Path(infrared))
        rule = parse([side.name if side else PLACE for side in patterns])
    one = os.path.isdir(visible) and os.path.realpath(visible) == os.path.realpath(infrared)
    deep = rule is not None and "/" in rule.visible + rule.infrared
    listed = images_within(visible, deep)
    first, second = listed, listed if one else images_within(infrared, deep)
    notes = skipped(visible, *(() if one else (infrared,)), deep=deep)
    if one and rule is None and listed and all(map(is_flir, listed.values())):
        return Pairs([Pair(name, file, file) for name, file in listed.items()], [], [])
    if rule is None and not one:
        second = _renumbered(first, second)
    if rule is None:
        rule = _rule_of(list(first), list(second), visible, one)
        notes += [f"pairs found by {rule}"] * (rule != Rule())
    parts = sides(rule, first, second, one)
    for folder, side in zip((visible, infrared), parts, strict=True):
        refuse_ambiguous(folder, (names for names in side.values()))
    scenes = sorted(parts[0].keys() & parts[1].keys())
    pairs = [Pair(s, first[parts[0][s][0]], second[parts[1][s][0]]) for s in scenes]
    for pair in pairs:
        refuse_one_file(pair)
    if rule.by_order and pairs:
        shown = some([f"{p.visible.name} with {p.infrared.name}" for p in pairs])
        notes.append(f"{len(pairs)} pairs in the order of names: {shown}")
    paired = {file for pair in pairs for file in pair[1:]}
    alone = [[file for file in side.values() if file not in paired] for side in (first, second)]
    if one:  # what fits no pattern is of neither side, and reported once
        of_infrared = {second[name] for names in parts[1].values() for name in names}
        alone = [
            [file for file in alone[0] if file not in of_infrared],
            [file for file in alone[0] if file in of_infrared],
        ]
    lines = [
        f"{file}: "
        + (f"no partner by {rule}" if rule != Rule() else f"no image of that name in {other}")
        for files, other in zip(alone, (infrared, visible), strict=True)
        for file in files
    ]
    return Pairs(pairs, alone[0], alone[1], rule, tuple(notes), tuple(lines))


def home(folder: Path) -> Path:
    """Return the folder of a pattern such as ``DIR/{}_V``; a folder is its own."""
    return folder.parent if PLACE in folder.name else folder


def _rule_of(visible: list[str], infrared: list[str], folder, one: bool) -> Rule:
    if not one and set(visible) & set(infrared):
        return Rule()
    rule = find_rule(visible, infrared, one)
    if rule is not None:
        return rule
    if one:
        raise InputError(
            f"{folder}: the same folder for both sides, and nothing in the names says which is; "
            "give two folders, or --pair '{}_V' '{}_T' with what marks each side (files that hold "
            "both, as RGB and a fourth band, must be split first: magick FILE -separate %d.png)"
        )
    return Rule()


def _renumbered(first: dict[str, Path], second: dict[str, Path]) -> dict[str, Path]:
    """Return the second side under the first's names, if all are equal but for zeros, case."""
    plain = [
        {re.sub(r"\d+", lambda digits: str(int(digits[0])), name.casefold()): name for name in side}
        for side in (first, second)
    ]
    distinct = [len(names) for names in plain] == [len(first), len(second)]
    if first.keys() == second.keys() or not distinct or plain[0].keys() != plain[1].keys():
        return second
    return {plain[0][name]: second[other] for name, other in plain[1].items()}


def refuse_one_file(pair: Pair) -> None:
    """Refuse a pair whose two files are one, unless that holds both images."""
    one = os.path.realpath(pair.visible) == os.path.realpath(pair.infrared)
    if one and not (pair.visible == pair.infrared and is_flir(pair.visible)):
        raise InputError(
            f"{pair.visible}: the same file for both sides; give the visible image and the "
            "infrared one"
        )


def skipped(*folders: str | os.PathLike, deep: bool = False) -> list[str]:
    """Return notes on what folders hold that is left out: files that, by their endings, are no
    images to read, and unless ``deep`` images below those of the folder itself.
    """
    notes = []
    for folder in folders:
        kinds = Counter(
            file.suffix.lower() or "nameless"
            for file in Path(folder).iterdir()
            if file.name[0] != "." and file.is_file() and not is_image(file)
        )
        if kinds:
            counts = (f"{n} {kind} file{'s' * (n > 1)}" for kind, n in kinds.most_common(6))
            how = "".join(sorted({EXPORTING[kind] for kind in kinds if kind in EXPORTING}))
            notes.append(f"{folder}: skipped {', '.join(counts)}; {READ} are read{how}")
        below = [file.parent.name for file in Path(folder).glob("[!.@]*/*") if is_image(file)]
        if below and not deep and any(map(is_image, Path(folder).iterdir())):
            notes.append(f"{folder}: {len(below)} images in subfolders left out, as in {below[0]}")
    return notes


def select_pairs(visible: Path, infrared: Path, rule: Rule | None = None) -> Pairs:
    """Find the pair of two files, or the pairs of two folders.

    Raises:
        InputError: there is none, and as `find_pairs`.
    """
    for path in (home(visible), home(infrared)):
        if not path.exists():
            raise InputError(missing(path))
    if home(visible).is_dir() != home(infrared).is_dir():
        raise InputError("--vi and --ir must be two files or two folders, got one of each")
    if not home(visible).is_dir():
        pair = Pair(without_ending(visible).name, visible, infrared)
        refuse_one_file(pair)
        return Pairs([pair], [], [])
    found = find_pairs(visible, infrared, rule)
    if not found.pairs:
        raise InputError(no_pairs(visible, infrared, len(found.alone), rule))
    return found


def no_pairs(visible, infrared, alone: int, rule: Rule | None = None) -> str:
    """Return the line for two folders that have no pair."""
    if rule:
        return f"no pairs: no two names in {visible} and {infrared} go together by {rule}"
    counts = [len(images_within(home(Path(side)), deep=False)) for side in (visible, infrared)]
    advice = (
        "--pair '*' '*' pairs them in the order of names"
        if counts[0] == counts[1]  # else that is refused
        else "rename them, or give --pair with {} for what the names of a scene share"
    )
    return (
        f"no pairs: an image in {visible} and one in {infrared} must have the same name "
        f"(endings may differ), found {alone} images without a partner; {advice}"
    )


def looks_medical(pair: Pair) -> bool:
    """Return, by the names of files and folders, whether a pair is MRI with CT, PET or SPECT."""
    scanned = {"ct", "pet", "spect"} & words_of(pair.infrared)
    return bool({"mri", "mr"} & words_of(pair.visible) and scanned)


def words_of(path: Path) -> set[str]:
    """Return the words in the names of a file and its folder."""
    return set(re.split(r"[^a-z]+", f"{path.parent.name} {path.stem}".lower()))
