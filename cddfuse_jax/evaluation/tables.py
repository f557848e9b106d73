"""The tables of an evaluation: terminal, scores.csv, means.csv, summary.json, LaTeX."""

import csv
import json
import math
import platform
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any

from cddfuse_jax._version import __version__
from cddfuse_jax.evaluation.ranking import Ranking
from cddfuse_jax.evaluation.rows import Evaluation, Row

_MEANS_COLUMNS = (
    "protocol", "version", "kind", "name", "score", "better", "mean", "low", "high", "rank",
    "reference", "difference", "effect", "p", "p_holm",
)  # fmt: skip
ODD = "backslashreplace"  # of names that are not UTF-8
VERSION = f"cddfuse-jax {__version__}"  # that computed a line
MARKS = {0: "", 1: "*", 2: "+"}  # of the best and the second row in a score


def cell(row: Row, score: str, digits: int = 2) -> str:
    """Write one mean, "7.12" or "7.12 ± 0.03", or "-" where the row has none."""
    if score not in row.means:
        return "-"
    digits = decimals(row, score, digits)
    text = f"{row.means[score]:z.{digits}f}"
    return f"{text} ± {row.deviations[score]:.{digits}f}" if row.deviations else text


def decimals(row: Row, score: str, least: int = 2) -> int:
    """Return how many decimals give a small mean two significant digits; ``least`` if published."""
    value = abs(row.means[score])
    small = row.images and 1e-6 < value < 0.1
    return max(least, 1 - math.floor(math.log10(value))) if small else least


def columns(evaluation: Evaluation) -> list[str]:
    """Choose the scores of the printed table: those of the protocol's, else all computed."""
    table = [name for name in evaluation.protocol.table if name in evaluation.metrics]
    chosen = list(evaluation.metrics)
    return table if set(chosen) >= set(evaluation.protocol.metrics) else chosen


def terminal_table(evaluation: Evaluation) -> str:
    """Lay out the table of means: a title with the protocol, then a line per row.

    With several runs the best row of each score has a * and the second a +, and the mean rank over
    the columns shown is at the end.
    """
    shown, ranking, ranked = columns(evaluation), evaluation.ranking, len(evaluation.runs) > 1
    arrows = {s: evaluation.metrics[s].arrow if ranked else "" for s in shown}
    lines = [["", *(s + arrows[s] for s in shown), *(["mean rank"] if ranked else [])]]
    for row in evaluation.rows:
        cells = [cell(row, score) for score in shown]
        if ranked:
            marks = [MARKS[ranking.place(row.label, score)] or " " for score in shown]
            cells = [c + mark for c, mark in zip(cells, marks, strict=True)]
            cells.append(f"{ranking.mean_rank(row.label, shown):.2f}" if row.images else "-")
        lines.append([row.label, *cells])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [title(evaluation)]
    for name, *cells in lines:
        padded = [c.rjust(width) for c, width in zip(cells, widths[1:], strict=True)]
        text.append("  ".join([name.ljust(widths[0]), *padded]).rstrip())
    if ranked:
        text.append("* best, + second; mean rank: over these columns, 1 is best")
        text += comparison_lines(ranking)
    return "\n".join(text)


def comparison_lines(ranking: Ranking, level: float = 0.05) -> list[str]:
    """Say, a line per method, in which scores it differs from the reference beyond chance."""
    lines = []
    if ranking.reference:
        lines.append(
            f"compared with {ranking.reference}, paired by image (Wilcoxon, Holm's correction, p < "
            f"{level:g}):"
        )
    for method in dict.fromkeys(c.method for c in ranking.comparisons):
        own = [c for c in ranking.comparisons if c.method == method]
        better = [c.score for c in own if c.p_holm < level and c.effect > 0]
        worse = [c.score for c in own if c.p_holm < level and c.effect < 0]
        open_ = len(own) - len(better) - len(worse)
        parts = [f"better in {', '.join(better)}"] if better else []
        parts += [f"worse in {', '.join(worse)}"] if worse else []
        parts += [f"no difference shown in {open_}"] if open_ else []
        lines.append(f"  {method}: {'; '.join(parts)}")
    return lines


def title(evaluation: Evaluation) -> str:
    """Name the protocol, the dataset, and what the figures are means of."""
    protocol, count = evaluation.protocol, len(evaluation.scenes)
    parts = [f"protocol {protocol.name} ({protocol.summary})"]
    parts += [evaluation.dataset] if evaluation.dataset else []
    of = f"{count} of {evaluation.pairs}" if count < evaluation.pairs else str(count)
    parts += [f"means over {of} pair{'s' if evaluation.pairs > 1 else ''}"]
    if any(row.deviations for row in evaluation.rows):
        parts.append("± is the standard deviation over seeds")
    return "; ".join(parts)


