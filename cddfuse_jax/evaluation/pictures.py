"""The pictures of the report: a tab per scene, all methods side by side with their scores."""

import base64
import io
import math
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from cddfuse_jax.console import progress
from cddfuse_jax.evaluation.ranking import by_disagreement
from cddfuse_jax.evaluation.rows import Evaluation, Row
from cddfuse_jax.images.image_files import read_image

PICTURE_BYTES = 8_000_000  # for all pictures of a page, so that it stays a few MB
_BYTES_PER_PIXEL = 0.2  # of a JPEG at that quality, as measured on detailed images
_QUALITY = 85
_SMALLEST, _LARGEST = 288, 640  # longer side of a picture in pixels


def pictured(evaluation: Evaluation) -> tuple[list[int], int]:
    """Choose the scenes to picture, most disagreed on first, and a picture's longer side.

    Beyond what `PICTURE_BYTES` holds, scenes that are best or worst in a score come first, then
    those on which the methods differ most.
    """
    scenes, per_scene = evaluation.scenes, 2 + len(evaluation.runs)
    order = by_disagreement(evaluation.rows, evaluation.metrics)
    pixels = PICTURE_BYTES * 0.75 / _BYTES_PER_PIXEL  # base64 makes 4 bytes of 3
    side = math.sqrt(pixels / (len(scenes) * per_scene) * 4 / 3)
    most = max(1, int(pixels / (per_scene * _SMALLEST**2 * 3 / 4)))
    if len(scenes) <= most:
        return order, int(min(side, _LARGEST))
    wanted: dict[int, Any] = {}
    for row in (row for row in evaluation.rows if row.kind == "run"):
        for score in evaluation.metrics:
            values = row.per_image(score)
            wanted |= dict.fromkeys((values.index(max(values)), values.index(min(values))))
    wanted |= dict.fromkeys(order)
    kept = set(list(wanted)[:most])
    return [index for index in order if index in kept], _SMALLEST


def tabs(evaluation: Evaluation, shown: list[int]) -> str:
    """Write a button per scene, in the order of the panels."""
    return "".join(
        f'<button type="button" role="tab" id="tab-{index}" aria-controls="image-{index}" '
        f'aria-selected="{"true" if place == 0 else "false"}" '
        f'tabindex="{0 if place == 0 else -1}">{escape(evaluation.scenes[index].pair.name)}'
        "</button>"
        for place, index in enumerate(shown)
    )


def panels(evaluation: Evaluation, shown: list[int], side: int, sortable, heading) -> str:
    """Write a panel per scene: its pictures, and a table of all methods' scores on it."""
    measured = [row for row in evaluation.rows if row.images]
    values = {
        (row.label, score): row.per_image(score) for row in measured for score in evaluation.metrics
    }
    first = evaluation.runs[0].name
    parts = []
    for place, index in enumerate(progress(shown, "report", unit="image")):
        scene = evaluation.scenes[index]
        figures = [
            _figure("visible", scene.pair.visible, side),
            _figure("infrared", scene.pair.infrared, side),
        ]
        for run, paths in zip(evaluation.runs, scene.fused, strict=True):
            label = run.name if len(paths) == 1 else f"{run.name} (first of {len(paths)} seeds)"
            figures.append(_figure(label, paths[0], side, fused=True))
        sorting = " ".join(
            f'data-{score.lower()}="{values[first, score][index]:.6g}"'
            for score in evaluation.metrics
        )
        table = sortable(
            ["fused by", *evaluation.metrics], _lines(measured, evaluation, values, index), heading
        )
        parts.append(
            f'<article id="image-{index}" role="tabpanel" aria-labelledby="tab-{index}" '
            f'data-differ="{-place}" data-index="{index}" {sorting}>'
            f"<h3>{escape(scene.pair.name)}</h3><div>{''.join(figures)}</div>{table}</article>"
        )
    return "".join(parts)


def _lines(rows: list[Row], evaluation: Evaluation, values, index: int) -> list[str]:
    lines, best = [], {}
    for score, metric in evaluation.metrics.items():
        of = [values[row.label, score][index] for row in rows]
        best[score] = max(of) if metric.higher_is_better else min(of)
    for row in rows:
        cells = []
        for score in evaluation.metrics:
            value = values[row.label, score][index]
            mark = ' class="best"' if value == best[score] else ""
            cells.append(f'<td{mark} data-value="{value:.6g}">{value:.3f}</td>')
        name = f'<th scope="row">{escape(row.label)}</th>'
        lines.append(f'<tr class="{row.kind}">{name}{"".join(cells)}</tr>')
    return lines


def _figure(label: str, path: Path, side: int, fused: bool = False) -> str:
    image = Image.fromarray(read_image(path, fused))
    width, height = image.size
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return (
        f'<figure><img loading="lazy" alt="{escape(f"{path.stem}, {label}")}" '
        f'width="{image.width}" height="{image.height}" src="data:image/jpeg;base64,{data}">'
        f"<figcaption><b>{escape(label)}</b> {escape(f'{path.parent.name}/{path.name}')} "
        f"{width}×{height}</figcaption></figure>"
    )
