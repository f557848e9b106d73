"""Several methods on the same images: ranks, and what of their differences is beyond chance."""

import math

import numpy as np
import scipy  # whose parts are imported when first used

from cddfuse_jax.evaluation.rows import Comparison, Ranking, Row
from cddfuse_jax.metrics.record import Metric

CONFIDENCE = 0.95
RESAMPLES = 9999
_FEWEST = 6  # images below which no outcome of the test could reach p = 0.05


def rank(rows: list[Row], metrics: dict[str, Metric], reference: str | None) -> Ranking:
    """Rank the rows that were scored here, and compare them with the one labelled ``reference``.

    Published rows have no images, and take no part.
    """
    scored = [row for row in rows if row.images]
    values = {
        (row.label, name): np.array(row.per_image(name)) for row in scored for name in metrics
    }
    ranks: dict[str, dict[str, float]] = {row.label: {} for row in scored}
    for name, metric in metrics.items():
        means = [row.means[name] * (-1 if metric.higher_is_better else 1) for row in scored]
        for row, position in zip(scored, scipy.stats.rankdata(means), strict=True):
            ranks[row.label][name] = float(position)
    return Ranking(
        reference,
        ranks,
        {label: float(np.mean(list(of.values()))) for label, of in ranks.items()},
        {row.label: _intervals(row.label, metrics, values) for row in scored},
        _comparisons(scored, metrics, values, reference) if reference else [],
    )


def _intervals(label: str, metrics, values) -> dict[str, tuple[float, float]]:
    """Bias-corrected and accelerated bootstrap intervals of the means, over the images."""
    intervals = {}
    for name in metrics:
        of = values[label, name]
        if len(of) < 2 or not np.isfinite(of).all():
            intervals[name] = (math.nan, math.nan)
        elif np.ptp(of) == 0:
            intervals[name] = (float(of[0]), float(of[0]))
        else:
            found = scipy.stats.bootstrap(
                (of,),
                np.mean,
                n_resamples=RESAMPLES,
                batch=max(1, 2_000_000 // len(of)),
                confidence_level=CONFIDENCE,
                method="BCa",
                random_state=np.random.default_rng(0),
            ).confidence_interval
            intervals[name] = (float(found.low), float(found.high))
    return intervals


def _comparisons(scored: list[Row], metrics, values, reference: str) -> list[Comparison]:
    found = []
    for row in scored:
        if row.label == reference:
            continue
        for name, metric in metrics.items():
            difference = values[row.label, name] - values[reference, name]
            difference = difference[np.isfinite(difference)]
            sign = 1 if metric.higher_is_better else -1
            mean = float(difference.mean()) if difference.size else math.nan
            effect, p = _signed_ranks(difference * sign)
            found.append(Comparison(row.label, name, mean, effect, p, p, len(difference)))
    corrected = holm([c.p for c in found])
    return [c._replace(p_holm=p) for c, p in zip(found, corrected, strict=True)]


def _signed_ranks(differences: np.ndarray) -> tuple[float, float]:
    """Effect and p of paired differences; images without a difference are left out, as is usual."""
    differences = differences[differences != 0]
    if not differences.size:
        return 0.0, 1.0
    ranks = scipy.stats.rankdata(np.abs(differences))
    effect = float((ranks * np.sign(differences)).sum() / ranks.sum())
    if len(differences) < _FEWEST:
        return effect, math.nan
    return effect, float(scipy.stats.wilcoxon(differences).pvalue)


def holm(p_values: list[float]) -> list[float]:
    """Correct p values for their number (Holm, 1979); NaN stays and does not count.

    Sorted upwards, the k-th of m is multiplied by m - k + 1, never falls below the one before
    and never exceeds 1.
    """
    finite = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    corrected, highest = list(p_values), 0.0
    for position, (p, index) in enumerate(finite):
        highest = max(highest, min(1.0, p * (len(finite) - position)))
        corrected[index] = highest
    return corrected


def by_disagreement(rows: list[Row], metrics: dict[str, Metric]) -> list[int]:
    """Order the images by how much the methods differ on them, most first.

    A score's spread over the methods (highest minus lowest), in units of that score's standard
    deviation over all images and methods, averaged over the scores.
    """
    scored = [row for row in rows if row.images]
    total = np.zeros(len(scored[0].images[0]))  # of a seed: an image each
    for name in metrics:
        values = np.array([row.per_image(name) for row in scored])
        values = np.where(np.isfinite(values), values, np.nan)
        unit = np.nanstd(values) if np.isfinite(values).any() else 0.0
        if unit > 0:
            filled = np.where(np.isnan(values), np.nanmean(values), values)
            total = total + np.ptp(filled, axis=0) / unit
    return [int(i) for i in np.argsort(-total, kind="stable")]
