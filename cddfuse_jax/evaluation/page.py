"""The report: one HTML page with scores, distributions and pictures, which needs no network."""

import base64
import io
import math
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from PIL import Image

from cddfuse_jax.console import progress
from cddfuse_jax.evaluation.plots import distribution_plot
from cddfuse_jax.evaluation.tables import Evaluation, Row, cell, title, versions
from cddfuse_jax.images.image_files import read_image
from cddfuse_jax.metrics import METRICS
from cddfuse_jax.metrics.protocols import MEANINGS

PICTURE_BYTES = 5_000_000  # for all pictures of a page, so that it stays a few MB
_BYTES_PER_PIXEL = 0.2  # of a JPEG at that quality, as measured on detailed images
_QUALITY = 85
_SMALLEST, _LARGEST = 320, 640  # longer side of a picture in pixels


def write_report(path: Path, evaluation: Evaluation) -> None:
    """Write the page.

    Pictures are embedded as JPEG of at most 640 pixels, smaller the more there are; beyond a few
    hundred, only scenes that are best or worst in a score are sure to be shown.
    """
    page = Template((files("cddfuse_jax.evaluation") / "page.html").read_text(encoding="utf-8"))
    measured = [row for row in evaluation.rows if row.images]
    runs = [row for row in evaluation.rows if row.kind == "run"]
    published = [row for row in evaluation.rows if row.kind == "published"]
    names = [scene.pair.name for scene in evaluation.scenes]
    shown, side = pictured(evaluation)
    plots = [
        f"<figure><figcaption>{_heading(score)}</figcaption>"
        f"{distribution_plot(score, evaluation.rows, names)}</figure>"
        for score in METRICS
    ]
    text = page.substitute(
        title=escape(f"Fusion scores: {evaluation.dataset or ', '.join(r.name for r in runs)}"),
        summary=escape(title(evaluation)),
        means=_means_table(evaluation.rows),
        notes=_list("Notes", evaluation.notes),
        plots="".join(plots),
        broken=_broken_line(published),
        extremes="".join(_extremes(row, names, set(shown)) for row in runs),
        order="".join(f'<option value="{s}">{s}</option>' for s in METRICS),
        first=escape(runs[0].name),
        pictures="".join(_pictures(evaluation, runs, shown, side)),
        omitted=_omitted(len(shown), len(names), side),
        images=_images_table(measured, names, set(shown)),
        meanings=_meanings(evaluation),
        left=_leftovers(evaluation),
        versions=escape(", ".join(f"{name} {number}" for name, number in versions().items())),
    )
    path.write_text(text, encoding="utf-8")


def pictured(evaluation: Evaluation) -> tuple[list[int], int]:
    """Choose the scenes to picture, as indices, and the longer side of a picture in pixels."""
    scenes, per_scene = evaluation.scenes, 2 + len(evaluation.runs)
    pixels = PICTURE_BYTES * 0.75 / _BYTES_PER_PIXEL  # base64 makes 4 bytes of 3
    side = math.sqrt(pixels / (len(scenes) * per_scene) * 4 / 3)
    most = int(pixels / (per_scene * _SMALLEST**2 * 3 / 4))
    if len(scenes) <= most:
        return list(range(len(scenes))), int(min(side, _LARGEST))
    wanted = {}
    for row in (row for row in evaluation.rows if row.kind == "run"):
        for score in METRICS:
            values = row.per_image(score)
            wanted |= dict.fromkeys((values.index(max(values)), values.index(min(values))))
    wanted |= dict.fromkeys(round(i * (len(scenes) - 1) / most) for i in range(most))
    return sorted(list(wanted)[:most]), _SMALLEST


def _pictures(evaluation: Evaluation, runs: list[Row], shown: list[int], side: int):
    values = [{score: row.per_image(score) for score in METRICS} for row in runs]
    for index in progress(shown, "report", unit="image"):
        pair, fused = evaluation.scenes[index]
        figures = [_figure("visible", pair.visible, side), _figure("infrared", pair.infrared, side)]
        for row, paths, of_row in zip(runs, fused, values, strict=True):
            scores = {score: of_row[score][index] for score in METRICS}
            label = row.name if len(paths) == 1 else f"{row.name} (first of {len(paths)} seeds)"
            figures.append(_figure(label, paths[0], side, scores))
        first = {score.lower(): values[0][score][index] for score in METRICS}
        sorting = " ".join(f'data-{score}="{value:.6g}"' for score, value in first.items())
        yield (
            f'<article id="image-{index}" data-index="{index}" {sorting}>'
            f"<h3>{escape(pair.name)}</h3><div>{''.join(figures)}</div></article>"
        )


