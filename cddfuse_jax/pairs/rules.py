"""By which rule two files are of one scene: equal names, or names with a mark of the side.

A rule is a pattern for each side, in which ``{}`` is the scene: ``{}_V`` and ``{}_T``, or
``visible/{}`` and ``thermal/{}``. It is about a file's path within its folder, without the ending.
``*`` is what differs, such as a time; without ``{}`` names go together in their order.
"""

import argparse
import itertools
import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from cddfuse_jax.errors import InputError
from cddfuse_jax.images.listing import natural, unended

PLACE, ANY = "{}", "*"
SEPARATORS = " _-.()[]/"  # between a scene and a mark
# How people mark the sides; in any case, between separators, digits and the ends of a name.
_VISIBLE_WORDS = {"v", "vi", "vis", "visible", "visual", "rgb", "color", "colour", "eo", "tv"} | {
    "optical", "mri", "mr", "day", "daylight"
}  # fmt: skip
_INFRARED_WORDS = {"t", "i", "ir", "tir", "th", "therm", "thermal", "infrared", "inf", "fir"} | {
    "lwir", "mwir", "swir", "nir", "ct", "pet", "spect"
}  # fmt: skip
_MOST_PATTERNS = 12  # of a side that are tried, the most frequent ones
Scenes = dict[str, list[str]]  # the names of a side by their scene


class Rule(NamedTuple):
    """The pattern of each side's names."""

    visible: str = PLACE
    infrared: str = PLACE

    @property
    def by_order(self) -> bool:
        """Whether names go together in their order, for nothing in them is shared."""
        return PLACE not in self.visible

    def __str__(self) -> str:
        return f"--pair {shlex.quote(self.visible)} {shlex.quote(self.infrared)}"


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--pair``; what it gives is for `parse`."""
    parser.add_argument("--pair", nargs=2, metavar=("VI", "IR"),
        help="how the files of a scene are named on each side, {} for what they share, such as "
        "'{}_V' '{}_T' or 'visible/{}' 'thermal/{}', and * for what differs; 'DJI_*_V' 'DJI_*_T', "
        "without {}, pairs in the order of names; both folders may be one then; default: equal "
        "names; otherwise the rule is guessed from the names and printed")  # fmt: skip


def parse(patterns: Iterable[str] | None) -> Rule | None:
    """Return the rule of two patterns, None for none."""
    if not patterns:
        return None
    given = tuple(patterns)
    by_order = not any(PLACE in each for each in given) and all(ANY in each for each in given)
    if len(given) != 2 or not (by_order or all(PLACE in each for each in given)):
        raise InputError(
            "a rule of pairing is two patterns with {} for the scene, such as '{}_V' and '{}_T', "
            "or with * instead of it, such as 'DJI_*_V' and 'DJI_*_T', to pair in their order, "
            f"got {' and '.join(map(repr, given))}"
        )
    return Rule(*map(unended, given))


def sides(rule: Rule, visible: Iterable[str], infrared: Iterable[str], one: bool):
    """Return both sides' names by scene, (visible, infrared); names that fit no pattern in neither.

    Args:
        rule: the patterns.
        visible: names in the visible folder.
        infrared: names in the infrared folder.
        one: whether the folders are one, so that each name is of one side only. A side whose
            pattern is ``{}`` alone has what the other's does not fit.
    """
    if rule.by_order:
        return _in_order(rule, sorted(visible, key=natural), sorted(infrared, key=natural), one)
    found: tuple[Scenes, Scenes] = (
        _by_scene(rule.visible, visible), _by_scene(rule.infrared, infrared)
    )  # fmt: skip
    if not one:
        return found
    names = [{name for each in side.values() for name in each} for side in found]
    both = names[0] & names[1]
    if not both:
        return found
    if rule.visible == rule.infrared or PLACE not in rule:
        raise InputError(f"a file is of one side, {min(both)} fits both patterns of {rule}")
    general = rule.index(PLACE)
    kept = {
        scene: [name for name in each if name not in both] for scene, each in found[general].items()
    }
    kept = {scene: each for scene, each in kept.items() if each}
    return (kept, found[1]) if general == 0 else (found[0], kept)


def find_rule(visible: list[str], infrared: list[str], one: bool) -> Rule | None:
    """Find the rule that pairs the most names, None if none pairs half of a side.

    Raises:
        InputError: several rules pair as many, and differently.
    """
    tried = []
    for names, words in ((visible, _VISIBLE_WORDS), (infrared, _INFRARED_WORDS)):
        patterns = [*_marked(names, words), PLACE]
        tried.append(patterns if one else patterns + _shared_decorations(names))
    best: dict[frozenset, Rule] = {}
    most = 1
    for rule in itertools.starmap(Rule, itertools.product(*tried)):
        if rule.visible == rule.infrared:
            continue
        try:
            first, second = sides(rule, visible, infrared, one)
        except InputError:
            continue
        scenes = [s for s in first.keys() & second.keys() if len(first[s]) == len(second[s]) == 1]
        if len(scenes) >= most:
            best = best if len(scenes) == most else {}
            most = len(scenes)
            pairs = frozenset((first[scene][0], second[scene][0]) for scene in scenes)
            best[pairs] = min(best.get(pairs, rule), rule, key=lambda each: len("".join(each)))
    enough = 4 * most >= len(visible) if one else 2 * most >= min(len(visible), len(infrared))
    if not best or not enough:
        return None
    if len(best) > 1:
        rules = sorted(map(str, best.values()))
        raise InputError(
            f"several rules pair {most} scenes, each differently; give one: "
            + " or ".join(rules[:3])
        )
    return next(iter(best.values()))


def _in_order(rule: Rule, visible: list[str], infrared: list[str], one: bool):
    first, second = (
        [name for name in names if re.fullmatch(_escaped(pattern), name)]
        for pattern, names in zip(rule, (visible, infrared), strict=True)
    )
    if len(first) != len(second) or (one and set(first) & set(second)):
        both = f", {len(set(first) & set(second))} of them by both" if one else ""
        raise InputError(
            f"names go together in their order by {rule}, but {len(first)} and {len(second)} names "
            f"fit{both}; leave files without a partner out, or give {{}} for what the names share"
        )
    return {name: [name] for name in first}, {
        name: [other] for name, other in zip(first, second, strict=True)
    }


def _escaped(text: str) -> str:
    """Return what a part of a pattern matches: ``*`` anything within a folder's name."""
    return "[^/]*".join(map(re.escape, text.split(ANY)))


