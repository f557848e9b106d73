"""The tables of a comparison: Markdown, which the terminal shows too, CSV and LaTeX."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from cddfuse_jax.evaluation.latex import escape
from cddfuse_jax.files import replacing
from cddfuse_jax.tasks.iou import Row

LEVEL = 0.05
COLUMNS = (
    "group", "method", "images", "miou", "sd_over_seeds", "accuracy", "difference", "low", "high",
    "p", "p_holm",
)  # fmt: skip


def percent(value: float) -> str:
    """Write a share of 1 as a percentage with one decimal, "-" for what is not there."""
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


def spread(row: Row) -> str:
    """Write the mIoU in percent, with ± its standard deviation over seeds where there are some."""
    if math.isnan(row.deviation):
        return percent(row.miou)
    return f"{percent(row.miou)} ± {percent(row.deviation)}"


def beside(row: Row) -> str:
    """Write the difference from the reference with its interval, and * where p is below 0.05."""
    if math.isnan(row.difference):
        return "-"
    star = "*" if row.p_holm < LEVEL else ""
    return f"{100 * row.difference:+.1f} [{100 * row.low:+.1f}, {100 * row.high:+.1f}]{star}"


def best(rows: Sequence[Row], value) -> str:
    """Return the method with the highest value among rows, "" for one row, or for no value."""
    finite = [row for row in rows if value(row) > 0]  # which NaN is not
    return max(finite, key=value).method if len(rows) > 1 and finite else ""


def caption(rows: Sequence[Row], reference: str, seeds: int) -> str:
    """Say what the figures are."""
    over = f"mean ± standard deviation over {seeds} seeds" if seeds > 1 else "one seed"
    return (
        f"IoU in %, pixels summed over the images, {over}. Beside {reference}: difference in mIoU "
        "with its 95 % bootstrap interval over images; * is p < 0.05 after Holm's correction"
    )


def markdown(rows: Sequence[Row], classes: Sequence[str], reference: str, seeds: int) -> str:
    """Lay out a table per group of images, the best of each column bold."""
    heads = ["", *classes, "mIoU", f"beside {reference}"]
    lines = [caption(rows, reference, seeds) + "."]
    for group in dict.fromkeys(row.group for row in rows):
        own = [row for row in rows if row.group == group]
        lines += ["", f"{group} ({own[0].images} images)", "", _line(heads)]
        lines.append(_line(["---"] * len(heads)))
        tops = [best(own, lambda r, k=k: r.iou[k]) for k in range(len(classes))]
        for row in own:
            cells = [
                f"**{percent(x)}**" if top == row.method else percent(x)
                for x, top in zip(row.iou, tops, strict=True)
            ]
            whole = spread(row)
            whole = f"**{whole}**" if best(own, lambda r: r.miou) == row.method else whole
            lines.append(_line([row.method, *cells, whole, beside(row).replace("*", r"\*")]))
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def latex(rows: Sequence[Row], classes: Sequence[str], reference: str, seeds: int) -> str:
    """Write a booktabs table with a block per group of images, the best of each column bold."""
    heads = ["Method", *classes, "mIoU", f"beside {reference}"]
    lines = [
        r"% \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(caption(rows, reference, seeds))}.}}",
        rf"\begin{{tabular}}{{l{'c' * (len(heads) - 1)}}}",
        r"\toprule",
        " & ".join(map(escape, heads)) + r" \\",
    ]
    for group in dict.fromkeys(row.group for row in rows):
        own = [row for row in rows if row.group == group]
        told = escape(f"{group} ({own[0].images} images)")
        lines += [r"\midrule", rf"\multicolumn{{{len(heads)}}}{{l}}{{{told}}} \\"]
        tops = [best(own, lambda r, k=k: r.iou[k]) for k in range(len(classes))]
        for row in own:
            cells = [
                rf"\textbf{{{percent(x)}}}" if top == row.method else percent(x)
                for x, top in zip(row.iou, tops, strict=True)
            ]
            whole = escape(spread(row))
            if best(own, lambda r: r.miou) == row.method:
                whole = rf"\textbf{{{whole}}}"
            lines.append(" & ".join([escape(row.method), *cells, whole, beside(row)]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def write_csv(path: Path, rows: Sequence[Row], classes: Sequence[str]) -> None:
    """Write a line per group and method, shares of 1; empty where there is no value."""
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*COLUMNS, *(f"iou_{name.replace(' ', '_')}" for name in classes)])
        for row in rows:
            values = (
                row.miou, row.deviation, row.accuracy, row.difference, row.low, row.high, row.p,
                row.p_holm, *row.iou,
            )  # fmt: skip
            cells = ["" if math.isnan(value) else f"{value:.6g}" for value in values]
            writer.writerow([row.group, row.method, row.images, *cells])
