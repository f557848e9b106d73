"""The report: one HTML page with scores, distributions and pictures, which needs no network."""

from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from cddfuse_jax.evaluation.pictures import panels, pictured, tabs
from cddfuse_jax.evaluation.plots import distribution_plot
from cddfuse_jax.evaluation.ranking import CONFIDENCE, Ranking
from cddfuse_jax.evaluation.rows import Evaluation, Row
from cddfuse_jax.evaluation.style import page_style
from cddfuse_jax.evaluation.tables import cell, title, versions
from cddfuse_jax.metrics.record import Metric

_PLACES = {1: ' class="best"', 2: ' class="second"'}


def write_report(path: Path, evaluation: Evaluation) -> None:
    """Write the page.

    Pictures are embedded as JPEG of at most 640 pixels, smaller the more there are; beyond what a
    page of some MB holds, only scenes that are best or worst in a score are sure to be shown.
    """
    page = Template((files("cddfuse_jax.evaluation") / "page.html").read_text(encoding="utf-8"))
    measured = [row for row in evaluation.rows if row.images]
    runs = [row for row in evaluation.rows if row.kind == "run"]
    published = [row for row in evaluation.rows if row.kind == "published"]
    names = [scene.pair.name for scene in evaluation.scenes]
    metrics = evaluation.metrics
    shown, side = pictured(evaluation)

    def heading(score: str) -> str:
        return _heading(metrics[score]) if score in metrics else escape(score) or "name"

    plots = [
        f"<figure><figcaption>{heading(score)}</figcaption>"
        f"{distribution_plot(score, evaluation.rows, names)}</figure>"
        for score in metrics
    ]
    text = page.substitute(
        style=page_style(),
        title=escape(f"Fusion scores: {evaluation.dataset or ', '.join(r.name for r in runs)}"),
        summary=escape(title(evaluation)),
        means=_means_table(evaluation, heading),
        compared=_comparisons(evaluation.ranking, metrics, heading),
        notes=_list("Notes", evaluation.notes),
        plots="".join(plots),
        broken=_broken_line(published),
        extremes="".join(_extremes(row, names, metrics, set(shown)) for row in runs),
        order="".join(f'<option value="{s.lower()}">{s}</option>' for s in metrics),
        first=escape(runs[0].name),
        tabs=tabs(evaluation, shown),
        pictures=panels(evaluation, shown, side, _sortable, heading),
        omitted=_omitted(len(shown), len(names), side),
        images=_images_table(measured, names, metrics, set(shown), heading),
        meanings=_meanings(evaluation),
        left=_leftovers(evaluation),
        versions=escape(", ".join(f"{name} {number}" for name, number in versions().items())),
    )
    path.write_text(text, encoding="utf-8")


def _means_table(evaluation: Evaluation, heading) -> str:
    lines, ranking = [], evaluation.ranking
    for row in evaluation.rows:
        cells = []
        for score in evaluation.metrics:
            mark = _PLACES.get(ranking.place(row.label, score), "")
            low, high = ranking.intervals.get(row.label, {}).get(score, (0, 0))
            title = f' title="{CONFIDENCE:.0%} interval {low:.4g} to {high:.4g}"' if high else ""
            value = row.means.get(score, "")
            cells.append(f'<td{mark}{title} data-value="{value}">{cell(row, score)}</td>')
        rank = ranking.mean_ranks.get(row.label, "")
        cells.append(f'<td data-value="{rank}">{f"{rank:.2f}" if rank else "-"}</td>')
        name = f'<th scope="row" title="{escape(row.source)}">{escape(row.label)}</th>'
        lines.append(f'<tr class="{row.kind}">{name}{"".join(cells)}</tr>')
    return _sortable(["", *evaluation.metrics, "mean rank"], lines, heading)


def _comparisons(ranking: Ranking, metrics: dict[str, Metric], heading) -> str:
    if not ranking.comparisons:
        return ""
    reference = str(ranking.reference)
    found = {(c.method, c.score): c for c in ranking.comparisons}
    lines = []
    for method in dict.fromkeys(c.method for c in ranking.comparisons):
        cells = []
        for score in metrics:
            c = found[method, score]
            mark = ""
            if c.p_holm < 0.05:
                mark = ' class="better"' if c.effect > 0 else ' class="worse"'
            title = f"difference {c.difference:.4g}, p {c.p_holm:.2g}, {c.images} images"
            cells.append(
                f'<td{mark} title="{title}" data-value="{c.effect:.4f}">{c.effect:+.2f}</td>'
            )
        lines.append(f'<tr><th scope="row">{escape(method)}</th>{"".join(cells)}</tr>')
    return (
        f"<h3>Beside {escape(reference)}, image by image</h3>"
        f"{_sortable(['', *metrics], lines, heading)}"
        '<p class="quiet">Matched-pairs rank-biserial correlation: +1 where a method is better '
        f"than {escape(reference)} on every image, -1 where worse on every one. Coloured: "
        "p below 0.05 in a two-sided Wilcoxon signed-rank test, with Holm's correction over the "
        "whole table; point at a cell to read it.</p>"
    )


def _images_table(
    rows: list[Row], names: list[str], metrics: dict[str, Metric], shown: set[int], heading
) -> str:
    values = {(row.label, score): row.per_image(score) for row in rows for score in metrics}
    lines = []
    for index, name in enumerate(names):
        for row in rows:
            cells = (values[row.label, score][index] for score in metrics)
            numbers = "".join(f'<td data-value="{x:.10g}">{x:.3f}</td>' for x in cells)
            lines.append(
                f'<tr class="{row.kind}"><th scope="row">{_link(index, name, shown)}</th>'
                f"<td>{escape(row.label)}</td>{numbers}</tr>"
            )
    return _sortable(["image", "fused by", *metrics], lines, heading)


def _sortable(headings: list[str], lines: list[str], heading) -> str:
    heads = "".join(
        f'<th scope="col"><button type="button">{heading(h)}</button></th>' for h in headings
    )
    return (
        f'<div class="wide"><table class="sortable"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _heading(metric: Metric) -> str:
    title = escape(f"{metric.measures} ({metric.unit})")
    return f'<abbr title="{title}">{metric.name}</abbr> {metric.arrow}'


def _extremes(row: Row, names: list[str], metrics: dict[str, Metric], shown: set[int]) -> str:
    lines = []
    for score, metric in metrics.items():
        values = row.per_image(score)
        worst, best = values.index(min(values)), values.index(max(values))
        if not metric.higher_is_better:
            worst, best = best, worst
        cells = "".join(
            f"<td>{_link(i, names[i], shown)}</td><td>{values[i]:.3f}</td>" for i in (best, worst)
        )
        lines.append(f'<tr><th scope="row">{_heading(metric)}</th>{cells}</tr>')
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
    lines = []
    for metric in evaluation.metrics.values():
        how = metric.source
        if metric.change:
            how = f"{metric.change}. Why: {metric.why}."
        entries = (metric.unit, metric.better, metric.measures, how)
        cells = "".join(f"<td>{escape(c)}</td>" for c in entries)
        lines.append(f'<tr><th scope="row">{metric.name}</th>{cells}</tr>')
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
