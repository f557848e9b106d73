"""Intersection over union of label maps, over a set of images, and what of it is beyond chance."""

import math
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Real, UInt8
from labels import VOID

from cddfuse_jax.errors import InputError
from cddfuse_jax.evaluation.ranking import CONFIDENCE, holm

RESAMPLES = 2000
ALL = "all"
_FEWEST = 6  # images below which nothing is said of chance


class Method(NamedTuple):
    """What was scored of one method: ``counts`` are its confusions per seed and image."""

    name: str
    seeds: tuple[str, ...]
    counts: Int[np.ndarray, "seeds images k k"]


class Row(NamedTuple):
    """One method on one group of images.

    Means over the seeds: ``iou`` by class (NaN for one in neither map of any image), ``miou`` with
    its sample standard deviation, ``accuracy`` (share of pixels). ``difference`` is mIoU minus the
    reference's, with its bootstrap interval (95 %, images drawn anew) and a two-sided p of the same
    draws (NaN with fewer than 6 images); ``p_holm`` after Holm's correction over the table.
    """

    method: str
    group: str
    iou: tuple[float, ...]
    miou: float
    deviation: float
    accuracy: float
    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    images: int


def confusion(
    truth: UInt8[np.ndarray, "h w"], predicted: UInt8[np.ndarray, "h w"], classes: int
) -> Int[np.ndarray, "k k"]:
    """Count pixels by true class (rows) and predicted one (columns); `VOID` is left out."""
    here = truth != VOID
    pairs = truth[here].astype(np.int64) * classes + predicted[here]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def iou(counts: Real[np.ndarray, "*b k k"]) -> Float[np.ndarray, "*b k"]:
    """Divide intersection by union, class by class; NaN for a class that is in neither map."""
    hit = np.diagonal(counts, axis1=-2, axis2=-1)
    union = counts.sum(-1) + counts.sum(-2) - hit
    return np.divide(hit, union, out=np.full(hit.shape, math.nan), where=union > 0)


def mean_iou(counts: Real[np.ndarray, "*b k k"]) -> np.ndarray:
    """Mean of `iou` over the classes that are there, of shape ``b``; NaN for no pixel at all."""
    each = iou(counts)
    there = np.isfinite(each).sum(-1)
    return np.divide(
        np.nansum(each, -1), there, out=np.full(there.shape, math.nan), where=there > 0
    )


def groups_of(names: Sequence[str], rules: Sequence[str]) -> dict[str, list[int]]:
    """Sort images into groups by rules such as ``night=*N``; "all" comes first.

    Raises:
        InputError: a rule is none, or fits no image.
    """
    groups = {ALL: list(range(len(names)))}
    for rule in rules:
        group, equals, pattern = rule.partition("=")
        if not equals or not group or group in groups:
            raise InputError(
                f"--groups takes NAME=PATTERN of names, as night='*N', each once, got {rule!r}"
            )
        groups[group] = [i for i, name in enumerate(names) if fnmatchcase(name, pattern)]
        if not groups[group]:
            raise InputError(f"--groups {rule}: fits none of the {len(names)} images")
    return groups


def compare(
    methods: Sequence[Method], groups: dict[str, list[int]], reference: str, seed: int = 0
) -> list[Row]:
    """Make a row per group and method, each beside the method called ``reference``.

    All methods are scored on the same images, and resampled alike: what one draw of images gives
    is one draw for all. The methods' seeds are averaged in each draw; how they spread is
    `Row.deviation`, which the interval leaves out.
    """
    rows = []
    for group, images in groups.items():
        rng = np.random.default_rng(seed)
        draws = rng.multinomial(len(images), [1 / len(images)] * len(images), RESAMPLES)
        drawn = {m.name: _resampled(m.counts[:, images], draws) for m in methods}
        for method in methods:
            rows.append(_row(method, group, images, drawn, reference, methods))
    corrected = holm([row.p for row in rows])
    return [row._replace(p_holm=p) for row, p in zip(rows, corrected, strict=True)]


def _resampled(counts: np.ndarray, draws: np.ndarray) -> np.ndarray:
    flat = counts.reshape(*counts.shape[:2], -1).astype(float)
    sums = np.stack([draws @ of_seed for of_seed in flat])
    return mean_iou(sums.reshape(*sums.shape[:2], *counts.shape[2:])).mean(0)


def _row(method: Method, group: str, images: list[int], drawn, reference: str, methods) -> Row:
    summed = method.counts[:, images].sum(1)
    per_seed = mean_iou(summed)
    deviation = float(per_seed.std(ddof=1)) if len(per_seed) > 1 else math.nan
    right = np.trace(summed, axis1=1, axis2=2) / np.maximum(summed.sum((1, 2)), 1)
    row = Row(
        method.name, group, tuple(map(float, iou(summed).mean(0))), float(per_seed.mean()),
        deviation, float(right.mean()), math.nan, math.nan, math.nan, math.nan, math.nan,
        len(images),
    )  # fmt: skip
    if method.name == reference or all(m.name != reference for m in methods):
        return row
    beside = next(m for m in methods if m.name == reference)
    difference = row.miou - float(mean_iou(beside.counts[:, images].sum(1)).mean())
    found = drawn[method.name] - drawn[reference]
    margin = (1 - CONFIDENCE) / 2
    low, high = np.quantile(found, [margin, 1 - margin])
    tail = min((found <= 0).sum(), (found >= 0).sum())
    p = min(1.0, 2 * (tail + 1) / (len(found) + 1)) if len(images) >= _FEWEST else math.nan
    return row._replace(difference=difference, low=float(low), high=float(high), p=float(p))