def _by_scene(pattern: str, names: Iterable[str]) -> Scenes:
    constants = pattern.split(PLACE)
    shape = re.compile("(.+)".join(map(_escaped, constants)), re.DOTALL)
    # What the parts of a scene's name are joined by, where a mark stood between them.
    joints = ["/" if "/" in c else "_" if c else "" for c in constants[1:-1]] + [""]
    found: Scenes = defaultdict(list)
    for name in names:
        if match := shape.fullmatch(name):
            parts = zip(match.groups(), joints, strict=True)
            found["".join(text + joint for text, joint in parts)].append(name)
    return dict(found)


def _marked(names: Iterable[str], words: set[str]) -> list[str]:
    """Return the most frequent patterns that names make when a word of a side is taken as mark."""
    found: Counter[str] = Counter()
    for name in names:
        for word in re.finditer(r"[^\W\d_]+", name):
            if word[0].lower() not in words:
                continue
            before, after = name[: word.start()], name[word.end() :]
            scene, rest = before.rstrip(SEPARATORS), after.lstrip(SEPARATORS)
            if scene or rest:
                mark = before[len(scene) :] + word[0] + after[: len(after) - len(rest)]
                found[(PLACE if scene else "") + mark + (PLACE if rest else "")] += 1
    return [pattern for pattern, _ in found.most_common(_MOST_PATTERNS)]


def _shared_decorations(names: list[str]) -> list[str]:
    """Return the patterns with what all names of a folder begin and end with."""
    if len(names) < 2:
        return []
    prefix = _trimmed(_common_start(names), names)
    backwards = [name[len(prefix) :][::-1] for name in names]
    suffix = _trimmed(_common_start(backwards), backwards)[::-1]
    return [prefix + PLACE + suffix] if prefix or suffix else []


def _common_start(names: list[str]) -> str:
    first, last = min(names), max(names)
    end = next((k for k, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), None)
    return first[:end]


def _trimmed(start: str, names: list[str]) -> str:
    """Cut a common start where a number or a word ends in all names, and short of any's end."""
    while start and not (
        all(len(name) > len(start) for name in names)
        and (
            start[-1] in SEPARATORS
            or (start[-1].isalpha() and all(name[len(start)].isdigit() for name in names))
        )
    ):
        start = start[:-1]
    return start
