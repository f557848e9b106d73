"""Means over the images, a row per method, and all that an evaluation found."""

import math
from collections.abc import Iterable
from statistics import fmean, stdev
from typing import NamedTuple

from cddfuse_jax.evaluation.matching import Run, Scene
from cddfuse_jax.evaluation.scoring import SceneScores
from cddfuse_jax.metrics.protocols import Protocol
from cddfuse_jax.metrics.published import PUBLISHED
from cddfuse_jax.metrics.record import Metric


class Row(NamedTuple):
    """One row of the table of means.

    ``kind`` is run, baseline or published. ``deviations`` (runs of several seeds only): sample
    standard deviation over the seeds of each seed's mean. ``images``: scores per seed and image.
    """

    name: str
    kind: str
    source: str
    means: dict[str, float]
    deviations: dict[str, float]
    images: list[list[dict[str, float]]]

    @property
    def label(self) -> str:
        """The name, with the kind where it is not a run."""
        return self.name if self.kind == "run" else f"{self.kind} {self.name}"

    def per_image(self, score: str) -> list[float]:
        """Scores in the order of the scenes, each the mean over the seeds."""
        return [fmean(image[score] for image in seeds) for seeds in zip(*self.images, strict=True)]


class Comparison(NamedTuple):
    """One method against the reference in one score, paired by image.

    Attributes:
        method: label of the row.
        score: name of the score.
        difference: mean over the images of the method's value minus the reference's.
        effect: matched-pairs rank-biserial correlation, -1 to 1; positive: better than the
            reference. 1 means better on every image.
        p: of the two-sided Wilcoxon signed-rank test; NaN with fewer than 6 images.
        p_holm: after Holm's correction over all comparisons of the table.
        images: how many pairs of finite values there are.
    """

    method: str
    score: str
    difference: float
    effect: float
    p: float
    p_holm: float
    images: int


class Ranking(NamedTuple):
    """How the rows that were scored compare.

    ``ranks[label][score]`` is the rank of a row's mean, 1 the best, ties sharing their mean rank;
    ``mean_ranks[label]`` its mean over the scores; ``intervals[label][score]`` the bootstrap
    interval of the mean over the images.
    """

    reference: str | None
    ranks: dict[str, dict[str, float]]
    mean_ranks: dict[str, float]
    intervals: dict[str, dict[str, tuple[float, float]]]
    comparisons: list[Comparison]

    def mean_rank(self, label: str, scores: Iterable[str]) -> float:
        """Return a row's mean rank over some scores: those of a table's columns."""
        return fmean(self.ranks[label][score] for score in scores)

    def place(self, label: str, score: str) -> int:
        """Return 1 for the best of several rows in a score, 2 for the second, 0 for all others."""
        if len(self.ranks) < 2:
            return 0
        rank = self.ranks.get(label, {}).get(score, 0)
        distinct = sorted({ranks[score] for ranks in self.ranks.values() if score in ranks})
        return distinct.index(rank) + 1 if rank in distinct[:2] else 0


class Evaluation(NamedTuple):
    """All that was scored: what the terminal, the files and the report are made of.

    ``metrics`` are the scores computed, in the order of the columns; ``pairs`` is how many pairs
    the source folders have, scored or not.
    """

    protocol: Protocol
    metrics: dict[str, Metric]
    dataset: str | None
    runs: list[Run]
    scenes: list[Scene]
    pairs: int
    rows: list[Row]
    ranking: Ranking
    leftovers: dict[str, list[str]]
    errors: list[str]
    notes: list[str]


def rows_of(runs: list[Run], scored: list[SceneScores]) -> list[Row]:
    """Average over ``scored``: a row per run, then one per baseline."""
    rows = []
    for index, run in enumerate(runs):
        seeds = [[scene.runs[index][seed] for scene in scored] for seed in range(len(run.folders))]
        rows.append(_row(run.name, "run", ", ".join(map(str, run.folders)), seeds))
    for name in scored[0].baselines:
        images = [scene.baselines[name] for scene in scored]
        rows.append(_row(name, "baseline", "made of the two sources", [images]))
    return rows


def _row(name: str, kind: str, source: str, seeds: list[list[dict[str, float]]]) -> Row:
    means, deviations = {}, {}
    for score in seeds[0][0]:
        per_seed = [fmean(image[score] for image in images) for images in seeds]
        means[score] = fmean(per_seed)
        if len(seeds) > 1:
            deviations[score] = stdev(per_seed) if all(map(math.isfinite, per_seed)) else 0.0
    return Row(name, kind, source, means, deviations, seeds)


def published_rows(dataset: str, protocol: Protocol) -> list[Row]:
    """Rows published for a key of `PUBLISHED`, in the scores that ``protocol`` does not change."""
    same = {n for n, metric in protocol.metrics.items() if "release" in metric.protocols}
    rows = []
    for row in PUBLISHED[dataset].rows:
        means = {score: value for score, value in row.scores.items() if score in same}
        rows.append(Row(row.method, "published", row.source, means, {}, []))
    return rows
