"""Means over the images, and the tables made of them: terminal, scores.csv, summary.json."""

import csv
import json
import math
import platform
from importlib.metadata import version
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

import cddfuse_jax
from cddfuse_jax.evaluation.scoring import Run, Scene, SceneScores
from cddfuse_jax.metrics import METRICS
from cddfuse_jax.metrics.protocols import MEANINGS, PAPER_SCORES, Protocol
from cddfuse_jax.metrics.published import PUBLISHED


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


class Evaluation(NamedTuple):
    """All that was scored: what the terminal, the files and the report are made of."""

    protocol: Protocol
    dataset: str | None
    runs: list[Run]
    scenes: list[Scene]
    rows: list[Row]
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
    for score in METRICS:
        per_seed = [fmean(image[score] for image in images) for images in seeds]
        means[score] = fmean(per_seed)
        if len(seeds) > 1:
            deviations[score] = stdev(per_seed) if all(map(math.isfinite, per_seed)) else 0.0
    return Row(name, kind, source, means, deviations, seeds)


def published_rows(dataset: str, protocol: Protocol) -> list[Row]:
    """Rows published for a key of `PUBLISHED`, without the scores that ``protocol`` changes."""
    changed = {change.score for change in protocol.changes}
    return [
        Row(
            row.method,
            "published",
            row.source,
            {score: value for score, value in row.scores.items() if score not in changed},
            {},
            [],
        )
        for row in PUBLISHED[dataset].rows
    ]


def cell(row: Row, score: str, digits: int = 2) -> str:
    """Write one mean, "7.12" or "7.12 ± 0.03", or "-" where the row has none."""
    if score not in row.means:
        return "-"
    text = f"{row.means[score]:z.{digits}f}"
    return f"{text} ± {row.deviations[score]:.{digits}f}" if row.deviations else text


def terminal_table(evaluation: Evaluation) -> str:
    """Lay out the release's table: a title with the protocol, then a line per row, 8 scores."""
    lines = [["", *PAPER_SCORES]]
    lines += [[r.label, *(cell(r, score) for score in PAPER_SCORES)] for r in evaluation.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [title(evaluation)]
    for name, *cells in lines:
        padded = [c.rjust(width) for c, width in zip(cells, widths[1:], strict=True)]
        text.append("  ".join([name.ljust(widths[0]), *padded]).rstrip())
    return "\n".join(text)


def title(evaluation: Evaluation) -> str:
    """Name the protocol, the dataset, and what the figures are means of."""
    protocol, count = evaluation.protocol, len(evaluation.scenes)
    parts = [f"protocol {protocol.name} ({protocol.summary})"]
    parts += [evaluation.dataset] if evaluation.dataset else []
    parts += [f"means over {count} image{'s' if count > 1 else ''}"]
    if any(row.deviations for row in evaluation.rows):
        parts.append("± is the standard deviation over seeds")
    return "; ".join(parts)


def versions() -> dict[str, str]:
    """List the versions that the scores depend on."""
    names = ("numpy", "scipy", "scikit-image", "pillow")
    return {
        "cddfuse-jax": cddfuse_jax.__version__,
        "python": platform.python_version(),
    } | {name: version(name) for name in names}


def write_csv(path: Path, evaluation: Evaluation) -> None:
    """Write a line per image, row and seed: protocol, kind, name, folder, image, scores."""
    folders = {run.name: [str(folder) for folder in run.folders] for run in evaluation.runs}
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["protocol", "kind", "name", "folder", "image", *METRICS])
        for row in evaluation.rows:
            for seed, images in enumerate(row.images):
                folder = folders[row.name][seed] if row.kind == "run" else ""
                for scene, scores in zip(evaluation.scenes, images, strict=True):
                    start = [evaluation.protocol.name, row.kind, row.name, folder, scene.pair.name]
                    writer.writerow(start + [f"{scores[score]:.10g}" for score in METRICS])


def write_summary(path: Path, evaluation: Evaluation) -> None:
    """Write means and deviations with all that they depend on; an infinite PSNR is "inf"."""

    def finite(scores: dict[str, float]) -> dict:
        return {name: x if math.isfinite(x) else str(x) for name, x in scores.items()}

    summary = {
        "protocol": {
            "name": evaluation.protocol.name,
            "summary": evaluation.protocol.summary,
            "changes": [
                {"score": c.score, "change": c.change, "why": c.why}
                for c in evaluation.protocol.changes
            ],
        },
        "dataset": evaluation.dataset,
        "images": [scene.pair.name for scene in evaluation.scenes],
        "rows": [
            {
                "name": row.name,
                "kind": row.kind,
                "source": row.source,
                "seeds": len(row.images),
                "means": finite(row.means),
                "deviations_over_seeds": finite(row.deviations),
                "means_per_seed": [
                    finite({s: fmean(image[s] for image in images) for s in METRICS})
                    for images in row.images
                ],
            }
            for row in evaluation.rows
        ],
        "not_scored": {"leftovers": evaluation.leftovers, "errors": evaluation.errors},
        "notes": evaluation.notes,
        "units": {score: meaning.unit for score, meaning in MEANINGS.items()},
        "versions": versions(),
    }
    text = json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
