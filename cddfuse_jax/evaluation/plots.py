"""Distributions of a score over the images, as SVG that takes its colours from the page."""

import math
from html import escape
from statistics import fmean, quantiles

from cddfuse_jax.evaluation.rows import Row

WIDTH = 420
_LINE = 26  # height of a row
_LEFT, _RIGHT, _TOP, _BOTTOM = 118, 24, 6, 22
_LONGEST = 17  # characters of a row's name that fit to the left


def distribution_plot(score: str, rows: list[Row], scenes: list[str]) -> str:
    """Draw one score: a dot per image, a bar over the middle half, a mark at the mean.

    The first row without images (the first published one; all would hide the dots) is a broken
    line at its mean. The page styles the classes run, baseline, dot, middle, mean, published, grid.

    Returns:
        An ``<svg>`` element; values that are infinite are left out.
    """
    measured = [row for row in rows if row.images]
    published = [row for row in rows if not row.images and score in row.means][:1]
    values = {id(row): row.per_image(score) for row in measured}
    everything = [x for row in measured for x in values[id(row)] if math.isfinite(x)]
    everything += [row.means[score] for row in published]
    if not everything:
        return ""
    low, high = min(everything), max(everything)
    if low == high:
        low, high = low - 0.5, high + 0.5
    ticks = axis_ticks(low, high)
    low, high = min(low, ticks[0]), max(high, ticks[-1])
    height = _TOP + _LINE * len(measured) + _BOTTOM

    def x_of(value: float) -> float:
        return _LEFT + (value - low) / (high - low) * (WIDTH - _LEFT - _RIGHT)

    floor = height - _BOTTOM
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="Distribution of {score} over the images">'
    ]
    for tick in ticks:
        x = x_of(tick)
        parts.append(f'<path class="grid" d="M{x:.1f} {_TOP}V{floor}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{height - 7}">{tick:g}</text>')
    for row in published:
        label = f"{row.label}: {row.means[score]:.2f}"
        x = x_of(row.means[score])
        parts.append(
            f'<path class="published" d="M{x:.1f} {_TOP}V{floor}"><title>{escape(label)}</title>'
            "</path>"
        )
    for index, row in enumerate(measured):
        y = _TOP + _LINE * (index + 0.5)
        pairs = zip(scenes, values[id(row)], strict=True)
        shown = [(name, value) for name, value in pairs if math.isfinite(value)]
        parts.append(
            f'<g class="{row.kind}">{_name(row, y)}{_strip(row, score, shown, y, x_of)}</g>'
        )
    return "".join([*parts, "</svg>"])


def _name(row: Row, y: float) -> str:
    name = row.name if len(row.name) <= _LONGEST else row.name[: _LONGEST - 1] + "…"
    return (
        f'<text class="name" x="{_LEFT - 10}" y="{y + 4:.1f}">{escape(name)}'
        f"<title>{escape(row.label)}</title></text>"
    )


def _strip(row: Row, score: str, shown: list[tuple[str, float]], y: float, x_of) -> str:
    if not shown:
        return ""
    parts = []
    for index, (name, value) in enumerate(shown):
        # Spread over a few heights, always the same, so that equal values do not hide each other.
        height = y + (index * 2 % 5 - 2) * 2.2
        parts.append(
            f'<circle class="dot" cx="{x_of(value):.1f}" cy="{height:.1f}" r="2.6">'
            f"<title>{escape(name)}: {value:.4g}</title></circle>"
        )
    if len(shown) > 3:
        first, _, third = quantiles((value for _, value in shown), n=4, method="inclusive")
        parts.append(f'<path class="middle" d="M{x_of(first):.1f} {y:.1f}H{x_of(third):.1f}"/>')
    mean = fmean(value for _, value in shown)
    parts.append(
        f'<path class="mean" d="M{x_of(mean):.1f} {y - 9:.1f}v18">'
        f"<title>{escape(row.label)}: mean {score} {mean:.4g}</title></path>"
    )
    return "".join(parts)


def axis_ticks(low: float, high: float) -> list[float]:
    """Choose three to six round numbers that cover ``low`` to ``high`` within one step."""
    rough = (high - low) / 4
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(index * step, 10) for index in range(first, last + 1)]
