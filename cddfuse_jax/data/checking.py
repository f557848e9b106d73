"""Looking through two folders of pairs: what is there, what is wrong, what looks odd."""

from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cddfuse_jax.console import progress
from cddfuse_jax.data.cutting import is_low_contrast
from cddfuse_jax.errors import InputError
from cddfuse_jax.images.colour import is_coloured
from cddfuse_jax.images.listing import candidates_by_stem
from cddfuse_jax.images.not_read import READ
from cddfuse_jax.pairs.find import Pair, Pairs, find_pairs, home, no_pairs, skipped
from cddfuse_jax.pairs.notes import SAMPLE, notes_on, warning_of_view, warnings_on
from cddfuse_jax.pairs.read import Fit, ImagePair, read_pair
from cddfuse_jax.pairs.rules import Rule
from cddfuse_jax.rigs.rig import Rig
from cddfuse_jax.rigs.shift import measure_shift


class Findings(NamedTuple):
    """What was found: counts, lines for what is wrong, lines to look at, notes -> files.

    ``about`` are notes on how pairs were found.
    """

    pairs: int
    sizes: Counter[str]
    kinds: Counter[str]
    errors: list[str]
    warnings: list[str]
    notes: dict[str, list[str]]
    about: tuple[str, ...] = ()


def check_folders(
    visible: Path, infrared: Path, fit: Fit = None, rule: Rule | None = None
) -> Findings:
    """Read every pair of two folders and check it, with a progress bar."""
    findings = Findings(0, Counter(), Counter(), [], [], defaultdict(list))
    found = _pairs(visible, infrared, rule, findings.errors)
    first: list[ImagePair] = []
    for pair in progress(found.pairs, "checking", unit="pair"):
        try:
            images = read_pair(pair, fit)
            _check_pair(images, findings)
        except InputError as error:
            findings.errors.append(str(error))
        else:
            first = first if len(first) == SAMPLE else [*first, images]
    if not isinstance(fit, Rig) and (warning := warning_of_view(first)):
        findings.warnings.insert(0, warning)
    return findings._replace(pairs=len(found.pairs), about=found.notes)


def _pairs(visible: Path, infrared: Path, rule: Rule | None, errors: list[str]) -> Pairs:
    by_pattern = rule or visible != home(visible) or infrared != home(infrared)
    first, second = (candidates_by_stem(home(folder)) for folder in (visible, infrared))
    for folder in (home(visible), home(infrared)):
        if not candidates_by_stem(folder, subfolders=True):
            raise InputError(f"{folder}: no images; {READ} are read")
    if by_pattern or visible.samefile(infrared) or not first.keys() & second.keys():
        all_pairs = find_pairs(visible, infrared, rule)
        errors += all_pairs.alone
        if not all_pairs.pairs:
            raise InputError(no_pairs(visible, infrared, len(all_pairs.alone), rule))
        return all_pairs
    for folder, found, others, other in (
        (visible, first, second, infrared),
        (infrared, second, first, visible),
    ):
        for stem, files in found.items():
            if len(files) > 1:
                names = ", ".join(file.name for file in files)
                errors.append(f"{folder}: one image per name, found {names}")
            if stem not in others:
                errors.append(f"{files[0]}: no image of that name in {other}")
    clear = [stem for stem in sorted(first.keys() & second.keys())
             if len(first[stem]) == len(second[stem]) == 1]  # fmt: skip
    pairs = [Pair(stem, first[stem][0], second[stem][0]) for stem in clear]
    return Pairs(pairs, [], [], notes=tuple(skipped(visible, infrared)))


def _check_pair(images: ImagePair, findings: Findings) -> None:
    for side, photo in zip(("visible", "infrared"), images, strict=True):
        colour = "colour" if is_coloured(photo.pixels) else "grey"
        findings.kinds[f"{side}: {photo.depth} {colour}"] += 1
    for path, grey in zip(images.pair[1:], images.grey, strict=True):
        if np.ptp(grey) and is_low_contrast(grey[None])[0]:
            findings.warnings.append(
                f"{path}: nearly flat, (p90 - p10) / p90 is below 0.1; its patches may be dropped"
            )
    height, width = images.grey[0].shape
    findings.sizes[f"{width}x{height}"] += 1
    shift = measure_shift(*images.grey)
    if shift and shift.is_misregistered:
        findings.warnings.append(f"{images.pair.name}: {shift.warning}")
    findings.warnings.extend(warnings_on(images))
    for note, file in notes_on(images).items():
        findings.notes[note].append(file)