def versions() -> dict[str, str]:
    """List the versions that the scores depend on."""
    names = ("numpy", "scipy", "scikit-image", "pillow")
    return {
        "cddfuse-jax": __version__,
        "python": platform.python_version(),
    } | {name: version(name) for name in names}


def write_csv(path: Path, evaluation: Evaluation) -> None:
    """Write a line per image, row and seed: what scored, what was scored, its scores."""
    folders = {run.name: [str(folder) for folder in run.folders] for run in evaluation.runs}
    names = list(evaluation.metrics)
    with open(path, "w", newline="", encoding="utf-8", errors=ODD) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["protocol", "version", "kind", "name", "folder", "image", *names])
        for row in evaluation.rows:
            for seed, images in enumerate(row.images):
                folder = folders[row.name][seed] if row.kind == "run" else ""
                for scene, scores in zip(evaluation.scenes, images, strict=True):
                    start = [evaluation.protocol.name, VERSION, row.kind, row.name, folder]
                    start += [scene.pair.name]
                    writer.writerow(start + [f"{scores[score]:.10g}" for score in names])


def write_means(path: Path, evaluation: Evaluation) -> None:
    """Write a line per row and score: mean, interval, rank, and the comparison's figures."""
    ranking = evaluation.ranking
    compared = {(c.method, c.score): c for c in ranking.comparisons}
    with open(path, "w", newline="", encoding="utf-8", errors=ODD) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_MEANS_COLUMNS)
        for row in (row for row in evaluation.rows if row.images):
            for name, metric in evaluation.metrics.items():
                low, high = ranking.intervals[row.label][name]
                numbers = [row.means[name], low, high, ranking.ranks[row.label][name]]
                line = [evaluation.protocol.name, VERSION, row.kind, row.name, name, metric.better]
                line += [_number(x) for x in numbers]
                if c := compared.get((row.label, name)):
                    line.append(str(ranking.reference))
                    line += [_number(x) for x in (c.difference, c.effect, c.p, c.p_holm)]
                else:
                    line += [""] * 5
                writer.writerow(line)


def write_summary(path: Path, evaluation: Evaluation) -> None:
    """Write means and deviations with all that they depend on; an infinite PSNR is "inf"."""
    ranking = evaluation.ranking
    summary = {
        "protocol": {
            "name": evaluation.protocol.name,
            "summary": evaluation.protocol.summary,
            "changes": [
                {"score": m.name, "change": m.change, "why": m.why}
                for m in evaluation.protocol.changes
            ],
        },
        "dataset": evaluation.dataset,
        "images": [scene.pair.name for scene in evaluation.scenes],
        "pairs": evaluation.pairs,
        "rows": [_summary_of(row, ranking) for row in evaluation.rows],
        "reference": ranking.reference,
        "comparisons": [c._asdict() for c in ranking.comparisons],
        "not_scored": {"leftovers": evaluation.leftovers, "errors": evaluation.errors},
        "notes": evaluation.notes,
        "units": {name: metric.unit for name, metric in evaluation.metrics.items()},
        "better": {name: metric.better for name, metric in evaluation.metrics.items()},
        "sources": {name: metric.source for name, metric in evaluation.metrics.items()},
        "versions": versions(),
    }
    text = json.dumps(_plain(summary), indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8", errors=ODD)


def _summary_of(row: Row, ranking: Ranking) -> dict:
    return {
        "name": row.name,
        "kind": row.kind,
        "source": row.source,
        "seeds": len(row.images),
        "means": row.means,
        "intervals": ranking.intervals.get(row.label, {}),
        "ranks": ranking.ranks.get(row.label, {}),
        "mean_rank": ranking.mean_ranks.get(row.label),
        "deviations_over_seeds": row.deviations,
        "means_per_seed": [
            {s: fmean(image[s] for image in images) for s in row.means} for images in row.images
        ],
    }


def _plain(x: Any) -> Any:
    """Return infinities as "inf" and NaN, what could not be tested, as null: JSON knows neither."""
    if isinstance(x, dict):
        return {name: _plain(value) for name, value in x.items()}
    if isinstance(x, list | tuple):
        return [_plain(value) for value in x]
    if not isinstance(x, float) or math.isfinite(x):
        return x
    return None if math.isnan(x) else str(x)


def _number(x: float) -> str:
    return "" if math.isnan(x) else f"{x:.10g}"