def _figure(label: str, path: Path, side: int, scores: dict[str, float] | None = None) -> str:
    image = Image.fromarray(read_image(path))
    width, height = image.size
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    numbers = "".join(f"<span>{s}&nbsp;{x:.2f}</span> " for s, x in (scores or {}).items())
    return (
        f'<figure><img loading="lazy" alt="{escape(f"{path.stem}, {label}")}" '
        f'width="{image.width}" height="{image.height}" src="data:image/jpeg;base64,{data}">'
        f"<figcaption><b>{escape(label)}</b> {escape(f'{path.parent.name}/{path.name}')} "
        f"{width}×{height} {numbers}</figcaption></figure>"
    )


def _means_table(rows: list[Row]) -> str:
    lines = []
    for row in rows:
        cells = []
        for score in METRICS:
            rivals = [other.means[score] for other in rows if other.images]
            best = max(rivals) if MEANINGS[score].higher_is_better else min(rivals)
            mark = ' class="best"' if row.images and row.means[score] == best else ""
            value = row.means.get(score, "")
            cells.append(f'<td{mark} data-value="{value}">{cell(row, score)}</td>')
        name = f'<th scope="row" title="{escape(row.source)}">{escape(row.label)}</th>'
        lines.append(f'<tr class="{row.kind}">{name}{"".join(cells)}</tr>')
    return _sortable(["", *METRICS], lines)


def _images_table(rows: list[Row], names: list[str], shown: set[int]) -> str:
    values = {(id(row), score): row.per_image(score) for row in rows for score in METRICS}
    lines = []
    for index, name in enumerate(names):
        for row in rows:
            cells = (values[id(row), score][index] for score in METRICS)
            numbers = "".join(f'<td data-value="{x:.10g}">{x:.3f}</td>' for x in cells)
            lines.append(
                f'<tr class="{row.kind}"><th scope="row">{_link(index, name, shown)}</th>'
                f"<td>{escape(row.label)}</td>{numbers}</tr>"
            )
    return _sortable(["image", "fused by", *METRICS], lines)


def _sortable(headings: list[str], lines: list[str]) -> str:
    heads = "".join(
        f'<th scope="col"><button type="button">{_heading(h) if h in METRICS else h or "name"}'
        "</button></th>"
        for h in headings
    )
    return (
        f'<div class="wide"><table class="sortable"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _heading(score: str) -> str:
    meaning = MEANINGS[score]
    arrow = "↑" if meaning.higher_is_better else "↓"
    return f'<abbr title="{escape(f"{meaning.text} ({meaning.unit})")}">{score}</abbr> {arrow}'


def _extremes(row: Row, names: list[str], shown: set[int]) -> str:
    lines = []
    for score in METRICS:
        values = row.per_image(score)
        worst, best = values.index(min(values)), values.index(max(values))
        if not MEANINGS[score].higher_is_better:
            worst, best = best, worst
        cells = "".join(
            f"<td>{_link(i, names[i], shown)}</td><td>{values[i]:.3f}</td>" for i in (best, worst)
        )
        lines.append(f'<tr><th scope="row">{_heading(score)}</th>{cells}</tr>')
    return (
        f'<div class="wide"><table><caption>{escape(row.name)}</caption><thead><tr><th></th>'
        '<th colspan="2" scope="col">best</th><th colspan="2" scope="col">worst</th></tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _link(index: int, name: str, shown: set[int]) -> str:
    return f'<a href="#image-{index}">{escape(name)}</a>' if index in shown else escape(name)


def _omitted(shown: int, total: int, side: int) -> str:
    kept = "" if shown == total else f"{shown} of {total} images are pictured, to keep this small. "
    return f"{kept}Pictures are reduced to {side} pixels or less; click one to enlarge it."


def _meanings(evaluation: Evaluation) -> str:
    changed = {change.score: change for change in evaluation.protocol.changes}
    lines = []
    for score, meaning in MEANINGS.items():
        better = "higher" if meaning.higher_is_better else "lower"
        how = "as in the release"
        if score in changed:
            how = f"{changed[score].change}. Why: {changed[score].why}."
        cells = "".join(f"<td>{escape(c)}</td>" for c in (meaning.unit, better, meaning.text, how))
        lines.append(f'<tr><th scope="row">{score}</th>{cells}</tr>')
    heads = ("score", "unit", "better", "what it measures", f"protocol {evaluation.protocol.name}")
    columns = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    return (
        f'<div class="wide"><table class="words"><thead><tr>{columns}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _leftovers(evaluation: Evaluation) -> str:
    left = [f"{folder}: {', '.join(names)}" for folder, names in evaluation.leftovers.items()]
    failed = _list("Not scored, because of a problem", evaluation.errors)
    return failed + _list("Not scored, because not in all folders", left)


def _list(heading: str, lines: list[str]) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<h3>{heading}</h3><ul>{items}</ul>" if lines else ""


def _broken_line(published: list[Row]) -> str:
    return f" The broken line is {escape(published[0].label)}." if published else ""
