"""The report: one HTML page with means, intervals and images, which needs no network."""

import base64
import io
import math
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

from cddfuse_jax.console import progress
from cddfuse_jax.evaluation.ranking import CONFIDENCE, by_disagreement
from cddfuse_jax.evaluation.rows import Evaluation, Row
from cddfuse_jax.evaluation.tables import ODD, cell, comparison_lines, decimals, title, versions
from cddfuse_jax.images.image_files import read_image

PAGE_BYTES = 8_000_000  # of all images together
_BYTES_PER_PIXEL = 0.2  # of a JPEG at that quality, as measured on detailed images
_QUALITY = 85
_SMALLEST, _LARGEST = 288, 640  # longer side of an image in pixels


def write_report(path: Path, evaluation: Evaluation) -> None:
    """Write the page.

    Images are embedded as JPEG of at most 640 pixels, smaller the more there are; beyond
    `PAGE_BYTES` only those on which the methods differ most are shown.
    """
    shown, side = chosen(evaluation)
    ranking, runs = evaluation.ranking, [run.name for run in evaluation.runs]

    def interval(row: Row, score: str) -> str:
        low, high = ranking.intervals.get(row.label, {}).get(score, (math.nan, math.nan))
        digits = decimals(row, score) if math.isfinite(low + high) else 0
        return f"{low:.{digits}f} to {high:.{digits}f}" if digits else ""

    template = (files("cddfuse_jax.evaluation") / "report.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    text = environment.from_string(template).render(
        heading=f"Fusion scores: {evaluation.dataset or ', '.join(runs)}",
        summary=title(evaluation),
        metrics=evaluation.metrics,
        rows=evaluation.rows,
        ranking=ranking,
        cell=cell,
        interval=interval,
        confidence=f"{CONFIDENCE:.0%}",
        comparisons=comparison_lines(ranking),
        lists={
            "Notes": evaluation.notes,
            "Not scored, because of a problem": evaluation.errors,
            "Not scored, because not in all folders": [
                f"{folder}: {', '.join(names)}" for folder, names in evaluation.leftovers.items()
            ],
        },
        scenes=[_scene(evaluation, i, side) for i in progress(shown, "report", unit="image")],
        total=len(evaluation.scenes),
        side=side,
        versions=", ".join(f"{name} {number}" for name, number in versions().items()),
    )
    path.write_text(text, encoding="utf-8", errors=ODD)


def chosen(evaluation: Evaluation) -> tuple[list[int], int]:
    """Choose the scenes to show, most disagreed on first, and an image's longer side in pixels."""
    order, each = by_disagreement(evaluation.rows, evaluation.metrics), 2 + len(evaluation.runs)
    pixels = PAGE_BYTES * 0.75 / _BYTES_PER_PIXEL / each  # base64 makes 4 bytes of 3
    side = int(math.sqrt(pixels / len(order) * 4 / 3))
    most = max(1, int(pixels / (_SMALLEST**2 * 3 / 4)))
    return order[:most], min(max(side, _SMALLEST), _LARGEST)


def _scene(evaluation: Evaluation, index: int, side: int) -> dict[str, Any]:
    """Return what the page shows of one scene: its images, and the scores of each row."""
    scene = evaluation.scenes[index]
    pictures = [
        _picture("visible", scene.pair.visible, side),
        _picture("infrared", scene.pair.infrared, side),
    ]
    for run, paths in zip(evaluation.runs, scene.fused, strict=True):
        label = run.name if len(paths) == 1 else f"{run.name} (first of {len(paths)} seeds)"
        pictures.append(_picture(label, paths[0], side, fused=True))
    scores = {
        row.label: [row.per_image(score)[index] for score in evaluation.metrics]
        for row in evaluation.rows
        if row.images
    }
    return {"name": scene.pair.name, "pictures": pictures, "scores": scores}


def _picture(label: str, path: Path, side: int, fused: bool = False) -> dict[str, str]:
    image = Image.fromarray(read_image(path, fused))
    size = f"{image.width}×{image.height}"
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    data = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
    return {"label": label, "file": f"{path.parent.name}/{path.name}", "size": size, "data": data}
